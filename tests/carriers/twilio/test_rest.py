from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.carriers.twilio.api import (
    ACCOUNT,
    CALL,
    PLACED,
    TOKEN,
    Api,
    answer,
    api,
    refusal,
    run,
)
from voicecall.carriers.twilio.faults import Refused
from voicecall.carriers.twilio.rest import Account, Region, Rest, Timeouts
from voicecall.clock import ManualClock
from voicecall.errors import CarrierError, DependencyMissing

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = pytest.mark.socket

TO, FROM = "+15550000002", "+15550000001"
PARAMETERS = {"to": TO, "from_": FROM, "url": "https://calls.example.com/voice/webhook"}
CALLS = f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json"
ONE = f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json"


def rest(double: Api, *, timeout_s: float = 5.0, clock: ManualClock | None = None) -> Rest:
    timeouts = Timeouts(dial_s=timeout_s, request_s=timeout_s)
    return Rest(Account(ACCOUNT, TOKEN, api_base_url=double.url), clock or ManualClock(), timeouts)


async def failure(work: Awaitable[object]) -> CarrierError:
    """The error of `work`, which holds and chains nothing that must not be logged."""
    with pytest.raises(CarrierError) as caught:
        await work
    error = caught.value
    assert not any(secret in str(error) for secret in (TOKEN, ACCOUNT, TO, FROM))
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return error


# --- what is sent ----------------------------------------------------------------------------


def test_a_call_is_placed_by_one_documented_request() -> None:
    async def case() -> None:
        async with api(answer(201, PLACED)) as double:
            asked = rest(double)
            assert await asked.create(PARAMETERS) == CALL
            await asked.close()
        (sent,) = double.sent
        assert (sent.method, sent.path) == ("POST", CALLS)
        assert sent.headers["authorization"].startswith("Basic ")
        assert sent.form == {"To": [TO], "From": [FROM], "Url": [PARAMETERS["url"]]}

    run(case)


def test_a_call_is_changed_and_looked_up_at_its_own_address() -> None:
    async def case() -> None:
        async with api(answer(200, PLACED)) as double:
            asked = rest(double)
            await asked.update("hang up", CALL, {"status": "completed"})
            assert await asked.fetch(CALL) == ("queued", "outbound-api")
            await asked.close()
        changed, looked = double.sent
        assert (changed.method, changed.path) == ("POST", ONE)
        assert changed.form == {"Status": ["completed"]}
        assert (looked.method, looked.path) == ("GET", ONE)

    run(case)


# --- nothing is ever sent twice --------------------------------------------------------------

