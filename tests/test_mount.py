"""A voicecall inside somebody else's web application, with real calls through it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from tests.contract.modem import ModemEars, ModemVoice
from tests.contract.people import Clerk, Person
from tests.hosting import CALLEE, TOKEN, free_port, run, settings, until
from voicecall import Config, create_app
from voicecall.clock import SystemClock
from voicecall.control.listen import ControlListener
from voicecall.errors import ServeError
from voicecall.simulator.exchange.by_name import exchange_by_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall import Call
    from voicecall.mount import App
    from voicecall.simulator.exchange.by_name import ExchangeName

pytestmark = pytest.mark.socket

CALLED_IN = {
    "id": "e-1",
    "type": "call.ringing",
    "providerCallId": "in-1",
    "direction": "inbound",
    "from": "+15550009999",
    "to": "+15550000000",
}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@asynccontextmanager
async def served(app: Any, port: int) -> AsyncIterator[httpx.AsyncClient]:
    """Any application, served by uvicorn with its lifespan."""
    config = uvicorn.Config(app, port=port, log_config=None, lifespan="on", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            yield http
    finally:
        server.should_exit = True
        await serving


def outer(phone: App, prefix: str) -> FastAPI:
    """A web application with a voicecall under a prefix, and something of its own."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with phone.running():
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/remind")
    async def remind(to: str) -> dict[str, str]:
        call = await phone.calls.initiate("Remember the milk.", to, "notify")
        return {"callId": call.id}

    app.mount(prefix, phone)
    return app


def test_in_another_application_under_a_prefix_a_call_is_placed_and_seen() -> None:
    async def case() -> None:
        port = free_port()
        phone = create_app(Config.model_validate(settings(serve={"port": port})))
        async with served(outer(phone, "/phone"), port) as http:
            placed = (await http.post("/remind", params={"to": CALLEE})).json()
            record = await phone.calls.get(placed["callId"]).ended()
            assert record.end_reason == "hangup-bot"
            assert [entry.text for entry in record.transcript] == ["Remember the milk."]
            status = {"jsonrpc": "2.0", "id": 1, "method": "voicecall.status"}
            assert (await http.post("/phone/rpc", json=status)).status_code == 401
            told = (await http.post("/phone/rpc", json=status, headers=BEARER)).json()
            assert told["result"] == {"calls": []}
            assert (await http.get("/phone/healthz")).status_code == 200
            hook = await http.post("/phone/voice/webhook", json={"event": CALLED_IN})
            assert hook.status_code == 200
        with pytest.raises(ServeError, match="running"):
            _ = phone.calls

    run(case())


def test_media_come_through_the_application_when_they_have_no_port_of_their_own() -> None:
    async def case() -> None:
        port = free_port()
        sections = {
            "serve": {"port": port},
            "streaming": {"port": 0},
            "publicUrl": f"http://127.0.0.1:{port}/phone/voice/webhook",
        }
        phone = create_app(Config.model_validate(settings(**sections)))
        listener = ControlListener(outer(phone, "/phone"), "127.0.0.1", port)
        async with phone.running():
            await listener.start()
            call = await phone.calls.initiate("Remember the milk.", CALLEE, "notify")
            record = await call.ended()
            assert record.end_reason == "hangup-bot"
            assert [entry.text for entry in record.transcript] == ["Remember the milk."]
            await listener.stop()

    run(case())


