"""Ctrl-C during a call."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from tests.hosting import run
from voicecall.cli.call_view import JsonCallView
from voicecall.cli.interruption import Interruption
from voicecall.client import Client
from voicecall.errors import RemoteError

pytestmark = pytest.mark.unit

DEADLINE_S = 60
# Nobody answers the first one, so that only the second can end it.
TWICE = """
import asyncio, os, signal
from voicecall.cli.call_view import JsonCallView
from voicecall.cli.interruption import Interruption
from voicecall.client import Client

class Server(Client):
    async def end(self, call_id):
        print("asked", flush=True)
        os.kill(os.getpid(), signal.{name})
        await asyncio.Event().wait()

class View(JsonCallView):
    def end(self):
        print("gave the terminal back", flush=True)

async def case():
    with Interruption(View(follow=True)) as interruption:
        os.kill(os.getpid(), signal.{name})
        await interruption.hang_up(Server(), "c-1")

asyncio.run(case())
"""


class Server(Client):
    """Takes note of who hangs up."""

    def __init__(self, error: RemoteError | None = None) -> None:
        super().__init__()
        self._error = error
        self.ended: list[str] = []

    async def end(self, call_id: str) -> None:
        self.ended.append(call_id)
        if self._error is not None:
            raise self._error


class View(JsonCallView):
    """Takes note of what it is told."""

    def __init__(self) -> None:
        super().__init__(follow=False)
        self.told: list[str] = []
        self.asked = asyncio.Event()

    def hanging_up(self) -> None:
        self.asked.set()
        self.told.append("hanging up")

    def note(self, text: str) -> None:
        self.told.append(text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_one_hangs_up(number: signal.Signals) -> None:
    async def case() -> None:
        view, server = View(), Server()
        with Interruption(view) as interruption:
            hanging_up = asyncio.create_task(interruption.hang_up(server, "c-1"))
            await asyncio.sleep(0)
            assert not hanging_up.done()
            os.kill(os.getpid(), number)
            await hanging_up
        assert (server.ended, view.told) == (["c-1"], ["hanging up"])

    run(case())


def test_one_while_it_is_still_dialled_hangs_up_once_that_is_done() -> None:
    async def case() -> None:
        view, server = View(), Server()
        with Interruption(view) as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            await view.asked.wait()
            await interruption.hang_up(server, "c-1")
        assert server.ended == ["c-1"]

    run(case())


def test_it_can_be_asked_for_without_a_signal() -> None:
    async def case() -> None:
        view, server = View(), Server()
        with Interruption(view) as interruption:
            interruption.ask()
            await interruption.hang_up(server, "c-1")
        assert (server.ended, view.told) == (["c-1"], [])

    run(case())


def test_what_the_server_says_against_it_is_told() -> None:
    async def case() -> None:
        view = View()
        with Interruption(view) as interruption:
            interruption.ask()
            await interruption.hang_up(Server(RemoteError("no server answers")), "c-1")
        assert view.told == ["hanging up failed: no server answers"]

    run(case())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_one_leaves_at_once_with_the_terminal_in_order(number: signal.Signals) -> None:
    done = subprocess.run(  # noqa: S603  (our own interpreter and code)
        [sys.executable, "-c", TWICE.format(name=number.name)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stdout.splitlines() == ["asked", "gave the terminal back"]
    assert (done.returncode, done.stderr) == (-number, "hanging up\n")


def test_afterwards_ctrl_c_is_what_it_was_before() -> None:
    async def case() -> None:
        with Interruption(View()):
            pass
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    run(case())
