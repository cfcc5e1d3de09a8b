"""Counts of instructions: read from callgrind, compared with the budget, and kept."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.instructions import __main__ as command
from benchmarks.instructions import budget, callgrind
from benchmarks.instructions.budget import Budget, Change, advice, changes, passes, table
from benchmarks.instructions.callgrind import CannotCount
from benchmarks.instructions.cases import CALLS, ROUND, Case, cases, inbound, talking
from benchmarks.instructions.dumps import EMPTY, Dump, cost_of, counts_of, dump_of, label
from benchmarks.instructions.environment import Environment, compiler_of, environment, limit
from voicecall._codec import MediaStream

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

HERE = Environment("x86_64", True, "GCC: (Any) 12.2.0", "3.11.7", "glibc 2.36", "soxr 1.1.0")

DUMP = """\
# callgrind format
version: 1
cmd:  python -m benchmarks.instructions.driver summary: 7
part: 5

desc: I1 cache: \n\
desc: Timerange: Basic block 171334 - 5292965
desc: Trigger: Client Request: {label}

positions: line
events: Ir
summary: 1326671

fn=(264) memset
167 2
totals: 1326671
"""


def found(recorded: dict[str, int], counted: dict[str, int]) -> list[Change]:
    return changes(recorded, counted, 0.10)


def verdict(recorded: int, counted: int) -> str:
    (change,) = found({"decode": recorded}, {"decode": counted})
    return change.verdict


# --- reading callgrind's files ---


def test_a_dump_says_what_it_was_asked_for_and_what_it_counted() -> None:
    dump = dump_of(DUMP.format(label=label("in_heard", 64, 320)))
    assert dump == Dump(name="in_heard", units=64, calls=320, instructions=1326671)


def test_what_callgrind_writes_at_the_end_is_no_dump_of_ours() -> None:
    text = DUMP.format(label=label("in_heard", 1, 320))
    assert dump_of(text.replace("Client Request: in_heard 1 320", "Program termination")) is None


def test_a_call_costs_what_the_longer_loop_takes_more() -> None:
    assert cost_of(Dump("x", 1, 100, 5_000), Dump("x", 1, 300, 6_000)) == 5.0


def test_the_loop_is_taken_off_and_the_rest_shared_among_the_units_of_a_call() -> None:
    dumps = [
        Dump("tick", 64, 200, 1_000_000 + 200 * 6_420),
        Dump(EMPTY, 1, 100, 700),
        Dump("tick", 64, 100, 1_000_000 + 100 * 6_420),
        Dump(EMPTY, 1, 200, 2_700),
    ]
    assert counts_of(dumps) == {"tick": 100}


# --- comparing ---


@pytest.mark.parametrize(
    ("recorded", "counted", "expected"),
    [
        (1000, 1000, "within"),
        (1000, 1100, "within"),
        (1000, 1101, "over"),
        (1000, 900, "within"),
        (1000, 899, "saving"),
    ],
)
def test_a_count_is_over_or_a_saving_beyond_a_tenth(
    recorded: int, counted: int, expected: str
) -> None:
    assert verdict(recorded, counted) == expected


def test_only_what_is_over_or_unlisted_fails() -> None:
    assert passes(found({"a": 100, "b": 100}, {"a": 109, "b": 50}))
    assert not passes(found({"a": 100, "b": 100}, {"a": 111, "b": 50}))
    assert not passes(found({"a": 100}, {"a": 100, "b": 1}))
    assert not passes(found({"a": 100, "b": 1}, {"a": 100}))


def test_the_table_says_what_went_up_and_by_how_much() -> None:
    lines = table(found({"decode": 1000, "encode": 500}, {"decode": 1234, "encode": 500}))
    decode, encode = lines.splitlines()[1:]
    assert decode.split() == ["decode", "1,000", "1,234", "+23.4%", "OVER"]
    assert encode.split() == ["encode", "500", "500", "+0.0%"]


def test_the_table_marks_what_only_one_side_has() -> None:
    new, gone = table(found({"z": 5}, {"a": 7})).splitlines()[1:]
    assert new.split() == ["a", "-", "7", "NOT", "IN", "THE", "BUDGET"]
    assert gone.split() == ["z", "5", "-", "NO", "LONGER", "COUNTED"]


@pytest.mark.parametrize("counted", [{"a": 200}, {"a": 50}, {"b": 100}])
def test_whoever_has_to_act_is_told_how_to_renew(counted: dict[str, int]) -> None:
    assert "make budget-renew" in advice(found({"a": 100}, counted), 0.10)


def test_nothing_is_advised_while_all_is_within_budget() -> None:
    assert advice(found({"a": 100}, {"a": 104}), 0.10) == ""


# --- where it was counted ---


def test_another_compiler_or_python_widens_the_limit() -> None:
    assert limit(HERE, HERE) == 0.10
    assert limit(HERE, replace(HERE, compiler="GCC: (Any) 14.1.0")) == 0.50
    assert limit(HERE, replace(HERE, python="3.13.1")) == 0.50


def test_another_kind_of_processor_is_not_compared() -> None:
    assert limit(HERE, replace(HERE, machine="aarch64")) is None
    assert limit(HERE, replace(HERE, vector_loops=False)) is None


def test_the_compiler_is_read_from_what_it_built() -> None:
    gcc = b"\x7fELF\0GCC: (Debian 12.2.0-14) 12.2.0\0GCC: (Debian 12.2.0-14) 12.2.0\0"
    assert compiler_of(gcc) == "GCC: (Debian 12.2.0-14) 12.2.0"
    assert compiler_of(b"\0Ubuntu clang version 18.1.3 (1)\0") == "clang version 18.1.3"


# --- keeping ---


def test_a_budget_is_kept_sorted_and_read_back(tmp_path: Path) -> None:
    kept = Budget(HERE, {"encode": 2, "decode": 1})
    budget.write(tmp_path / "budget.json", kept)
    assert budget.read(tmp_path / "budget.json") == kept
    text = (tmp_path / "budget.json").read_text("utf-8")
    assert text.index("decode") < text.index("encode")


def test_the_kept_budget_lists_exactly_the_cases() -> None:
    assert sorted(budget.read(command.FILE).instructions) == sorted(case.name for case in cases())


# --- the cases ---


def consume(case: Case, first: int = 0, last: int = CALLS) -> None:
    columns = [column[first:last] for column in case.columns]
    assert sum(1 for _ in map(case.call, *columns)) == last - first


def stream_of(case: Case) -> MediaStream:
    stream: object = getattr(case.call, "__self__", None)
    assert isinstance(stream, MediaStream)
    return stream


def test_every_case_can_be_called_as_often_as_it_is_counted() -> None:
    for case in cases():
        assert {len(column) for column in case.columns} == {CALLS}
        consume(case)


def test_every_inbound_call_is_a_message_whose_audio_is_taken() -> None:
    for case in inbound():
        consume(case)
        stream = stream_of(case)
        taken = stream.media_in if case.name != "in_scan_media" else stream.faults
        assert taken == stream.messages == CALLS


@pytest.mark.parametrize("group", [1, 5])
def test_every_outbound_call_sends_one_message_of_whole_frames(group: int) -> None:
    case = talking(group)
    consume(case, 0, ROUND)
    stream = stream_of(case)
    messages, octets = stream.media_out, stream.octets_out
    consume(case, ROUND, CALLS)
    assert stream.media_out - messages == CALLS - ROUND
    assert stream.octets_out - octets == (CALLS - ROUND) * group * 160


# --- the command ---


@pytest.fixture
def budget_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "budget.json"
    monkeypatch.setattr(command, "FILE", path)
    monkeypatch.setattr(command, "environment", lambda: HERE)
    monkeypatch.setattr(command, "counted", lambda: {"decode": 1000})
    return path


@pytest.mark.parametrize(("recorded", "status"), [(1000, 0), (900, 1), (2000, 0)])
def test_the_command_fails_when_something_is_over(
    budget_file: Path, capsys: pytest.CaptureFixture[str], recorded: int, status: int
) -> None:
    budget.write(budget_file, Budget(HERE, {"decode": recorded}))
    assert command.main([]) == status
    assert ("OVER" in capsys.readouterr().out) == bool(status)


def test_the_command_says_where_the_budget_was_counted_when_that_is_elsewhere(
    budget_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget.write(budget_file, Budget(replace(HERE, libc="glibc 2.41"), {"decode": 800}))
    assert command.main([]) == 0
    assert "libc: glibc 2.41 in the budget, glibc 2.36 here" in capsys.readouterr().out


def test_the_command_compares_nothing_on_another_processor(
    budget_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget.write(budget_file, Budget(replace(HERE, machine="aarch64"), {"decode": 1}))
    assert command.main([]) == 0
    assert "NOT COMPARED" in capsys.readouterr().out


def test_renewing_writes_what_was_counted(budget_file: Path) -> None:
    assert command.main(["--renew"]) == 0
    assert budget.read(budget_file) == Budget(HERE, {"decode": 1000})


def test_without_valgrind_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert command.main(["--renew"]) == command.CANNOT_COUNT
    assert "needs valgrind" in capsys.readouterr().err


def test_requests_are_compiled_or_the_compiler_is_named_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(CannotCount, match="C compiler"):
        callgrind.build_requests(tmp_path)


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_a_count_under_callgrind_is_the_same_twice(tmp_path: Path) -> None:
    counts = []
    for turn in ("first", "second"):
        folder = tmp_path / turn
        folder.mkdir()
        counts.append(counts_of(callgrind.count(folder, ["ulaw_decode"]).values()))
    assert counts[0].keys() == {"ulaw_decode"}
    assert counts[0]["ulaw_decode"] > 160 / 16
    assert counts[1]["ulaw_decode"] == pytest.approx(counts[0]["ulaw_decode"], rel=0.01)


def test_environment_here_is_complete() -> None:
    here = environment()
    assert all([here.machine, here.compiler, here.python, here.libc, here.libraries])
