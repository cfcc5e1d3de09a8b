from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from starlette.exceptions import HTTPException

from tests.control.fakes import (
    FakeCalls,
    SignedWebhook,
    event_body,
    exchange,
    record,
    run,
    services,
    serving,
    until,
)
from voicecall.call.events import CallAnswered, CallRinging
from voicecall.carriers._proxies import TrustedProxies
from voicecall.carriers._public_url import ForwardingPolicy
from voicecall.clock import ManualClock
from voicecall.control import webhooks
from voicecall.control.services import WebhookSettings
from voicecall.control.webhooks import UnverifiedRequests
from voicecall.errors import CapacityReached, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from voicecall.control.services import ControlServices

pytestmark = pytest.mark.socket

PUBLIC = "https://calls.example.com/voice/webhook"
PATH = "/voice/webhook"


def signed(calls: FakeCalls, **settings: Any) -> ControlServices:
    forwarding = settings.pop("forwarding", ForwardingPolicy(public_url=PUBLIC))
    return services(
        calls,
        webhook=SignedWebhook(ManualClock()),
        webhooks=WebhookSettings(forwarding=forwarding, **settings),
    )


def signature(body: bytes, url: str = PUBLIC) -> dict[str, str]:
    return {"X-Test-Signature": SignedWebhook.sign(url, body)}


def counted(control: ControlServices, result: str) -> bool:
    return f'result="{result}"'.encode() in control.metrics.render()[0]


def posting(
    control: ControlServices, check: Callable[[httpx.AsyncClient], Awaitable[None]]
) -> None:
    async def case() -> None:
        async with serving(control) as served:
            await check(served.http)

    run(case)


def test_an_event_of_the_mock_carrier_is_applied() -> None:
    calls = FakeCalls()

    async def check(http: httpx.AsyncClient) -> None:
        answer = await http.post(PATH, content=event_body())
        assert (answer.status_code, answer.content) == (200, b"")

    posting(services(calls), check)
    assert [type(event) for event in calls.applied] == [CallRinging]


def test_events_of_one_body_are_applied_in_order() -> None:
    calls = FakeCalls()
    body = orjson.dumps(
        {"events": [{"type": f"call.{t}", "callId": "c-1"} for t in ("ringing", "answered")]}
    )

    async def check(http: httpx.AsyncClient) -> None:
        assert (await http.post(PATH, content=body)).status_code == 200

    posting(services(calls), check)
    assert [type(event) for event in calls.applied] == [CallRinging, CallAnswered]


def test_a_trailing_slash_is_the_same_path_and_similar_paths_are_not() -> None:
    async def check(http: httpx.AsyncClient) -> None:
        found = {
            path: (await http.post(path, content=event_body())).status_code
            for path in (PATH, f"{PATH}/", f"{PATH}/x", f"{PATH}x", f"{PATH}//", "/voice", "/")
        }
        assert found == {
            PATH: 200, f"{PATH}/": 200, f"{PATH}/x": 404, f"{PATH}x": 404, f"{PATH}//": 404,
            "/voice": 404, "/": 404,
        }  # fmt: skip

    posting(services(), check)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "PATCH"])
def test_other_methods_are_refused(method: str) -> None:
    async def check(http: httpx.AsyncClient) -> None:
        answer = await http.request(method, PATH)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    posting(services(), check)


def test_a_signed_request_is_answered_with_instructions_about_its_call() -> None:
    calls = FakeCalls()
    calls.add(record())
    body = event_body(callId=None, providerCallId="p-c-1")

    async def check(http: httpx.AsyncClient) -> None:
        answer = await http.post(PATH, content=body, headers=signature(body))
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/xml")
        assert answer.content == b"<Response>initiated</Response>"

    posting(signed(calls), check)


def test_the_signed_url_has_the_query_of_the_request() -> None:
    calls = FakeCalls()
    body = event_body()

    async def check(http: httpx.AsyncClient) -> None:
        query = "?turn=a%2Fb&x=1+2"
        answer = await http.post(
            PATH + query, content=body, headers=signature(body, PUBLIC + query)
        )
        assert answer.status_code == 200

    posting(signed(calls), check)


def test_without_the_signature_header_the_body_is_not_waited_for() -> None:
    async def case() -> None:
        async with serving(signed(FakeCalls())) as served:
            head = f"POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n".encode()
            status, _ = await exchange(served.port, head)
            assert status == 401

    run(case)


