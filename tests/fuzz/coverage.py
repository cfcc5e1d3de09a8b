"""Which lines of the package an input is the first to reach, so that it is worth changing further.

Only lines not reached before are traced: a function whose lines are all known costs next to
nothing.
"""

import sys
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Self

import voicecall

PACKAGE = str(Path(voicecall.__file__).parent)


class Coverage:
    """Traces, while entered, the functions of one folder in this thread.

    Args:
        folder: where their sources are.
    """

    def __init__(self, folder: str = PACKAGE) -> None:
        self._folder = folder
        self._unreached: dict[CodeType, set[int]] = {}
        self._reached = 0
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.settrace(self._before)

    def grew(self) -> bool:
        """Whether any line was reached for the first time since this was last asked."""
        reached, self._reached = self._reached, 0
        return reached > 0

    def _call(self, frame: FrameType, event: str, _: object) -> Any:
        lines = self._unreached.get(frame.f_code)
        if lines is None:
            lines = self._unreached[frame.f_code] = self._lines_of(frame.f_code)
        if event == "line" and frame.f_lineno in lines:
            lines.discard(frame.f_lineno)
            self._reached += 1
        return self._call if lines else None

    def _lines_of(self, code: CodeType) -> set[int]:
        if not code.co_filename.startswith(self._folder):
            return set()
        # The line of the definition itself is an instruction, but no line event.
        lines = {line for _, _, line in code.co_lines() if line is not None}
        return lines - {code.co_firstlineno}
