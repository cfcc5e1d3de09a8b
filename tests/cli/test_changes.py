"""Changes as they are read from a server: in order, each once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.records import CALL_ID, change, over, record
from tests.hosting import run
from voicecall.cli import changes
from voicecall.cli.changes import follow, follow_call, newest, past
from voicecall.client import Client
from voicecall.errors import ConfigError, RemoteError, UnknownCall

if TYPE_CHECKING:
    from voicecall.client.results import Changes, Record

pytestmark = pytest.mark.unit

LOST = RemoteError("no server answers", retryable=True)


class Server(Client):
    """Holds changes, and at times does not answer."""

    def __init__(self, *stored: dict[str, Any]) -> None:
        super().__init__()
        self.stored = list(stored)
        self.asked: list[tuple[int, int]] = []
        self.fails: list[Exception] = []
        self.record: dict[str, Any] | None = record()

    async def changes(self, since: int = 0, limit: int = 100) -> Changes:
        self.asked.append((since, limit))
        if self.fails:
            raise self.fails.pop(0)
        count = len(self.stored)
        begin = max(0, count + since) if since < 0 else min(since, count)
        found = [
            {"number": number, **each}
            for number, each in enumerate(self.stored[begin : begin + limit], begin + 1)
        ]
        last = found[-1]["number"] if found else begin
        page: Any = {"changes": found, "last": last}
        return page  # type: ignore[no-any-return]  # as the client has it

    async def status(self, call_id: str) -> Record | None:
        assert call_id == CALL_ID
        if self.fails:
            raise self.fails.pop(0)
        found: Any = self.record
        return found  # type: ignore[no-any-return]  # as above


def heard(server: Server, count: int, said: list[str] | None = None) -> list[str]:
    """The types of the first `count` changes that are followed from the beginning."""

    async def case() -> list[str]:
        told = said if said is not None else []
        types: list[str] = []
        async for page in follow(server, 0, 0.001, told.append):
            types += [each["type"] for each in page]
            if len(types) >= count:
                break
        return types

    return run(case())


def followed(server: Server, said: list[str] | None = None) -> list[str]:
    """The types of all changes of the call, which has to be over for that to end."""

    async def case() -> list[str]:
        told = said if said is not None else []
        found = follow_call(server, CALL_ID, 0, 0.001, told.append)
        return [each["type"] async for each in found]

    return run(case())


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_RETRY_S", 0.001)
    monkeypatch.setattr(changes, "_CHECK_S", 0.01)
    monkeypatch.setattr(changes, "_SETTLED_S", 0.05)


def test_the_newest_change_is_known_by_its_number() -> None:
    assert run(newest(Server())) == 0
    assert run(newest(Server(*[change("call.created")] * 3))) == 3


def test_the_past_is_the_newest_changes() -> None:
    server = Server(*[change("call.created")] * 1500)
    page = run(past(server))
    assert (page["changes"][0]["number"], len(page["changes"]), page["last"]) == (501, 1000, 1500)


def test_more_changes_than_one_answer_holds_are_all_told_once() -> None:
    server = Server(*[change(f"call.{number}") for number in range(2500)])
    assert heard(server, 2500) == [f"call.{number}" for number in range(2500)]


def test_what_comes_later_is_told_when_it_is_there() -> None:
    server = Server(change("call.created"))

    async def case() -> None:
        pages = follow(server, -1, 0.001, lambda _: None)
        assert [each["type"] for each in await anext(pages)] == ["call.created"]
        assert await anext(pages) == []
        server.stored.append(change("call.ringing"))
        assert [each["type"] for each in await anext(pages)] == ["call.ringing"]
        await pages.aclose()

    run(case())


def test_a_server_that_is_started_anew_is_waited_for_and_nothing_is_lost() -> None:
    server = Server(change("call.created"), change("call.ringing"))
    said: list[str] = []

    async def case() -> list[str]:
        pages = follow(server, 0, 0.001, said.append)
        types = [each["type"] for each in await anext(pages)]
        server.fails = [LOST] * 3
        server.stored.append(change("call.answered"))
        types += [each["type"] for each in await anext(pages)]
        await pages.aclose()
        return types

    assert run(case()) == ["call.created", "call.ringing", "call.answered"]
    assert said == ["waiting for the server: no server answers"]


def test_a_server_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "PATIENCE_S", 0.05)
    server = Server(change("call.created"))
    server.record = None

    async def case() -> None:
        pages = follow(server, 0, 0.001, lambda _: None)
        await anext(pages)
        server.fails = [LOST] * 10_000
        with pytest.raises(RemoteError, match="no server answers"):
            await anext(pages)
        assert len(server.fails) < 10_000

    run(case())


@pytest.mark.parametrize("error", [LOST, ConfigError("rpc.token: another one")])
def test_a_server_that_was_never_there_is_not_waited_for(error: Exception) -> None:
    server = Server()
    server.fails = [error]
    said: list[str] = []
    with pytest.raises(type(error)):
        heard(server, 1, said)
    assert (len(server.asked), said) == (1, [])


def test_an_error_that_will_not_pass_is_not_waited_for() -> None:
    server = Server(change("call.created"))

    async def case() -> None:
        pages = follow(server, 0, 0.001, lambda _: None)
        await anext(pages)
        server.fails = [RemoteError("what answers is no voicecall server")]
        with pytest.raises(RemoteError, match="no voicecall server"):
            await anext(pages)

    run(case())


def test_a_call_is_followed_to_its_end_and_no_other_one() -> None:
    server = Server(
        change("call.created"),
        {**change("call.ended"), "callId": "another"},
        {"type": "gap", "timestamp": 0},
        change("call.ringing"),
        change("call.ended"),
    )
    assert followed(server) == ["call.created", "call.ringing", "call.ended"]


def test_words_that_are_recognised_just_after_the_end_are_told() -> None:
    server = Server(change("call.created"), change("call.ended"))

    async def case() -> list[str]:
        types = []
        async for each in follow_call(server, CALL_ID, 0, 0.001, lambda _: None):
            types.append(each["type"])
            if each["type"] == "call.ended":
                server.stored.append(change("call.speech", transcript="Bye"))
        return types

    assert run(case()) == ["call.created", "call.ended", "call.speech"]


def test_a_call_that_the_server_has_forgotten_is_not_waited_for() -> None:
    server = Server(change("call.created"))
    server.record = None
    with pytest.raises(UnknownCall, match=CALL_ID):
        followed(server)


def test_a_call_whose_end_was_not_told_is_over_when_its_record_says_so() -> None:
    server = Server(change("call.created"))
    server.record = over("hangup-user")
    assert followed(server) == ["call.created"]


def test_a_quiet_call_goes_on_through_looks_at_it_and_through_losses() -> None:
    server = Server(change("call.created"))
    said: list[str] = []
    looks = 0
    status = server.status

    async def case() -> list[str]:
        nonlocal looks

        async def look(call_id: str) -> Record | None:
            nonlocal looks
            looks += 1
            if looks == 1:
                server.fails = [LOST, LOST]
            if looks == 3:
                server.stored.append(change("call.ended"))
            return await status(call_id)

        server.status = look  # type: ignore[method-assign]  # one of its moods
        async with asyncio.timeout(10):
            found = follow_call(server, CALL_ID, 0, 0.001, said.append)
            return [each["type"] async for each in found]

    assert run(case()) == ["call.created", "call.ended"]
    assert looks >= 3
    assert said == ["waiting for the server: no server answers"]