@pytest.mark.parametrize("given", ["", "00", "é", "a, b"])
def test_a_wrong_signature_is_refused_and_changes_nothing(given: str) -> None:
    calls = FakeCalls()
    control = signed(calls)

    async def check(http: httpx.AsyncClient) -> None:
        headers = {b"X-Test-Signature": given.encode("latin-1")}
        answer = await http.post(PATH, content=event_body(), headers=headers)
        assert (answer.status_code, answer.text) == (401, "Unauthorized")

    posting(control, check)
    assert calls.applied == []
    assert counted(control, "unsigned")


def test_a_repeated_signature_header_is_refused() -> None:
    body = event_body()

    async def check(http: httpx.AsyncClient) -> None:
        right = SignedWebhook.sign(PUBLIC, body)
        headers = [("X-Test-Signature", right), ("X-Test-Signature", right)]
        assert (await http.post(PATH, content=body, headers=headers)).status_code == 401

    posting(signed(FakeCalls()), check)


def test_a_body_declared_too_long_is_refused_unread() -> None:
    async def case() -> None:
        async with serving(services()) as served:
            head = f"POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Length: 65537\r\n\r\n"
            status, _ = await exchange(served.port, head.encode())
            assert status == 413

    run(case)


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_long() -> None:
    async def case() -> None:
        calls = FakeCalls()
        async with serving(services(calls)) as served:
            head = f"POST {PATH} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
            chunk = b"8001\r\n" + b" " * 0x8001 + b"\r\n"
            status, _ = await exchange(served.port, head.encode(), chunk, chunk)
            assert status == 413
        assert calls.applied == []

    run(case)


def test_a_body_of_exactly_64_kib_is_taken() -> None:
    calls = FakeCalls()
    body = event_body().ljust(64 * 1024)

    async def check(http: httpx.AsyncClient) -> None:
        assert (await http.post(PATH, content=body)).status_code == 200

    posting(services(calls), check)
    assert len(calls.applied) == 1


def test_a_body_that_does_not_arrive_in_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    init = webhooks.WebhookEndpoint.__init__
    monkeypatch.setattr(init, "__kwdefaults__", {"body_timeout_s": 0.1})

    async def case() -> None:
        control = services()
        async with serving(control) as served:
            head = f"POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nabc"
            status, answer = await exchange(served.port, head.encode())
            assert status == 408
            assert b"connection: close" in answer
        assert counted(control, "slow")

    run(case)


def test_a_source_with_too_many_unverified_requests_is_refused_until_one_is_done() -> None:
    async def case() -> None:
        async with serving(services()) as served:
            head = f"POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n"
            stuck = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(8)]
            for _, writer in stuck:
                writer.write(head.encode())

            async def status(wanted: int) -> bool:
                answer = await served.http.post(PATH, content=event_body())
                return answer.status_code == wanted

            await until(lambda: status(429))
            for _, writer in stuck:
                writer.close()
            await until(lambda: status(200))

    run(case)


def test_sources_are_counted_apart_and_forgotten_when_done() -> None:
    unverified = UnverifiedRequests(limit=2)
    with unverified.one("a"), unverified.one("a"), unverified.one("b"):
        with pytest.raises(HTTPException) as refusal, unverified.one("a"):
            pass
        assert refusal.value.status_code == 429
        assert len(unverified) == 3
    assert len(unverified) == 0
    assert not unverified._in_flight


def test_clients_behind_a_trusted_proxy_are_sources_of_their_own() -> None:
    async def case() -> None:
        forwarding = ForwardingPolicy(public_url=PUBLIC, proxies=TrustedProxies(["127.0.0.0/8"]))
        control = services(webhooks=WebhookSettings(forwarding=forwarding))
        async with serving(control) as served:
            head = f"POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n"
            stuck = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(8)]
            for _, writer in stuck:
                writer.write(f"{head}X-Forwarded-For: 192.0.2.7\r\n\r\n".encode())

            async def status(client: str, wanted: int) -> bool:
                headers = {"X-Forwarded-For": client}
                answer = await served.http.post(PATH, content=event_body(), headers=headers)
                return answer.status_code == wanted

            await until(lambda: status("192.0.2.7", 429))
            assert await status("192.0.2.8", 200)
            for _, writer in stuck:
                writer.close()

    run(case)


