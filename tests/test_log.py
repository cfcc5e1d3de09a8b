"""Logging of the command line."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from voicecall import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.unit

logger = logging.getLogger("voicecall.test")

HOSTILE = "line\r\n2026-01-01 ERROR forged\x1b[31m \u2028\u202e\x9b"


class Output:
    """What was logged, through a handler that is removed at the end of the test."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def configured() -> Iterator[Callable[..., Output]]:
    handlers = []

    def configure(level: int | str = "INFO", **options: bool) -> Output:
        output = Output()
        handlers.append(log.configure(level, output.stream, **options))
        return output

    yield configure
    for handler in handlers:
        log.remove(handler)


def test_a_record_is_one_line_of_text_with_its_fields(
    configured: Callable[..., Output],
) -> None:
    output = configured()
    logger.info("call started", extra={"call_id": "c1", "carrier": "mock", "count": 3})
    (line,) = output.lines
    time, _, rest = line.partition(" ")
    assert rest == "INFO voicecall.test call started call_id=c1 carrier=mock count=3"
    assert len(time) == len("2026-01-01T00:00:00.000Z")
    assert time.endswith("Z")


def test_a_record_is_one_json_object_with_its_fields(configured: Callable[..., Output]) -> None:
    output = configured(json=True)
    logger.warning("call started", extra={"call_id": "c1", "count": 3, "odd": {1}})
    (entry,) = output.entries
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "WARNING",
        "logger": "voicecall.test",
        "message": "call started",
        "call_id": "c1",
        "count": 3,
        "odd": "{1}",
    }


def test_times_are_utc_with_milliseconds() -> None:
    record = logging.makeLogRecord({"created": 1_700_000_000.0625, "msg": "m"})
    assert json.loads(log.JsonFormatter().format(record))["time"] == "2023-11-14T22:13:20.062Z"


def test_fields_cannot_pose_as_our_own_keys(configured: Callable[..., Output]) -> None:
    output = configured(json=True)
    logger.info("real", extra={"level": "fake", "logger": "fake", "time": "fake"})
    (entry,) = output.entries
    assert (entry["level"], entry["logger"], entry["message"]) == ("INFO", "voicecall.test", "real")
    assert entry["time"] != "fake"


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("shown", [True, False])
def test_personal_data_is_shown_only_when_allowed(
    configured: Callable[..., Output], as_json: bool, shown: bool
) -> None:
    output = configured(json=as_json, pii=shown)
    logger.info("m", extra={"pii_from": "+15550001234", "call_pii_text": "hello", "pie": "apple"})
    text = output.stream.getvalue()
    assert ("+15550001234" in text) is shown
    assert ("hello" in text) is shown
    assert "apple" in text


@pytest.mark.parametrize("as_json", [True, False])
def test_remote_text_can_neither_break_lines_nor_steer_a_terminal(
    configured: Callable[..., Output], as_json: bool
) -> None:
    output = configured(json=as_json)
    logger.info("%s", HOSTILE, extra={"reason": HOSTILE, HOSTILE: 1})
    text = output.stream.getvalue()
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()


def test_json_gives_remote_text_back_unchanged(configured: Callable[..., Output]) -> None:
    output = configured(json=True)
    logger.info("m", extra={"reason": HOSTILE})
    assert output.entries[0]["reason"] == HOSTILE


def test_values_with_blanks_quotes_or_equals_signs_are_quoted(
    configured: Callable[..., Output],
) -> None:
    output = configured()
    logger.info("m", extra={"a": 'say "x=1"', "b": "", "c": "back\\slash", "d": "new\nline"})
    assert output.lines[0].endswith(r'm a="say \"x=1\"" b="" c=back\\slash d=new\x0aline')


def test_every_line_of_a_traceback_is_marked_in_text(configured: Callable[..., Output]) -> None:
    output = configured()
    try:
        int(HOSTILE)
    except ValueError:
        logger.exception("failed")
    first, *rest = output.lines
    assert first.endswith("ERROR voicecall.test failed")
    assert rest[0] == "  | Traceback (most recent call last):"
    assert all(line.startswith("  | ") and line.isprintable() for line in rest)


def test_a_traceback_is_one_field_in_json(configured: Callable[..., Output]) -> None:
    output = configured(json=True)
    try:
        int(HOSTILE)
    except ValueError:
        logger.exception("failed")
    (entry,) = output.entries
    assert "ValueError" in entry["traceback"]


def test_the_level_is_ours_alone_and_others_are_shown_from_warning_on(
    configured: Callable[..., Output],
) -> None:
    output = configured("DEBUG", json=True)
    logger.debug("ours")
    logging.getLogger("somebody.else").info("hidden")
    logging.getLogger("somebody.else").warning("shown")
    assert [entry["message"] for entry in output.entries] == ["ours", "shown"]


def test_configuring_again_replaces_the_first_arrangement(
    configured: Callable[..., Output],
) -> None:
    first, second = configured(), configured()
    logger.info("m")
    assert not first.lines
    assert len(second.lines) == 1


def test_removing_restores_what_was_there() -> None:
    before = list(logging.getLogger().handlers)
    handler = log.configure("DEBUG", io.StringIO())
    log.remove(handler)
    assert logging.getLogger().handlers == before
    assert logging.getLogger("voicecall").level == logging.NOTSET


def test_a_level_that_is_none_is_refused() -> None:
    before = list(logging.getLogger().handlers)
    with pytest.raises(ValueError, match="LOUD"):
        log.configure("LOUD", io.StringIO())
    assert logging.getLogger().handlers == before
