"""Every command about calls as people and programs run it: against a server, in processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.cli.terminal import CTRL_C, Terminal
from tests.hosting import CALLEE, TOKEN, free_port, settings
from voicecall import SyncClient
from voicecall.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result

pytestmark = pytest.mark.e2e

DEADLINE_S = 30.0
# The installed command, or else the same by another name.
INSTALLED = Path(sys.executable).parent / "voicecall"
COMMAND = [str(INSTALLED)] if INSTALLED.is_file() else [sys.executable, "-m", "voicecall"]
# 60 ms a letter in the scripted voice.
LONG = "This takes so long to say that everybody has enough time to look at it and to hang up"
WORDS = ("When are you open?", "Thank you, bye")
CALL_COMMANDS = {
    "speak": ["--message", "Hi"],
    "continue": ["--message", "Hi"],
    "dtmf": ["--digits", "1"],
    "transfer": ["--to", CALLEE],
    "end": [],
    "tail": [],
}


class Site:
    """A folder with a configuration, the commands that use it, and a server when it is wanted."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        config = settings(
            **{
                "serve": {"port": self.port},
                "mock": {"phone": "echo"},
                "bargeIn": {"enabled": False},
                "stt": {"scripted": {"transcripts": WORDS}},
                "fromNumber": "+15550009999",
                **sections,
            }
        )
        self.config = folder / "voicecall.json5"
        self.config.write_text(json.dumps(config))
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.env = {**kept, "HOME": str(folder)}

    def command(self, *arguments: str) -> list[str]:
        return [*COMMAND, "--config", str(self.config), *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command whose output is for a program."""
        return subprocess.run(  # noqa: S603  (our own command)
            self.command(*arguments),
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def invoke(self, *arguments: str) -> Result:
        """Run it in this process, which is as good where how it is run is not the question."""
        return CliRunner(env=self.env).invoke(main, ["--config", str(self.config), *arguments])

    def answer(self, *arguments: str) -> Any:
        """What a command prints that works and has nothing to say beside it."""
        done = self.invoke(*arguments)
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    def refusal(self, *arguments: str) -> str:
        """What a command says that does not work."""
        done = self.invoke(*arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: ")
        return done.stderr

    @contextmanager
    def piped(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on while the test does."""
        with subprocess.Popen(  # noqa: S603  (our own command)
            self.command(*arguments),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def terminal(self, *arguments: str, **options: Any) -> Terminal:
        return Terminal(self.command(*arguments), self.env, **options)

    def client(self) -> SyncClient:
        return SyncClient(f"http://127.0.0.1:{self.port}", TOKEN)

    def place(self, message: str = "", mode: Any = "conversation") -> str:
        """A call that nobody says anything in, unless there is a message; once it is answered."""
        with self.client() as client:
            call_id = client.initiate(message, CALLEE, mode)
            until(lambda: self.record(client, call_id)["answeredAt"] is not None)
            return call_id

    def record(self, client: SyncClient, call_id: str) -> Any:
        record = client.status(call_id)
        assert record is not None
        return record

    def start(self) -> None:
        """Run the server; returns when it is ready."""
        self.process = subprocess.Popen(  # noqa: S603  (our own command)
            self.command("serve"),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        ready = threading.Event()
        self._reader = threading.Thread(target=read, args=(self.process, ready))
        self._reader.start()
        assert ready.wait(DEADLINE_S)
        assert self.process.poll() is None

    def kill(self) -> None:
        if self.process is not None and self._reader is not None:
            self.process.kill()
            self.process.wait()
            self._reader.join(DEADLINE_S)


def read(process: subprocess.Popen[str], ready: threading.Event) -> None:
    """Take in what a server says, so that it can go on saying it."""
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            if "voicecall is ready" in line:
                ready.set()
    ready.set()


def until(condition: Callable[[], object]) -> None:
    """Wait for what another process brings about."""
    give_up_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


def spoken(record: Any) -> list[tuple[str, str]]:
    return [(entry["speaker"], entry["text"]) for entry in record["transcript"]]


def lines_of(picture: str, *skip: str) -> list[list[str]]:
    """The cells of the lines of a call on a terminal, without those that begin with `skip`."""
    lines = [line.split(None, 2) for line in picture.splitlines()]
    return [cells for cells in lines if cells[0] not in skip]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a server, for all tests."""
    made = Site(tmp_path_factory.mktemp("site"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def site(served: Site) -> Iterator[Site]:
    """The same, without calls of other tests."""
    yield served
    with served.client() as client:
        for call in client.calls():
            client.end(call["callId"])


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Site]:
    """A site without a server, whose calls say nothing of themselves."""
    made = Site(tmp_path, stt={"scripted": {"transcripts": []}})
    yield made
    made.kill()


# --- call: for programs --------------------------------------------------------------------------


def test_a_call_is_placed_and_its_record_printed_when_it_is_over(site: Site) -> None:
    done = site.run("call", "--to", CALLEE, "--message", "Hi", "--mode", "notify")
    record = json.loads(done.stdout)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert done.stderr == f"placed call {record['callId']}\n"
    assert (record["to"], record["endReason"]) == (CALLEE, "hangup-bot")
    assert spoken(record) == [("bot", "Hi")]


def test_a_call_can_be_followed_change_by_change(site: Site) -> None:
    done = site.run("call", "-t", CALLEE, "-m", "Hi", "--mode", "notify", "--follow")
    changes = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [change["type"] for change in changes] == [
        f"call.{kind}"
        for kind in (
            "created",
            "initiated",
            "ringing",
            "answered",
            "active",
            "speaking",
            "spoken",
            "ended",
        )
    ]
    numbers = [change["number"] for change in changes]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert {f"placed call {change['callId']}\n" for change in changes} == {done.stderr}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_hangs_up_and_the_record_is_printed(site: Site, number: signal.Signals) -> None:
    with site.piped("call", "-t", CALLEE, "-m", LONG) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline().startswith("placed call ")
        process.send_signal(number)
        record = json.loads(process.stdout.read())
        assert process.stderr.read() == "hanging up\n"
        assert process.wait(DEADLINE_S) == 0
    assert record["endReason"] == "hangup-bot"


def test_nobody_holds_a_call_that_nobody_can_see_any_more(site: Site) -> None:
    with site.piped("call", "-t", CALLEE, "-m", LONG, "--follow") as process:
        assert process.stdout is not None
        call_id = json.loads(process.stdout.readline())["callId"]
        process.stdout.close()
        # As `head -1` does. It is noticed when there is more to print.
        assert process.wait(DEADLINE_S) == 1
    with site.client() as client:
        assert site.record(client, call_id)["endReason"] == "hangup-bot"


def test_a_call_that_is_not_held_is_a_failure(tmp_path: Path) -> None:
    done = Site(tmp_path, mock={"phone": "busy"}).run("call", "-t", CALLEE, "-m", "Hi")
    assert done.returncode == 1
    record = json.loads(done.stdout)
    assert record["endReason"] == "busy"
    assert done.stderr.splitlines() == [
        "no server runs, so one is started that ends with the call",
        f"placed call {record['callId']}",
    ]


def test_json_goes_to_the_pipe_while_the_terminal_shows_that_something_goes_on(site: Site) -> None:
    path = site.folder / "record.json"
    with (
        path.open("wb") as record,
        site.terminal(
            "call", "-t", CALLEE, "-m", "Hi", "--mode", "notify", stdout=record
        ) as terminal,
    ):
        assert terminal.exit() == 0
        assert b"in a call" in terminal.octets
        assert "placed call" in terminal.picture
        assert "in a call" not in terminal.picture
        assert not terminal.cursor_hidden()
    assert json.loads(path.read_text())["endReason"] == "hangup-bot"


# --- call: for people ----------------------------------------------------------------------------


def test_people_see_the_call_as_it_happens(site: Site) -> None:
    with site.terminal("call", "-t", CALLEE, "-m", "Hi there") as terminal:
        terminal.sees("answered", "the bot speaks", "Ctrl-C hangs up")
        assert terminal.cursor_hidden()
        assert terminal.exit() == 0
        cells = lines_of(terminal.picture)
        coloured = terminal.octets
        assert not terminal.cursor_hidden()
    assert cells[0][0] == "call"
    assert re.fullmatch(r"[0-9a-f-]{36}", cells[0][1])
    assert [line[1:] for line in cells[1:-1]] == [
        ["call", "ringing"],
        ["call", "answered"],
        ["bot", "Hi there"],
        ["caller", WORDS[0]],
        ["bot", "From ten to six."],
        ["caller", WORDS[1]],
        ["bot", "Bye then."],
        ["ended", "we hung up"],
    ]
    times_s = [float(line[0]) for line in cells[1:-1]]
    assert times_s == sorted(times_s)
    assert re.fullmatch(r"0:\d\d, 2 turns, answers after \d+ ms \(median\)", " ".join(cells[-1]))
    # Who speaks is told by colours too: green and cyan.
    assert b"\x1b[32mbot" in coloured
    assert b"\x1b[36mcaller" in coloured


def test_ctrl_c_hangs_up_and_shows_the_end(site: Site) -> None:
    with site.terminal("call", "-t", CALLEE, "-m", LONG) as terminal:
        # What is being said is seen before it has been said.
        picture = terminal.sees(f"{LONG[:40]}", "▍", "the bot speaks", "Ctrl-C hangs up")
        call_id = picture.split()[1]
        terminal.press(CTRL_C)
        assert terminal.exit() == 0
        last = lines_of(terminal.picture)[-2:]
        assert last[0][1:] == ["ended", "we hung up"]
        assert "▍" not in terminal.picture
    with site.client() as client:
        assert site.record(client, call_id)["endReason"] == "hangup-bot"


def test_a_second_ctrl_c_waits_for_nobody(site: Site) -> None:
    assert site.process is not None
    with site.terminal("call", "-t", CALLEE, "-m", LONG) as terminal:
        terminal.sees("the bot speaks")
        # A server that does not answer.
        site.process.send_signal(signal.SIGSTOP)
        try:
            terminal.press(CTRL_C)
            terminal.sees("hanging up", "Ctrl-C leaves at once")
            terminal.press(CTRL_C)
            assert terminal.exit() == -signal.SIGINT
            assert "leaves at once" not in terminal.picture
            assert not terminal.cursor_hidden()
        finally:
            site.process.send_signal(signal.SIGCONT)


def test_without_a_server_the_call_has_one_that_ends_with_it(alone: Site) -> None:
    with alone.terminal("call", "-t", CALLEE, "-m", "Hi") as terminal:
        picture = terminal.sees("Hi", "listening")
        assert picture.startswith("no server runs, so one is started that ends with the call\n")
        # Meanwhile other commands reach it.
        (call,) = alone.answer("status")["calls"]
        assert call["callId"] in picture
        assert alone.answer("end", "--call-id", call["callId"]) == {"success": True}
        assert terminal.exit() == 0
        assert "we hung up" in terminal.picture
    assert "no server answers" in alone.refusal("status")


def test_ctrl_c_ends_a_call_and_its_server_with_log_lines_above_the_picture(alone: Site) -> None:
    command = [*COMMAND, "--config", str(alone.config), "-v"]
    with Terminal([*command, "call", "-t", CALLEE, "-m", "Hi"], alone.env, 160) as terminal:
        terminal.sees("voicecall.server ready", "listening")
        terminal.press(CTRL_C)
        assert terminal.exit() == 0
        assert "we hung up" in terminal.picture
        for text in ("Ctrl-C", "Traceback", "Aborted"):
            assert text not in terminal.picture
        lines = [line for line in terminal.picture.splitlines() if " INFO " in line]
        assert len(lines) >= 2
        assert all(re.match(r"\d{4}-\d\d-\d\dT\S+ INFO voicecall", line) for line in lines)


# --- start, speak, continue, dtmf, transfer, end -------------------------------------------------


def test_a_call_is_started_talked_to_and_ended(site: Site) -> None:
    def printed(*arguments: str) -> Any:
        done = site.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    placed = printed("start", "--to", CALLEE)
    call_id = placed["callId"]
    assert placed == {"callId": call_id, "initiated": True}
    with site.client() as client:
        until(lambda: site.record(client, call_id)["answeredAt"] is not None)
        asked = ["continue", "--call-id", call_id, "--message", "How?"]
        assert printed(*asked) == {"success": True, "transcript": WORDS[0]}
        assert printed("dtmf", "--call-id", call_id, "--digits", "1w2#") == {"success": True}
        assert printed("speak", "--call-id", call_id, "-m", "So.") == {"success": True}
        assert printed("end", "--call-id", call_id) == {"success": True}
        record = site.record(client, call_id)
        assert record["endReason"] == "hangup-bot"
        assert spoken(record)[:2] == [("bot", "How?"), ("user", WORDS[0])]
        assert ("bot", "So.") in spoken(record)
    # What is wanted is the case already.
    assert site.answer("end", "--call-id", call_id) == {"success": True}
    assert "the call has ended" in site.refusal("speak", "--call-id", call_id, "-m", "Hi")


def test_a_message_can_be_left_and_keys_sent_before_it(site: Site) -> None:
    options = ["--mode", "notify", "--dtmf-sequence", "1#"]
    call_id = site.answer("start", "-t", CALLEE, "-m", "Hi", *options)["callId"]
    with site.client() as client:
        until(lambda: site.record(client, call_id)["endedAt"] is not None)
        record = site.record(client, call_id)
    assert (record["metadata"]["mode"], spoken(record)) == ("notify", [("bot", "Hi")])


def test_a_call_is_handed_on(site: Site) -> None:
    call_id = site.place()
    asked = ["transfer", "--call-id", call_id, "--to", "+15550007777"]
    assert site.answer(*asked) == {"success": True}
    with site.client() as client:
        record = site.record(client, call_id)
    assert (record["endReason"], record["metadata"]["transferredTo"]) == (
        "completed",
        "+15550007777",
    )


def test_people_are_told_in_words(site: Site) -> None:
    def told(*arguments: str) -> str:
        with site.terminal(*arguments) as terminal:
            assert terminal.exit() == 0
            return terminal.picture

    first, second = told("start", "-t", CALLEE).splitlines()
    assert second == f"follow it with: voicecall tail --call-id {first}"
    with site.client() as client:
        until(lambda: site.record(client, first)["answeredAt"] is not None)
    assert told("continue", "--call-id", first, "-m", "How?") == WORDS[0]
    assert told("speak", "--call-id", first, "-m", "So.") == "said"
    other = site.place()
    assert told("dtmf", "--call-id", other, "--digits", "1") == "sent"
    assert told("transfer", "--call-id", other, "--to", "+15550007777") == "handed on"
    assert told("end", "--call-id", first) == "hung up"


def test_people_see_that_an_answer_is_waited_for(alone: Site) -> None:
    alone.start()
    call_id = alone.place()
    with alone.terminal("continue", "--call-id", call_id, "-m", "How?") as terminal:
        # The caller is heard, but no word of his is recognised.
        terminal.sees("waiting for the answer")
        assert terminal.cursor_hidden()
        alone.answer("end", "--call-id", call_id)
        assert terminal.exit() == 1
        assert terminal.picture == "Error: the call has ended"
        assert not terminal.cursor_hidden()


# --- status and history --------------------------------------------------------------------------


def test_programs_get_the_live_calls_or_one_by_either_id(site: Site) -> None:
    call_id = site.place()
    (call,) = site.answer("status")["calls"]
    assert (call["callId"], call["state"]) == (call_id, "active")
    for given in (["--call-id", call_id], ["--sid", call["providerCallId"]]):
        found = site.answer("status", *given)
        assert (found["found"], found["call"]["callId"]) == (True, call_id)
    site.answer("end", "--call-id", call_id)
    assert site.answer("status") == {"calls": []}
    assert site.answer("status", "--call-id", call_id)["call"]["endReason"] == "hangup-bot"
    done = site.invoke("status", "--call-id", "nobody")
    assert (done.exit_code, done.stderr) == (1, "")
    assert json.loads(done.stdout) == {"found": False}


def test_people_see_a_table_that_is_drawn_anew_until_ctrl_c(site: Site) -> None:
    first = site.place()
    with site.terminal("status", "--watch") as terminal:
        picture = terminal.sees(first, f"→ {CALLEE}", "active")
        assert picture.splitlines()[0].split()[:4] == ["call", "started", "with", "state"]
        second = site.place()
        terminal.sees(first, second)
        with site.client() as client:
            client.end(first)
            client.end(second)
        terminal.sees("no live calls")
        terminal.press(CTRL_C)
        assert terminal.exit() == 0
        assert "Traceback" not in terminal.picture
        assert not terminal.cursor_hidden()


def test_people_see_one_call_whole_until_it_is_over(site: Site) -> None:
    call_id = site.place("Hi")
    with site.terminal("status", "--call-id", call_id, "--watch") as terminal:
        terminal.sees(call_id, "outbound conversation", f"→ {CALLEE}")
        assert terminal.exit() == 0
        picture = terminal.picture
    for text in ("hangup-bot, we hung up", "From ten to six.", WORDS[1], "2 turns"):
        assert text in picture
    assert len({len(line) for line in picture.splitlines()}) == 1


def test_the_newest_calls_are_listed_newest_first(site: Site) -> None:
    older, newer = site.place(), site.place()
    calls = site.answer("history", "--last", "2")["calls"]
    assert [call["callId"] for call in calls] == [newer, older]
    with site.terminal("history", "--last", "2") as terminal:
        assert terminal.exit() == 0
        _, *lines = terminal.picture.splitlines()
        assert [line.split()[0] for line in lines] == [newer, older]
    with site.terminal("history", "--last", "1", "--json") as terminal:
        assert terminal.exit() == 0
        # JSON, and for the eyes.
        assert '\n  "calls": [\n' in terminal.picture


# --- tail ----------------------------------------------------------------------------------------


def test_programs_get_changes_as_they_come_a_line_each(site: Site) -> None:
    site.answer("end", "--call-id", site.place())
    with site.piped("tail", "--since", "1", "--poll", "50") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["type"] == "call.ended"
        call_id = site.place("Hi", "notify")
        kinds = []
        while "call.ended" not in kinds:
            change = json.loads(process.stdout.readline())
            assert change["callId"] == call_id
            kinds.append(change["type"])
        assert kinds[0] == "call.created"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == ""


def test_changes_of_one_call_end_with_it(site: Site) -> None:
    call_id = site.place()
    with site.client() as client:
        record = site.record(client, call_id)
    with site.piped("tail", "--sid", record["providerCallId"], "--since", "1") as process:
        assert process.stdout is not None
        # So much of its past was asked for.
        assert json.loads(process.stdout.readline())["type"] == "call.active"
        # What happens to others is not shown.
        site.answer("end", "--call-id", site.place())
        site.answer("end", "--call-id", call_id)
        changes = [json.loads(line) for line in process.stdout]
        assert process.wait(DEADLINE_S) == 0
    assert [(change["callId"], change["type"]) for change in changes] == [(call_id, "call.ended")]


def test_a_call_that_is_over_is_shown_from_the_past(site: Site) -> None:
    call_id = site.place("Hi", "notify")
    with site.client() as client:
        until(lambda: site.record(client, call_id)["endedAt"] is not None)
    done = site.invoke("tail", "--call-id", call_id, "--since", "3")
    kinds = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert (done.exit_code, kinds) == (0, ["call.speaking", "call.spoken", "call.ended"])


def test_people_see_changes_in_columns_as_they_come(site: Site) -> None:
    site.answer("end", "--call-id", site.place())
    with site.terminal("tail", "--since", "1", "--poll", "50") as terminal:
        terminal.sees("ended")
        call_id = site.place("Hi there", "notify")
        picture = terminal.until(
            lambda seen: [line for line in seen.splitlines() if call_id[:8] in line][7:], "8 lines"
        )
        terminal.press(CTRL_C)
        assert terminal.exit() == 0
        assert "Traceback" not in terminal.picture
        assert b"\x1b[" in terminal.octets
    lines = [line for line in picture.splitlines() if call_id[:8] in line]
    cells = [line.split() for line in lines]
    assert [line[2:4] for line in cells] == [
        ["created", "initiated"],
        ["initiated", "initiated"],
        ["ringing", "ringing"],
        ["answered", "answered"],
        ["active", "active"],
        ["speaking", "speaking"],
        ["spoken", "listening"],
        ["ended", "hangup-bot"],
    ]
    assert lines[6].endswith("Hi there")
    for number in range(4):
        assert len({list(re.finditer(r"\S+", line))[number].start() for line in lines}) == 1


# --- a server that is started anew ---------------------------------------------------------------


def test_people_go_on_seeing_what_happens_when_the_server_is_started_anew(alone: Site) -> None:
    alone.start()
    with alone.terminal("status") as terminal:
        terminal.sees("no live calls")
        assert terminal.exit() == 0
    with alone.terminal("call", "-t", CALLEE, "-m", "Hi") as terminal:
        terminal.sees("Hi", "listening")
        with alone.terminal("tail") as tail:
            tail.sees("spoken")
            alone.kill()
            terminal.sees("waiting for the server: ")
            tail.sees("waiting for the server: ")
            alone.start()
            tail.sees("restored")
            assert tail.picture.count("waiting for the server") == 1
        terminal.sees("the server took it up again", "listening", "Ctrl-C hangs up")
        terminal.press(CTRL_C)
        assert terminal.exit() == 0
        assert "we hung up" in terminal.picture


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", CALL_COMMANDS)
def test_a_call_that_there_is_not_is_a_failure(site: Site, command: str) -> None:
    said = site.refusal(command, "--call-id", "nobody", *CALL_COMMANDS[command])
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    assert "call" in said


def test_what_the_server_refuses_is_told_as_it_says_it(site: Site) -> None:
    assert "+15550001234" in site.refusal("call", "-t", "nobody", "-m", "Hi")
    assert "+15550001234" in site.refusal("start", "-t", "nobody", "-m", "Hi")
    keys = ["dtmf", "--call-id", site.place(), "--digits", "five"]
    assert "0-9 * # w W" in site.refusal(*keys)
    with site.terminal("call", "-t", "nobody", "-m", "Hi") as terminal:
        assert terminal.exit() == 1
        assert terminal.picture.startswith("Error: ")
        assert terminal.picture.count("\n") == 0
        assert not terminal.cursor_hidden()


@pytest.mark.parametrize("command", ["status", "history", "start", *CALL_COMMANDS])
def test_without_a_server_it_is_told_how_to_start_one(alone: Site, command: str) -> None:
    given = ["--to", CALLEE] if command == "start" else CALL_COMMANDS.get(command, [])
    named = ["--call-id", "x"] if command in CALL_COMMANDS else []
    assert alone.refusal(command, *named, *given) == (
        f"Error: no server answers at http://127.0.0.1:{alone.port}; "
        "start one with: voicecall serve\n"
    )


def test_without_a_server_people_are_told_so_too(alone: Site) -> None:
    with alone.terminal("tail") as terminal:
        assert terminal.exit() == 1
        assert "start one with: voicecall serve" in terminal.picture
        assert not terminal.cursor_hidden()


def test_a_server_with_another_token_is_told_from_none(site: Site, tmp_path: Path) -> None:
    wrong = Site(tmp_path, serve={"port": site.port}, rpc={"token": "another one"})
    for arguments in (["status"], ["call", "-t", CALLEE, "-m", "Hi"], ["tail"]):
        assert wrong.refusal(*arguments).startswith("Error: rpc.token: the server at ")
    done = wrong.run("end", "--call-id", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: rpc.token: the server at ")
    assert done.stderr.count("\n") == 1


def test_a_server_that_breaks_off_is_a_failure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = Site(tmp_path, serve={"port": listener.getsockname()[1]})

        def refuse() -> None:
            connection, _ = listener.accept()
            connection.recv(1)
            connection.close()

        refusing = threading.Thread(target=refuse)
        refusing.start()
        assert "did not answer" in other.refusal("status")
        refusing.join(DEADLINE_S)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["call"], "Missing option '-m' / '--message'"),
        (["call", "-m", " "], "there is nothing to say"),
        (["call", "-m", "Hi", "--mode", "chat"], "'chat' is not one of"),
        (["start", "-m", "Hi"], "Missing option '-t' / '--to'"),
        (["continue", "-m", "Hi"], "Missing option '--call-id'"),
        (["speak", "--call-id", "x"], "Missing option '-m' / '--message'"),
        (["dtmf", "--call-id", "x"], "Missing option '--digits'"),
        (["transfer", "--call-id", "x"], "Missing option '-t' / '--to'"),
        (["end"], "Missing option '--call-id'"),
        (["tail", "--since", "-1"], "--since"),
        (["tail", "--poll", "0"], "--poll"),
        (["history", "--last", "0"], "--last"),
        (["status", "--watch"], "for people at a terminal"),
        (["status", "x"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(arguments: list[str], complaint: str) -> None:
    shown = CliRunner().invoke(main, arguments)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert complaint in shown.stderr


# --- completion ----------------------------------------------------------------------------------


def test_bash_completes_the_ids_of_live_calls(site: Site) -> None:
    bash = shutil.which("bash")
    if bash is None or not INSTALLED.is_file():
        pytest.skip("needs bash, and the command installed")
    call_id = site.place()
    ask = """
    eval "$(voicecall completion bash)"
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _voicecall_completion voicecall
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    words = ["voicecall", "--config", str(site.config), "end", "--call-id", call_id[:4]]
    done = subprocess.run(  # noqa: S603  (a shell of this machine)
        [bash, "--norc", "-c", ask, "bash", *words],
        env={**site.env, "PATH": f"{INSTALLED.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{call_id}\n", "")