def test_a_replayed_request_gets_the_first_answer_and_has_no_effect() -> None:
    calls = FakeCalls()
    calls.add(record())
    control = signed(calls)
    body = event_body()

    async def check(http: httpx.AsyncClient) -> None:
        first = await http.post(PATH, content=body, headers=signature(body))
        calls.records.clear()
        second = await http.post(PATH, content=body, headers=signature(body))
        assert second.status_code == 200
        assert second.content == first.content == b"<Response>initiated</Response>"

    posting(control, check)
    assert len(calls.applied) == 1
    assert counted(control, "replayed")


def test_a_request_is_new_again_after_ten_minutes() -> None:
    calls = FakeCalls()
    control = signed(calls)
    body = event_body()

    async def check(http: httpx.AsyncClient) -> None:
        for wait_ms in (0, 599_999, 1):
            assert isinstance(control.clock, ManualClock)
            control.clock.advance_ms(wait_ms)
            await http.post(PATH, content=body, headers=signature(body))

    posting(control, check)
    assert len(calls.applied) == 2


def test_the_same_request_twice_at_once_is_applied_once() -> None:
    calls = FakeCalls()
    body = event_body()

    async def check(http: httpx.AsyncClient) -> None:
        calls.applying = asyncio.Event()
        posts = [
            asyncio.create_task(http.post(PATH, content=body, headers=signature(body)))
            for _ in range(3)
        ]
        done, _ = await asyncio.wait(posts, timeout=0.1)
        assert not done
        calls.applying.set()
        assert {(await post).status_code for post in posts} == {200}

    posting(signed(calls), check)
    assert len(calls.applied) == 1


def test_a_request_that_failed_is_not_remembered() -> None:
    calls = FakeCalls()
    calls.fails_with = StoreError("disk full")
    body = event_body()

    async def check(http: httpx.AsyncClient) -> None:
        answer = await http.post(PATH, content=body, headers=signature(body))
        assert answer.status_code == 503
        assert "disk" not in answer.text
        calls.fails_with = None
        answer = await http.post(PATH, content=body, headers=signature(body))
        assert answer.status_code == 200

    posting(signed(calls), check)
    assert len(calls.applied) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"event": {"type": "call.nonsense"}}'])
def test_a_malformed_body_is_refused_and_changes_nothing(body: bytes) -> None:
    calls = FakeCalls()

    async def check(http: httpx.AsyncClient) -> None:
        answer = await http.post(PATH, content=body, headers=signature(body))
        assert answer.status_code == 400

    posting(signed(calls), check)
    assert calls.applied == []


def test_an_event_the_calls_refuse_is_still_answered() -> None:
    calls = FakeCalls()
    calls.fails_with = CapacityReached("128 calls are the limit")

    async def check(http: httpx.AsyncClient) -> None:
        assert (await http.post(PATH, content=event_body())).status_code == 200

    posting(services(calls), check)


def test_an_unexpected_error_is_a_bare_500() -> None:
    calls = FakeCalls()
    calls.fails_with = RuntimeError("secret detail")

    async def check(http: httpx.AsyncClient) -> None:
        answer = await http.post(PATH, content=event_body())
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")

    posting(services(calls), check)


def test_without_verification_nothing_needs_a_signature() -> None:
    calls = FakeCalls()

    async def check(http: httpx.AsyncClient) -> None:
        for _ in range(2):
            assert (await http.post(PATH, content=event_body())).status_code == 200

    posting(signed(calls, verify=False), check)
    assert len(calls.applied) == 2


def test_the_ngrok_bypass_trusts_forwarding_headers_then_accepts_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = FakeCalls()
    body = event_body()
    forwarded = {"X-Forwarded-Host": "abc.example.net", "X-Forwarded-Proto": "https"}

    async def check(http: httpx.AsyncClient) -> None:
        right = signature(body, f"https://abc.example.net{PATH}")
        assert (await http.post(PATH, content=body, headers=right | forwarded)).status_code == 200
        assert caplog.records == []
        wrong = {"X-Test-Signature": "00"}
        assert (await http.post(PATH, content=body, headers=wrong | forwarded)).status_code == 200
        assert "allowNgrokFreeTierLoopbackBypass" in caplog.text

    posting(signed(calls, forwarding=ForwardingPolicy(), ngrok_bypass=True), check)
    assert len(calls.applied) == 2


def test_forwarding_headers_do_not_count_unless_wanted() -> None:
    body = event_body()

    async def check(http: httpx.AsyncClient) -> None:
        headers = signature(body, f"https://abc.example.net{PATH}")
        headers["X-Forwarded-Host"] = "abc.example.net"
        assert (await http.post(PATH, content=body, headers=headers)).status_code == 401

    posting(signed(FakeCalls(), forwarding=ForwardingPolicy()), check)