FAULTS = {
    "500": refusal(500, 20500, f"cannot call {TO}"),
    "502 without a body": answer(502, b""),
    "503 with a page": answer(503, b"<html>busy</html>"),
    "503 that says when to retry": refusal(503, 20503, Retry_After="0"),
    "409": refusal(409, 20409),
    "408": answer(408, b""),
    "connection dropped": b"",
    "half an answer": b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{",
    "no HTTP": b"SSH-2.0-server\r\n\r\n",
    "201 without a body": answer(201, b""),
    "201 that is no JSON": answer(201, b"<html>welcome</html>"),
    "201 that is no object": answer(201, [1, 2]),
    "201 without an id": answer(201, {"status": "queued"}),
    "201 with a number for an id": answer(201, {"sid": 7}),
    "201 that is no text": answer(201, b"\xff\xfe\x00"),
    "redirected elsewhere": answer(307, b"", Location="/elsewhere"),
    "sent on": answer(302, b"", Location="/elsewhere"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_dial_is_sent_once_whatever_happens(fault: str) -> None:
    async def case() -> None:
        async with api(FAULTS[fault]) as double:
            asked = rest(double, timeout_s=1.0)
            error = await failure(asked.create(PARAMETERS))
            await asked.close()
        assert [sent.method for sent in double.sent] == ["POST"]
        assert not error.retryable

    run(case)


@pytest.mark.parametrize("fault", ["500", "connection dropped", "201 that is no JSON", "sent on"])
def test_other_requests_are_sent_once_too(fault: str) -> None:
    async def case() -> None:
        async with api(FAULTS[fault]) as double:
            asked = rest(double)
            error = await failure(asked.update("hang up", CALL, {"status": "completed"}))
            await asked.close()
        assert [sent.method for sent in double.sent] == ["POST"]
        assert error.retryable == (fault != "sent on")

    run(case)


def test_a_dial_on_a_connection_that_is_dropped_under_it_is_not_sent_again() -> None:
    async def case() -> None:
        async with api(answer(201, PLACED), b"") as double:
            asked = rest(double)
            await asked.create(PARAMETERS)
            error = await failure(asked.create(PARAMETERS))
            await asked.close()
        assert len(double.sent) == 2
        assert not error.retryable
        assert error.code == "carrier_unreachable"

    run(case)


def test_a_dial_that_nobody_answers_ends_at_its_deadline() -> None:
    async def case() -> None:
        async with api(None) as double:
            asked = rest(double, timeout_s=0.2)
            error = await failure(asked.create(PARAMETERS))
            await asked.close()
        assert len(double.sent) == 1
        assert "may ring all the same" in str(error)
        assert (error.retryable, error.status) == (False, None)

    run(case)


def test_an_answer_that_never_ends_is_cut_at_the_deadline() -> None:
    async def case() -> None:
        async with api(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{", None) as double:
            reading = asyncio.Event()

            async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n")
                try:
                    while not reading.is_set():
                        writer.write(b"1\r\n \r\n")
                        await writer.drain()
                        await asyncio.sleep(0.01)
                except ConnectionError:
                    pass
                finally:
                    writer.close()

            server = await asyncio.start_server(dribble, "127.0.0.1", 0)
            double.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            asked = rest(double, timeout_s=0.2)
            error = await failure(asked.create(PARAMETERS))
            reading.set()
            await asked.close()
            server.close()
            await server.wait_closed()
        assert "did not answer within" in str(error)

    run(case)


def test_a_dial_that_is_cancelled_is_cancelled() -> None:
    async def case() -> None:
        async with api(None) as double:
            asked = rest(double)
            dialling = asyncio.create_task(asked.create(PARAMETERS))
            await double.arrived.wait()
            dialling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialling
            await asked.close()
        assert len(double.sent) == 1

    run(case)


def test_a_refused_connection_is_known_to_have_placed_nothing() -> None:
    async def case() -> None:
        async with api(b"") as double:
            pass
        asked = rest(double)
        error = await failure(asked.create(PARAMETERS))
        await asked.close()
        assert double.sent == []
        assert error.retryable
        assert error.code == "carrier_unreachable"
        assert double.url in str(error)

    run(case)


# --- refusals --------------------------------------------------------------------------------


def test_a_refusal_says_what_to_do_and_hides_whom_it_was_about() -> None:
    async def case() -> None:
        async with api(refusal(400, 21211, f"The 'To' number {TO} is not valid")) as double:
            asked = rest(double)
            error = await failure(asked.create(PARAMETERS))
            await asked.close()
        assert isinstance(error, Refused)
        assert (error.http_status, error.twilio_code, error.status) == (400, 21211, 21211)
        assert "no valid number" in str(error)

    run(case)


def test_errors_in_the_newer_shape_are_understood() -> None:
    body = {"type": "https://x", "title": f"Bad {TO}", "status": 400, "code": 21210, "detail": TO}

    async def case() -> None:
        async with api(answer(400, body)) as double:
            asked = rest(double)
            error = await failure(asked.create(PARAMETERS))
            await asked.close()
        assert isinstance(error, Refused)
        assert error.twilio_code == 21210

    run(case)


def test_an_unknown_refusal_hides_numbers_that_twilio_repeats() -> None:
    async def case() -> None:
        async with api(refusal(400, 99999, f"{TO} and {ACCOUNT} are no good")) as double:
            asked = rest(double)
            error = await failure(asked.create(PARAMETERS))
            await asked.close()
        assert "no good" in str(error)

    run(case)


# --- the rate of requests --------------------------------------------------------------------


def test_after_too_many_requests_no_dial_is_sent_until_twilio_wants_one() -> None:
    async def case() -> None:
        clock = ManualClock()
        async with api(refusal(429, 20429, Retry_After="3"), answer(201, PLACED)) as double:
            asked = rest(double, clock=clock)
            error = await failure(asked.create(PARAMETERS))
            assert (error.retryable, error.status) == (True, 20429)
            clock.advance_ms(2_900)
            error = await failure(asked.create(PARAMETERS))
            assert (error.retryable, error.status) == (True, 429)
            assert len(double.sent) == 1
            clock.advance_ms(200)
            assert await asked.create(PARAMETERS) == CALL
            await asked.close()
        assert len(double.sent) == 2

    run(case)


def test_what_can_wait_waits_until_twilio_wants_it() -> None:
    async def case() -> None:
        clock = ManualClock()
        async with api(refusal(429, 20429, Retry_After="1"), answer(200, PLACED)) as double:
            asked = rest(double, clock=clock)
            error = await failure(asked.update("hang up", CALL, {"status": "completed"}))
            assert error.retryable
            clock.advance_ms(950)
            await asked.update("hang up", CALL, {"status": "completed"})
            await asked.close()
        assert len(double.sent) == 2

    run(case)


@pytest.mark.parametrize(("named", "pause_ms"), [("3600", 60_000), ("soon", 1_000)])
def test_a_pause_is_bounded_and_has_a_default(named: str, pause_ms: int) -> None:
    async def case() -> None:
        clock = ManualClock()
        async with api(answer(429, b"", Retry_After=named), answer(200, PLACED)) as double:
            asked = rest(double, timeout_s=0.5, clock=clock)
            await failure(asked.fetch(CALL))
            clock.advance_ms(pause_ms - 600)
            error = await failure(asked.fetch(CALL))
            assert error.status == 429
            clock.advance_ms(600)
            assert await asked.fetch(CALL) == ("queued", "outbound-api")
            await asked.close()
        assert len(double.sent) == 2

    run(case)


# --- the client ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "host"),
    [
        (None, "https://api.twilio.com"),
        ("us1", "https://api.twilio.com"),
        ("ie1", "https://api.dublin.ie1.twilio.com"),
        ("au1", "https://api.sydney.au1.twilio.com"),
    ],
)
def test_a_region_is_reached_through_its_edge_and_not_by_the_environment(
    region: Region | None, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_REGION", "br1")
    monkeypatch.setenv("TWILIO_EDGE", "sao-paulo")

    async def case() -> None:
        asked = Rest(Account(ACCOUNT, TOKEN, region), ManualClock())
        asked._calls()
        client = asked._client
        assert client.get_hostname(client.api.base_url) == host == asked._address()
        await asked.close()

    run(case)


def test_a_region_does_not_change_an_address_of_our_own() -> None:
    async def case() -> None:
        async with api(answer(201, PLACED)) as double:
            asked = Rest(Account(ACCOUNT, TOKEN, "au1", double.url), ManualClock())
            assert await asked.create(PARAMETERS) == CALL
            await asked.close()

    run(case)


def test_nothing_is_sent_after_the_close_nor_is_a_close_needed_twice() -> None:
    async def case() -> None:
        async with api(answer(201, PLACED)) as double:
            asked = rest(double)
            await asked.create(PARAMETERS)
            await asked.close()
            await asked.close()
            error = await failure(asked.create(PARAMETERS))
            assert "closed" in str(error)
        assert len(double.sent) == 1

    run(case)


def test_the_account_does_not_show_its_secret() -> None:
    assert TOKEN not in repr(Account(ACCOUNT, TOKEN))


def test_the_sdk_is_loaded_with_the_client_and_not_before() -> None:
    code = (
        "import sys\n"
        "from voicecall.carriers.twilio.client import TwilioCarrier\n"
        "assert 'twilio' not in sys.modules and 'aiohttp' not in sys.modules\n"
        "from voicecall.carriers.twilio.rest import Account, Rest\n"
        "from voicecall.clock import SystemClock\n"
        "Rest(Account('AC1', 'x'), SystemClock())\n"
        "assert 'twilio.rest.api.v2010.account.call' in sys.modules\n"
    )
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", code],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "twilio.rest", None)
    with pytest.raises(DependencyMissing, match=r"voicecall\[twilio\]"):
        Rest(Account(ACCOUNT, TOKEN), ManualClock())
