"""Logging as the command line shows it: one line a record, as text or as JSON.

Only the command line configures logging; the library logs to `voicecall.<part>` and leaves the rest
to whoever embeds it. Messages are static, everything that varies is a field given in `extra`.
"""

from __future__ import annotations

import json as json_format
import logging
import re
import time
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER_NAME: Final = "voicecall"

_STANDARD_ATTRIBUTES: Final = frozenset(
    {*vars(logging.makeLogRecord({})), "asctime", "message", "taskName"}
)
# C0, DEL, C1, and what breaks lines or turns the direction of writing: with these, what a remote
# party sends could look like a record of ours, or steer a terminal.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BARE = re.compile(r'[^\s="]+')


def configure(
    level: int | str, stream: TextIO, *, json: bool = False, pii: bool = False
) -> logging.Handler:
    """Send log records to `stream`; a second call replaces the first one's arrangement.

    Args:
        level: the least level of voicecall's own records; others' are shown from WARNING on.
        stream: where lines go.
        json: one JSON object a line instead of text.
        pii: show fields with personal data: phone numbers, transcripts, digits.

    Returns:
        The handler, for `remove`.

    Raises:
        ValueError: the level has no such name.
    """
    logging.getLogger(LOGGER_NAME).setLevel(level)
    handler = LineHandler(stream)
    handler.setFormatter(JsonFormatter(pii=pii) if json else TextFormatter(pii=pii))
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, LineHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    return handler


def remove(handler: logging.Handler) -> None:
    """Undo `configure`."""
    logging.getLogger().removeHandler(handler)
    logging.getLogger(LOGGER_NAME).setLevel(logging.NOTSET)


class LineHandler(logging.StreamHandler[TextIO]):
    """The handler that `configure` installs; a class of its own so that it finds it again."""


class TextFormatter(logging.Formatter):
    """`time LEVEL logger message key=value ...`; tracebacks follow, each line marked by `|`.

    Args:
        pii: whether fields with personal data are shown.
    """

    def __init__(self, *, pii: bool = False) -> None:
        super().__init__()
        self._pii = pii

    def format(self, record: logging.LogRecord) -> str:
        """The record as text; no part of it can forge another record."""
        parts = [
            _timestamp(record.created),
            record.levelname,
            record.name,
            printable(record.getMessage()),
            *(
                f"{printable(name)}={_text_value(value)}"
                for name, value in fields(record, pii=self._pii)
            ),
        ]
        lines = [" ".join(parts), *(f"  | {printable(line)}" for line in self._traceback(record))]
        return "\n".join(lines)

    def _traceback(self, record: logging.LogRecord) -> list[str]:
        return self.formatException(record.exc_info).splitlines() if record.exc_info else []


class JsonFormatter(logging.Formatter):
    """One JSON object: `time`, `level`, `logger`, `message`, the fields, `traceback` if any.

    Args:
        pii: whether fields with personal data are shown.
    """

    def __init__(self, *, pii: bool = False) -> None:
        super().__init__()
        self._pii = pii

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        entry = dict(fields(record, pii=self._pii))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        # Our own keys win over fields of the same name.
        entry |= {
            "time": _timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # ASCII only, so no character of a remote party's is printed as it is.
        return json_format.dumps(entry, default=str, skipkeys=True)


def fields(record: logging.LogRecord, *, pii: bool) -> Iterator[tuple[str, Any]]:
    """What was given in `extra`, in the order given.

    Args:
        record: the record.
        pii: whether to include personal data: fields with `pii` as a part of their name.
    """
    for name, value in vars(record).items():
        if name not in _STANDARD_ATTRIBUTES and (pii or "pii" not in name.split("_")):
            yield name, value


def printable(text: str) -> str:
    r"""`text` with control characters escaped, for example a line feed as `\x0a`."""
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(character: re.Match[str]) -> str:
    code = ord(character.group())
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004  (one octet)


def _text_value(value: object) -> str:
    text = printable(str(value).replace("\\", r"\\"))
    if _BARE.fullmatch(text):
        return text
    quoted = text.replace('"', r"\"")
    return f'"{quoted}"'


def _timestamp(seconds: float) -> str:
    """ISO 8601 in UTC, with milliseconds."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"
