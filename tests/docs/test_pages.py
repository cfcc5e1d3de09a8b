"""The documentation is true: it builds without a warning, and what it shows works."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import DOCS, ENVIRONMENT, PAGES, Block, Terminal, blocks, wait_for
from voicecall.config.load import load

if TYPE_CHECKING:
    from pathlib import Path

# Most of it is for waiting until nobody else uses the ports of the pages.
pytestmark = [pytest.mark.e2e, pytest.mark.timed, pytest.mark.timeout(600)]

CONFIGURATIONS = [block for page in PAGES for block in blocks(page, "json5")]
PROGRAMS = [block for page in PAGES for block in blocks(page, "python")]
SESSIONS = [page for page in PAGES if blocks(page, "bash")]
CARRIERS = ("twilio", "telnyx", "plivo")
# Far longer than a greeting and an answer take.
TALKED_S = 60.0


def named(block: Block) -> str:
    return f"{block.page.stem}: {block.text.strip().splitlines()[1].strip()[:40]}"


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=named)
def test_a_configuration_can_be_used(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "voicecall.json5"
    path.write_text(block.text)
    loaded = load(path, environ=ENVIRONMENT, cwd=tmp_path, home=tmp_path)
    assert loaded.ignored == ()


@pytest.mark.parametrize("block", PROGRAMS, ids=named)
def test_a_program_runs(block: Block, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(block.text)
    with Terminal(tmp_path) as terminal:
        terminal.run([sys.executable, "program.py"])


@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: page.stem)
def test_who_follows_a_page_gets_there(page: Path, tmp_path: Path) -> None:
    with Terminal(tmp_path) as terminal:
        for block in blocks(page, "bash", "json5", "enter"):
            if block.language == "bash":
                terminal.type(block)
            elif block.language == "enter":
                terminal.press_enter()
            elif block.text.startswith("// voicecall.json5"):
                (tmp_path / "voicecall.json5").write_text(block.text)
        if page.stem in CARRIERS:
            check_calls(terminal, page.stem)


def check_calls(terminal: Terminal, carrier: str) -> None:
    """Somebody was called and told something, and somebody called and is talked to."""
    history = f"voicecall --config {carrier}.json5 history --json"

    def talked() -> bool:
        inbound, *_ = terminal.records(history)
        return {each["speaker"] for each in inbound["transcript"]} == {"bot", "user"}

    wait_for(lambda: terminal.records(history)[1:], TALKED_S, "nobody calls")
    wait_for(talked, TALKED_S, "nobody talks")
    inbound, outbound = terminal.records(history)
    assert (inbound["provider"], inbound["direction"]) == (carrier, "inbound")
    assert (outbound["provider"], outbound["direction"]) == (carrier, "outbound")
    assert outbound["endReason"] == "hangup-bot"
    assert [each["text"] for each in outbound["transcript"]] == ["This is a test."]


def test_the_page_of_each_carrier_is_followed_through_both_calls() -> None:
    followed = [page.stem for page in SESSIONS if blocks(page, "enter")]
    assert sorted(followed) == sorted(CARRIERS)


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    done = subprocess.run(  # noqa: S603  (our own pages)
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", DOCS, tmp_path / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for page in PAGES[1:]:
        assert (tmp_path / "html" / f"{page.stem}.html").is_file()
