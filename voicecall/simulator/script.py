"""What a simulated caller does, step by step; every step has a deadline.

A script is a JSON5 file with `steps`, each an object whose `do` names one of the steps below.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib import resources
from pathlib import Path  # noqa: TC003  (a public signature)
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import json5
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from voicecall.clock import NS_PER_MS, SystemClock
from voicecall.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import ErrorDetails

    from voicecall.clock import Clock
    from voicecall.simulator.phone import Phone

MAX_SCRIPT_OCTETS = 1024 * 1024
"""Nobody writes a larger one by hand; a wrong path should not fill the memory."""

_MAX_STEPS = 1000
_DAY_MS = 86_400_000

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
_Ms = Annotated[int, Field(ge=0, le=_DAY_MS)]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True
    )


class _Step(_Model):
    within_ms: Annotated[int, Field(gt=0, le=_DAY_MS)] = 30_000


class Listen(_Step):
    """Wait until the bot has talked, since our last word or key, and stopped.

    Attributes:
        quiet_ms: how long it has to be silent to have stopped.
        within_ms: deadline.
    """

    do: Literal["listen"] = "listen"
    quiet_ms: _Ms = 1000

    async def perform(self, phone: Phone) -> None:
        """Do it. Raises `TimeoutError`, `CallHasEnded`."""
        await phone.wait_answer(self.quiet_ms, self.within_ms)


class Say(_Step):
    """Say a text, to its end.

    Attributes:
        text: the words.
        within_ms: deadline for having said them.
    """

    do: Literal["say"] = "say"
    text: _Text

    async def perform(self, phone: Phone) -> None:
        """Do it. Raises `TimeoutError`, `CallHasEnded`, `SpeechError`."""
        await phone.say(self.text)


class Interrupt(_Step):
    """Say a text while the bot talks.

    Attributes:
        text: the words.
        after_ms: how long the bot has to have been talking since our last word or key.
        within_ms: deadline for having said them.
    """

    do: Literal["interrupt"] = "interrupt"
    text: _Text
    after_ms: _Ms = 2000

    async def perform(self, phone: Phone) -> None:
        """Do it. Raises `TimeoutError`, `CallHasEnded`, `SpeechError`."""
        speech = await phone.prepare(self.text)
        await phone.wait_talking(self.after_ms, self.within_ms)
        await phone.play(speech, self.text)


class Press(_Step):
    """Press keys.

    Attributes:
        digits: 0-9, *, # and A-D.
        within_ms: deadline.
    """

    do: Literal["press"] = "press"
    digits: Annotated[str, StringConstraints(pattern=r"^[0-9*#A-D]{1,64}$")]

    async def perform(self, phone: Phone) -> None:
        """Do it. Raises `CallHasEnded`."""
        await phone.press(self.digits)


class HangUp(_Step):
    """End the call."""

    do: Literal["hangUp"] = "hangUp"

    async def perform(self, phone: Phone) -> None:
        """Do it."""
        await phone.hang_up()


class AwaitHangUp(_Step):
    """Wait until the bot's side has ended the call."""

    do: Literal["awaitHangUp"] = "awaitHangUp"

    async def perform(self, phone: Phone) -> None:
        """Do it. Raises `TimeoutError`."""
        await phone.wait_closed(self.within_ms)


Step: TypeAlias = Annotated[
    Listen | Say | Interrupt | Press | HangUp | AwaitHangUp, Field(discriminator="do")
]


class Script(_Model):
    """The steps of one call, in order."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=_MAX_STEPS)]


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step that was performed.

    Attributes:
        step: which.
        began_ns: when it began.
        ended_ns: when it was done.
        cut_after_ms: of an interruption: how long after our first word the server cleared what
            waited; None when it did not while we spoke.
    """

    step: Step
    began_ns: int
    ended_ns: int
    cut_after_ms: float | None = None


async def run_script(
    phone: Phone,
    script: Script,
    *,
    clock: Clock | None = None,
    on_step: Callable[[int, Step], None] | None = None,
) -> list[StepDone]:
    """Perform `script` on a connected phone.

    Args:
        phone: connected.
        script: what to do.
        clock: the phone's.
        on_step: told the index of each step and the step, before it is performed.

    Returns:
        What was done.

    Raises:
        TimeoutError: a step's deadline passed; names the step.
        CallHasEnded: the call ended in the middle.
        SpeechError: the phone's voice failed.
    """
    clock = clock or SystemClock()
    done: list[StepDone] = []
    for index, step in enumerate(script.steps):
        if on_step is not None:
            on_step(index, step)
        began_ns = clock.now_ns()
        try:
            async with asyncio.timeout(step.within_ms / 1000):
                await step.perform(phone)
        except TimeoutError as error:
            raise TimeoutError(
                f"steps[{index}] ({step.do}) was not done within {step.within_ms} ms"
            ) from error
        cut_after_ms = _cut_after_ms(phone) if isinstance(step, Interrupt) else None
        done.append(StepDone(step, began_ns, clock.now_ns(), cut_after_ms))
    return done


def load_script(path: Path) -> Script:
    """Read a script file.

    Args:
        path: JSON5 in UTF-8, at most 1 MiB.

    Raises:
        ConfigError: it cannot be read or is not a script; says where and why.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SCRIPT_OCTETS + 1)
        if len(raw) > MAX_SCRIPT_OCTETS:
            raise ConfigError(f"{path}: larger than {MAX_SCRIPT_OCTETS} octets")
        return parse_script(raw.decode(), origin=str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error


def demo_script() -> Script:
    """The caller of the demonstration, who fits the built-in receptionist."""
    file = resources.files("voicecall.simulator").joinpath("demo.json5")
    return parse_script(file.read_text("utf-8"), origin="the built-in script")


def parse_script(text: str, *, origin: str) -> Script:
    """Make a script from JSON5 text.

    Args:
        text: the file's content.
        origin: what to call it in errors.

    Raises:
        ConfigError: one problem for each wrong key, each naming its path.
    """
    try:
        data: Any = json5.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: not JSON5: {error}") from error
    try:
        return Script.model_validate(data)
    except ValidationError as error:
        raise ConfigError(*(_problem(origin, detail) for detail in error.errors())) from error


def _problem(origin: str, detail: ErrorDetails) -> str:
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]
    ).lstrip(".")
    return f"{origin}: {path or 'the whole file'}: {detail['msg']}"


def _cut_after_ms(phone: Phone) -> float | None:
    began_ns = phone.said[-1].began_ns
    cuts = [at_ns for at_ns in phone.stats.playout.cleared_ns if at_ns >= began_ns]
    return (cuts[0] - began_ns) / NS_PER_MS if cuts else None
