from __future__ import annotations

import asyncio
import logging
import sys
import traceback

import pytest

from tests.carriers.telnyx.api import CALL, DONE, KEY, PLACED, Api, answer, api, refusal, run
from voicecall.carriers.telnyx import markup
from voicecall.carriers.telnyx.faults import Refused
from voicecall.carriers.telnyx.rest import Rest
from voicecall.errors import CarrierError, DependencyMissing

pytestmark = pytest.mark.socket

NUMBER = "+13125550002"
PARAMETERS = {"connection_id": "42", "from_": "+13125550001", "to": NUMBER}
HTML = answer(b"<html>Bad gateway</html>", 502, content_type="text/html")
DROPPED = b""
CUT_SHORT = b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\nconnection: close\r\n\r\n{"data"'
NO_HTTP = b"SSH-2.0-OpenSSH_9.6\r\nconnection: close\r\n\r\n"
ELSEWHERE = answer(b"", 307, location="/v2/elsewhere")
LIMITED = refusal(429, "10011", retry_after="0")
LIMITED_IN_MS = refusal(429, retry_after_ms="1")
# Answers which say that no call was placed.
CERTAIN = {refusal(408), refusal(409), LIMITED, LIMITED_IN_MS, ELSEWHERE}


async def dial_at(served: Api, timeout_s: float = 5.0) -> CarrierError:
    rest = Rest(KEY, served.url, timeout_s)
    try:
        with pytest.raises(CarrierError) as failure:
            await rest.dial(PARAMETERS)
    finally:
        await rest.close()
    return failure.value


@pytest.mark.parametrize(
    "bad",
    [
        refusal(500),
        refusal(503, retry_after="0"),
        refusal(408),
        refusal(409),
        LIMITED,
        LIMITED_IN_MS,
        HTML,
        DROPPED,
        CUT_SHORT,
        NO_HTTP,
        ELSEWHERE,
    ],
    ids=[
        "500",
        "503",
        "408",
        "409",
        "429",
        "429 in ms",
        "502 in HTML",
        "dropped",
        "cut short",
        "no HTTP",
        "redirected",
    ],
)
def test_a_dial_is_sent_once_whatever_comes_back(bad: bytes) -> None:
    async def case() -> None:
        async with api(bad, answer(PLACED)) as served:
            error = await dial_at(served)
            # Whoever repeats a request does so within the client's longest wait before it.
            assert len(served.sent) == 1
            doubtful = bad not in CERTAIN
            assert ("may have been placed" in str(error)) is doubtful
            assert error.retryable is ("HTTP 429" in str(error))

    run(case)


def test_a_dial_that_hangs_is_given_up_in_time_and_sent_once() -> None:
    async def case() -> None:
        async with api(None) as served:
            error = await dial_at(served, timeout_s=0.2)
            assert len(served.sent) == 1
            assert not error.retryable
            assert "may have been placed" in str(error)
            assert error.code == "carrier_unreachable"

    run(case)


def test_an_answer_that_trickles_does_not_outlive_the_deadline() -> None:
    async def case() -> None:
        trickle = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"
        async with api(trickle) as served:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            await dial_at(served, timeout_s=0.3)
            assert loop.time() - began_s < 2
            assert len(served.sent) == 1

    run(case)


def test_a_connection_that_dies_while_idle_costs_no_second_request() -> None:
    async def case() -> None:
        async with api(answer(PLACED), DROPPED, answer(PLACED)) as served:
            rest = Rest(KEY, served.url, 5)
            await rest.dial(PARAMETERS)
            with pytest.raises(CarrierError, match="may have been placed"):
                await rest.dial(PARAMETERS)
            assert len(served.sent) == 2
            await rest.close()

    run(case)


def test_the_vendors_package_would_have_repeated_it() -> None:
    import telnyx  # noqa: PLC0415  (as large as it is, only this test needs it by name)

    async def case() -> None:
        async with api(refusal(500, retry_after_ms="1")) as served:
            client = telnyx.AsyncTelnyx(api_key=KEY, base_url=served.url)
            with pytest.raises(telnyx.InternalServerError):
                await client.calls.dial(connection_id="42", from_="+1", to=NUMBER)
            await client.close()
            assert len(served.sent) == 3

    run(case)


def test_a_dial_that_reaches_nobody_may_be_repeated() -> None:
    async def case() -> None:
        async with api(answer(PLACED)) as served:
            pass
        error = await dial_at(served)
        assert error.retryable
        assert "may have been placed" not in str(error)

    run(case)


def test_commands_go_where_telnyx_documents_them() -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served:
            rest = Rest(KEY, served.url, 5)
            await rest.command("send keys", "v3:a/b", markup.keys('"12"</x>\n'))
            await rest.look_up(CALL)
            await rest.close()
            sent, looked_up = served.sent
            assert (sent.method, sent.path) == ("POST", "/v2/calls/v3:a%2Fb/actions/send_dtmf")
            assert sent.body == {"digits": '"12"</x>\n'}
            assert sent.headers["authorization"] == f"Bearer {KEY}"
            assert (looked_up.method, looked_up.path) == ("GET", f"/v2/calls/{CALL}")

    run(case)


@pytest.mark.parametrize("call", ["", ".", "..", "../account", "v3:a?b", "v3:a\n", "x" * 257])
def test_what_is_no_id_of_a_call_becomes_no_path(call: str) -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served:
            rest = Rest(KEY, served.url, 5)
            with pytest.raises(CarrierError, match="no id of a call"):
                await rest.look_up(call)
            with pytest.raises(CarrierError, match="no id of a call"):
                await rest.command("hang up", call, markup.hang_up())
            await rest.close()
            assert not served.sent

    run(case)


def test_after_too_many_requests_the_next_one_waits_as_long_as_asked() -> None:
    async def case() -> None:
        async with api(refusal(429, "10011", x_ratelimit_reset="1"), answer(DONE)) as served:
            rest = Rest(KEY, served.url, 5)
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            with pytest.raises(Refused):
                await rest.look_up(CALL)
            await rest.look_up(CALL)
            assert loop.time() - began_s >= 1
            assert len(served.sent) == 2
            await rest.close()

    run(case)


def test_a_wait_longer_than_the_deadline_is_refused_without_a_request() -> None:
    async def case() -> None:
        async with api(refusal(429, "10011", retry_after="30"), answer(DONE)) as served:
            rest = Rest(KEY, served.url, 2)
            with pytest.raises(Refused):
                await rest.look_up(CALL)
            with pytest.raises(CarrierError, match="another 30 s") as refused:
                await rest.dial(PARAMETERS)
            assert refused.value.retryable
            assert refused.value.code == "carrier_refused"
            assert len(served.sent) == 1
            await rest.close()

    run(case)


def test_errors_repeat_neither_the_key_nor_numbers() -> None:
    async def case() -> None:
        detail = f"{KEY} may not call {NUMBER}"
        async with api(refusal(403, "10010", detail), DROPPED) as served:
            for _ in range(2):
                error = await dial_at(served)
                told = "".join(traceback.format_exception(error))
                assert KEY not in told
                assert NUMBER not in told

    run(case)


def test_environment_variables_do_not_change_whom_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, api(answer(DONE)) as other:
            monkeypatch.setenv("TELNYX_BASE_URL", other.url)
            monkeypatch.setenv("TELNYX_API_KEY", "another")
            monkeypatch.setenv("TELNYX_CLIENT_ID", "id")
            monkeypatch.setenv("TELNYX_CLIENT_SECRET", "secret")
            rest = Rest(KEY, served.url, 5)
            await rest.look_up(CALL)
            await rest.close()
            assert served.sent[0].headers["authorization"] == f"Bearer {KEY}"
            assert not other.sent

    run(case)


def test_a_request_that_is_cancelled_is_cancelled() -> None:
    async def case() -> None:
        async with api(None) as served:
            rest = Rest(KEY, served.url, 5)
            dialling = asyncio.create_task(rest.dial(PARAMETERS))
            await served.arrived.wait()
            dialling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialling
            await rest.close()
            assert len(served.sent) == 1

    run(case)


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "telnyx", None)
    with pytest.raises(DependencyMissing, match=r"voicecall\[telnyx\]"):
        Rest(KEY, None, 5)


def test_nothing_personal_is_logged_by_us(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        with caplog.at_level(logging.DEBUG, "voicecall"):
            async with api(refusal(403, "10010", NUMBER)) as served:
                await dial_at(served)
        ours = [entry for entry in caplog.records if entry.name.startswith("voicecall")]
        assert not [entry for entry in ours if NUMBER in str(vars(entry))]

    run(case)
