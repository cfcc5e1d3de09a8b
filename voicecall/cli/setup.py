"""`voicecall setup`: check everything a live call needs, and say what mends it."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from voicecall.cli.invocation import Invocation, emit_json, json_option
from voicecall.errors import ConfigError
from voicecall.log import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.status import Status as Spinner

    from voicecall.config.load import LoadedConfig
    from voicecall.diagnosis.check import Check, Result

# Names are no longer than this.
_NAME_COLUMNS = 20
_NAMES_SHOWN = 3
_STYLES = {
    "ok": ("✓", "green"),
    "warn": ("!", "yellow"),
    "fail": ("✗", "red"),
    "skipped": ("-", "dim"),
}


@click.command("setup")
@json_option
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Check everything a live call needs, and say what mends it.

    Credentials are tried with a harmless request, and the public URL is followed until it leads
    back to this very server: to the one that runs with this configuration, or to one that is
    started meanwhile and takes no calls. Nothing is changed and nobody is called. Exits with 1 if
    anything is red.

    Example: voicecall --config production.json5 setup
    """
    try:
        loaded = _loaded(invocation)
    except ConfigError as error:
        results = [_unusable(invocation, error)]
        _show(invocation, results)
        sys.exit(1)
    if not invocation.verbose:
        # What a server logs that is only there to be looked at is of no interest.
        logging.getLogger("voicecall").setLevel(logging.CRITICAL)
    # Server and engines are not worth loading for `--help`.
    import uvloop  # noqa: PLC0415

    results = uvloop.run(_examine(invocation, loaded))
    sys.exit(1 if any(result.status == "fail" for result in results) else 0)


def _loaded(invocation: Invocation) -> LoadedConfig:
    """The configuration; its warnings are shown among the results."""
    from voicecall.config.load import load  # noqa: PLC0415

    return load(invocation.config_path, environ=os.environ, cwd=Path.cwd(), home=Path.home())


def _unusable(invocation: Invocation, error: ConfigError) -> Result:
    from voicecall.diagnosis.check import Result, fail  # noqa: PLC0415

    count = len(error.problems)
    found = "\n".join((f"{count} problem{'s' * (count != 1)}:", *error.problems))
    path = invocation.config_path
    if path is not None and not path.is_file():
        return Result("configuration", fail(found, "name a file: voicecall --config FILE setup"))
    remedy = f"mend what is named here in {path or 'the configuration file'}"
    return Result("configuration", fail(found, remedy))


async def _examine(invocation: Invocation, loaded: LoadedConfig) -> list[Result]:
    from voicecall.diagnosis.examination import examine  # noqa: PLC0415
    from voicecall.diagnosis.plan import Subject  # noqa: PLC0415

    async with Subject(loaded) as subject:
        checks = subject.checks()
        if invocation.wants_json:
            results = await examine(checks)
            _show(invocation, results)
            return results
        with _LiveList(checks) as shown:
            results = await examine(checks, shown.add)
    return results


def _show(invocation: Invocation, results: Sequence[Result]) -> None:
    if invocation.wants_json:
        emit_json(_as_json(results))
        return
    console = _console()
    for result in results:
        _print_result(console, result)
    _print_summary(console, results)


def _as_json(results: Sequence[Result]) -> dict[str, Any]:
    from voicecall.diagnosis.examination import summary  # noqa: PLC0415

    counted = summary(results)
    return {
        "ok": counted["fail"] == 0,
        "summary": counted,
        "checks": [result.to_json() for result in results],
    }


class _LiveList:
    """Results as they come, and beneath them what is being looked at.

    Args:
        checks: what will be.
    """

    def __init__(self, checks: Sequence[Check]) -> None:
        self._left = [check.name for check in checks]
        self._results: list[Result] = []
        self._console = _console()
        self._spinner: Spinner = self._console.status(self._waiting)

    def __enter__(self) -> Self:
        self._spinner.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._spinner.stop()
        _print_summary(self._console, self._results)

    def add(self, result: Result) -> None:
        """Show a result."""
        self._left.remove(result.name)
        self._results.append(result)
        _print_result(self._console, result)
        self._spinner.update(self._waiting)

    @property
    def _waiting(self) -> str:
        more = " …" if len(self._left) > _NAMES_SHOWN else ""
        return f"checking {', '.join(self._left[:_NAMES_SHOWN])}{more}"


def _console() -> Console:
    # Slow to import, and only needed on a terminal.
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False)


def _print_result(console: Console, result: Result) -> None:
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    sign, style = _STYLES[result.status]
    row = Table.grid(padding=(0, 2))
    row.add_column(width=1)
    row.add_column(width=_NAME_COLUMNS)
    row.add_column(overflow="fold")
    found = _shown(result.finding.found)
    row.add_row(
        Text(sign, style=style),
        Text(result.name, style=style if result.status in {"fail", "skipped"} else ""),
        Text(found, style="dim" if result.status == "skipped" else ""),
    )
    console.print(row)
    if result.finding.remedy is not None and result.status in {"fail", "warn"}:
        remedy = Text(f"→ {_shown(result.finding.remedy)}", style=f"bold {style}")
        console.print(Padding(remedy, (0, 0, 0, _NAME_COLUMNS + 5)))


def _shown(text: str) -> str:
    """What a remote service said may be part of it."""
    return "\n".join(printable(line) for line in text.splitlines())


def _print_summary(console: Console, results: Sequence[Result]) -> None:
    from rich.text import Text  # noqa: PLC0415

    from voicecall.diagnosis.examination import summary  # noqa: PLC0415

    counted = summary(results)
    line = Text("\n")
    for status, words in (
        ("ok", "ok"), ("warn", "to look at"), ("fail", "to mend"), ("skipped", "skipped"),
    ):  # fmt: skip
        if counted[status]:
            line.append(f"{counted[status]} {words}   ", style=_STYLES[status][1])
    console.print(line)
    if results and not counted["fail"]:
        console.print("Ready. Place one real call: voicecall smoke --to +15550001234 --yes")
