"""Every input that is worth keeping, and the ones fuzzing begins with, in the normal test run."""

import asyncio
import logging
import multiprocessing
import os
import random
import sys
from pathlib import Path

import pytest

from tests.fuzz import corpus, engine, watch
from tests.fuzz.coverage import Coverage
from tests.fuzz.mutation import LENGTH_MAX, mutated
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS
from voicecall.config.merge import deep_merge

pytestmark = pytest.mark.native

MUTATIONS = 200


@pytest.mark.parametrize("name", TARGETS)
def test_no_known_input_breaks_its_target(name: str) -> None:
    known = corpus.inputs_of(name)
    assert known, "every target has a corpus"
    for data in [*known, *TARGETS[name].seeds()]:
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_nor_do_some_small_changes_to_them(name: str) -> None:
    source = random.Random(name)
    target = TARGETS[name]
    inputs = [*corpus.inputs_of(name), *target.seeds()]
    for _ in range(MUTATIONS):
        target.run(mutated(source.choice(inputs), source, target.tokens, inputs))


def test_the_corpus_holds_nothing_for_targets_that_do_not_exist() -> None:
    assert {folder.name for folder in corpus.FOLDER.iterdir() if folder.is_dir()} == set(TARGETS)


def test_a_finding_is_an_exception_that_is_not_allowed() -> None:
    def check(data: bytes) -> None:
        raise KeyError(data)

    with pytest.raises(KeyError):
        Target(check=check, allowed=(ValueError,), seeds=list).run(b"")
    Target(check=check, allowed=(KeyError,), seeds=list).run(b"")


def test_the_input_at_work_is_known_to_another_process(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(bytes(engine.PAGE_OCTETS))
    ours, theirs = engine.Page(path), engine.Page(path)
    for data in (b"x" * LENGTH_MAX, b"", b"last"):
        theirs.write(data)
        assert ours.read() == data


def test_an_input_is_kept_under_the_name_of_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    assert corpus.keep("framing", b"one") == corpus.keep("framing", b"one")
    corpus.keep("framing", b"two")
    assert sorted(corpus.inputs_of("framing")) == [b"one", b"two"]


def test_a_broken_target_is_reported_with_what_broke_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(data: bytes) -> None:
        assert len(data) < 3, "too long"

    target = Target(check=check, allowed=(), seeds=lambda: [b"ab", b"abc"])
    monkeypatch.setitem(TARGETS, "broken", target)
    path = tmp_path / "page"
    path.write_bytes(bytes(engine.PAGE_OCTETS))
    ours, theirs = multiprocessing.Pipe(duplex=False)
    engine.work("broken", 0.0, 0, str(path), theirs)
    tried, finding = ours.recv()
    assert (tried, engine.Page(path).read()) == (1, b"abc")
    assert "too long" in finding


def test_an_input_that_reaches_a_new_line_is_worth_more() -> None:
    coverage = Coverage()

    def reached(settings: dict[str, object]) -> bool:
        with coverage:
            deep_merge(settings, {"a": {"b": 1}})
        return coverage.grew()

    assert reached({})
    assert not reached({"x": 1})
    assert reached({"a": {}})
    assert not reached({"a": {}})
    assert not coverage.grew()


def test_what_is_traced_otherwise_goes_on_being_traced() -> None:
    before = sys.gettrace()
    with Coverage():
        assert sys.gettrace() is not before
    assert sys.gettrace() is before


def test_a_logged_error_a_lost_exception_and_a_task_left_behind_are_findings() -> None:
    async def logged() -> None:
        logging.getLogger("voicecall.anything").error("it broke")

    async def lost() -> None:
        asyncio.get_running_loop().call_soon(int, "x")
        await asyncio.sleep(0)

    async def left() -> None:
        tasks.append(asyncio.create_task(asyncio.Event().wait()))

    async def nothing() -> None:
        logging.getLogger("voicecall.anything").warning("not so bad")

    tasks: list[asyncio.Task[bool]] = []
    for case, told in ((logged, "it broke"), (lost, "invalid literal"), (left, "left behind")):
        with pytest.raises(AssertionError, match=told):
            watch.run(case)
    watch.run(nothing)


def test_a_process_that_dies_without_a_report_is_a_finding() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=os._exit, args=(3,))
    process.start()
    theirs.close()
    assert "status 3" in str(engine.supervise(process, ours, 5).finding)