@pytest.mark.parametrize("carrier", ["twilio", "telnyx", "plivo"])
def test_carriers_find_the_webhook_and_the_media_under_the_prefix(carrier: ExchangeName) -> None:
    async def case() -> None:
        port = free_port()
        webhook_url = f"http://127.0.0.1:{port}/phone/voice/webhook"
        person = Person("Are you open?", stays=0.05)
        async with exchange_by_name(carrier, lambda _: person, SystemClock()) as exchange:
            sections: dict[str, Any] = {
                "provider": carrier,
                carrier: exchange.account,
                "fromNumber": "+13125550001",
                "serve": {"port": port},
                "streaming": {"port": 0, "enabled": True},
                "publicUrl": webhook_url,
                "inboundPolicy": "open",
                "inboundGreeting": "Welcome.",
            }
            phone = create_app(
                Config.model_validate(settings(**sections)),
                responder=Clerk({"Are you open?": ("Until six.",)}),
                tts=ModemVoice(),
                stt=ModemEars(),
            )
            listener = ControlListener(outer(phone, "/phone"), "127.0.0.1", port)
            async with phone.running():
                await listener.start()
                try:
                    # Signed webhooks are believed, and what they answer leads to the media.
                    await exchange.call_in("+13125550002", "+13125550001", webhook_url)
                    await until(phone.calls.live)
                    (call,) = phone.calls.live()
                    record = await call.ended()
                finally:
                    await listener.stop()
            assert person.heard == ["Welcome.", "Until six."]
            said = [entry.text for entry in record.transcript]
            assert said == ["Welcome.", "Are you open?", "Until six."]

    run(case())


def test_what_carriers_report_of_the_last_calls_is_taken_while_they_are_ended() -> None:
    held = asyncio.Event()
    taken: list[tuple[int, str]] = []

    async def case() -> None:
        port = free_port()
        transport: httpx.ASGITransport

        async def hold(call: Call) -> None:
            held.set()
            record = await call.ended()
            event = {
                "type": "call.ended",
                "reason": "completed",
                "callId": call.id,
                "providerCallId": record.provider_call_id,
            }
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                hook = await http.post("/voice/webhook", json={"event": event})
                ready = await http.get("/readyz")
            taken.append((hook.status_code, ready.json()["state"]))

        config = Config.model_validate(settings(serve={"port": port}))
        phone = create_app(config, on_call=hold)
        transport = httpx.ASGITransport(phone)
        async with phone.running():
            await phone.calls.initiate("", CALLEE, "conversation")
            await held.wait()
        assert taken == [(200, "draining")]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            assert (await http.get("/healthz")).status_code == 503

    run(case())


def test_on_its_own_it_starts_and_stops_with_the_server_that_serves_it() -> None:
    async def case() -> None:
        port = free_port()
        phone = create_app(Config.model_validate(settings(serve={"port": port})))
        async with served(phone, port) as http:
            assert (await http.get("/readyz")).json()["ready"] is True
            assert phone.server.control_url == f"http://127.0.0.1:{port}"
            with pytest.raises(ServeError, match="already"):
                async with phone.running():
                    pass

    run(case())


def test_what_keeps_it_from_starting_is_told_to_the_server_that_serves_it() -> None:
    async def case() -> None:
        port = free_port()
        streaming = {"port": port}
        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        told: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            told.append(message)

        async with await asyncio.start_server(lambda *_: None, "127.0.0.1", port):
            phone = create_app(Config.model_validate(settings(streaming=streaming)))
            with pytest.raises(ServeError):
                await phone({"type": "lifespan"}, receive, send)
        assert [message["type"] for message in told] == ["lifespan.startup.failed"]
        assert str(port) in told[0]["message"]

    run(case())


def test_while_it_does_not_run_requests_are_put_off() -> None:
    async def case() -> None:
        phone = create_app(Config.model_validate(settings()))
        transport = httpx.ASGITransport(phone)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            answer = await http.get("/healthz")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            # Nor when it ran: another run is another server.
            for _ in range(2):
                async with phone.running():
                    assert (await http.get("/healthz")).status_code == 200
                assert (await http.get("/healthz")).status_code == 503
        closed: list[Any] = []

        async def send(message: Any) -> None:
            closed.append(message)

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        await phone({"type": "websocket", "path": "/voice/stream"}, receive, send)
        assert (closed[0]["type"], closed[0]["code"]) == ("websocket.close", 1013)

    run(case())


def test_a_server_that_listens_itself_is_not_mounted() -> None:
    from voicecall import Server  # noqa: PLC0415

    with pytest.raises(ServeError, match="create_app"):
        _ = Server(Config.model_validate(settings())).app
