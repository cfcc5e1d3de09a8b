"""Whole servers that are reached through a tunnel: calls, webhooks, failures."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from twilio.request_validator import RequestValidator

from tests.exposure.standins import alive
from tests.hosting import CALLEE, TOKEN, Hand, Served, free_port, run, serving, settings, until
from voicecall.config.schema import Config
from voicecall.errors import ConfigError, RemoteError, ServeError
from voicecall.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.exposure.standins import StandIn, TailscaleStandIn
    from voicecall.ports import DialRequest
    from voicecall.simulator.callee import Emit

pytestmark = pytest.mark.socket

DEADLINE_S = 30
NGROK = {"provider": "ngrok"}
QUESTION = "When are you open?"
TWILIO: dict[str, Any] = {
    "provider": "twilio",
    "fromNumber": "+15550000001",
    "twilio": {"accountSid": "AC" + "0" * 32, "authToken": "auth-token"},
    "inboundPolicy": "open",
}


class Far(Hand):
    """Keeps where calls' media were to go.

    Args:
        address: where the tailnet's name is found on this machine.
    """

    def __init__(self, address: str = "") -> None:
        super().__init__()
        self._address = address
        self.told: list[str] = []

    async def ring(self, request: DialRequest, provider_call_id: str, emit: Emit) -> None:
        url = request.stream_url or ""
        self.told.append(url)
        found = url.replace("wss://box.tail1.ts.net/", f"ws://{self._address}/")
        await super().ring(replace(request, stream_url=found), provider_call_id, emit)


@asynccontextmanager
async def exposed(far: Far, **sections: Any) -> AsyncIterator[Served]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    heard = {"scripted": {"transcripts": [QUESTION]}}
    async with (
        Server(Config.model_validate(settings(stt=heard, **sections)), callee=far) as server,
        httpx.AsyncClient(base_url=server.control_url, headers=headers) as http,
    ):
        yield Served(server, http, far)


def departure(digit: str) -> dict[str, str]:
    """What Twilio posts when a caller has hung up."""
    return {
        "CallSid": f"CA{digit * 32}",
        "AccountSid": TWILIO["twilio"]["accountSid"],
        "From": CALLEE,
        "To": TWILIO["fromNumber"],
        "CallStatus": "completed",
        "Direction": "inbound",
    }


def public_url(served: Served) -> str:
    assert served.server.public_url is not None
    return served.server.public_url


async def readyz(served: Served) -> tuple[int, dict[str, Any]]:
    answer = await served.http.get("/readyz")
    return answer.status_code, answer.json()


async def greet(served: Served) -> str:
    """A call whose other end hears us; its id."""
    call_id = await served.initiate("Hi.")
    phone = await served.connected(call_id)
    await served.listening(call_id)
    assert any(phone.heard_pcm)
    return call_id


async def talk(served: Served) -> str:
    """A call that is heard at both ends, and over; its id."""
    call_id = await greet(served)
    await served.hand.phone.say(QUESTION)
    await served.listening(call_id, said=2)
    await served.ask("end", callId=call_id)
    return call_id


def over(call_id: str) -> dict[str, Any]:
    return {"event": {"type": "call.ended", "callId": call_id, "reason": "completed"}}


# --- ngrok ---------------------------------------------------------------------------------------


def test_a_call_goes_through_the_tunnel(ngrok: StandIn) -> None:
    async def case() -> None:
        far = Far()
        async with exposed(far, tunnel=NGROK) as served:
            url = public_url(served)
            assert url.endswith("/voice/webhook")
            outside = urlsplit(url).netloc
            assert outside != urlsplit(served.server.control_url).netloc
            call_id = await talk(served)
            assert [urlsplit(told).netloc for told in far.told] == [outside]
            async with httpx.AsyncClient() as carrier:
                answer = await carrier.post(url, json=over(call_id))
            assert answer.status_code == 200
            # The agent is on this machine, those who come through it are not.
            for path in ("/metrics", "/rpc/openrpc.json"):
                async with httpx.AsyncClient(base_url=f"http://{outside}") as stranger:
                    assert (await stranger.get(path)).status_code == 401
            status, state = await readyz(served)
            assert (status, state["exposure"]["by"], state["exposure"]["up"]) == (
                200,
                "ngrok",
                True,
            )
            readings = (await served.http.get("/metrics")).text
            assert 'voicecall_exposure_up{by="ngrok"} 1.0' in readings
        assert not alive(ngrok.pid)

    run(case(), DEADLINE_S)


def test_a_new_url_is_given_to_new_calls(ngrok: StandIn) -> None:
    async def case() -> None:
        far = Far()
        async with exposed(far, tunnel=NGROK) as served:
            before = public_url(served)
            ngrok.signal(signal.SIGUSR1)
            await until(lambda: not served.server.reachable)
            status, state = await readyz(served)
            assert (status, state["ready"], state["exposure"]["up"]) == (503, False, False)
            ngrok.signal(signal.SIGUSR2)
            await until(lambda: public_url(served) != before)
            await greet(served)
            assert urlsplit(far.told[-1]).netloc == urlsplit(public_url(served)).netloc
            assert (await readyz(served))[0] == 200

    run(case(), DEADLINE_S)


def test_an_agent_that_dies_is_started_again(ngrok: StandIn) -> None:
    async def case() -> None:
        async with serving(tunnel=NGROK) as served:
            before = public_url(served)
            first = ngrok.pid
            ngrok.signal(signal.SIGKILL)
            await until(lambda: public_url(served) != before, within_s=20)
            assert ngrok.pid != first
            await greet(served)
            metrics = (await served.http.get("/metrics")).text
            assert 'voicecall_exposure_restarts_total{by="ngrok"} 1.0' in metrics

    run(case(), DEADLINE_S)


def test_signatures_are_checked_against_the_tunnels_url(ngrok: StandIn) -> None:
    async def case() -> None:
        async with Server(
            Config.model_validate({**settings(), **TWILIO, "tunnel": NGROK})
        ) as server:
            url = server.public_url or ""
            form = departure("1")

            async def post(signed_url: str) -> int:
                sign = RequestValidator("auth-token").compute_signature
                headers = {"X-Twilio-Signature": sign(signed_url, form)}
                async with httpx.AsyncClient() as carrier:
                    return (await carrier.post(url, data=form, headers=headers)).status_code

            assert await post(f"{server.control_url}/voice/webhook") == 401
            assert await post(url) == 200
            ngrok.signal(signal.SIGUSR1)
            ngrok.signal(signal.SIGUSR2)
            before = url
            await until(lambda: server.public_url != before)
            url = server.public_url or ""
            form = departure("2")
            assert await post(before) == 401
            assert await post(url) == 200

    run(case(), DEADLINE_S)


@pytest.mark.parametrize(
    ("allowed", "bind", "status"),
    [(True, "127.0.0.1", 200), (False, "127.0.0.1", 401), (True, "0.0.0.0", 401)],  # noqa: S104
)
@pytest.mark.usefixtures("ngrok")
def test_the_loopback_bypass_needs_the_tunnel_the_flag_and_loopback(
    allowed: bool,
    bind: str,
    status: int,
) -> None:
    async def case() -> None:
        tunnel = {**NGROK, "allowNgrokFreeTierLoopbackBypass": allowed}
        serve = {"port": 0, "bind": bind}
        config = {**settings(), **TWILIO, "tunnel": tunnel, "serve": serve}
        async with Server(Config.model_validate(config)) as server, httpx.AsyncClient() as carrier:
            form = departure("1")
            headers = {"X-Twilio-Signature": "made up"}
            answer = await carrier.post(server.public_url or "", data=form, headers=headers)
            assert answer.status_code == status

    run(case(), DEADLINE_S)


def test_a_server_that_cannot_be_reached_does_not_start(ngrok: StandIn) -> None:
    async def case() -> None:
        ngrok.behave(refuses="authentication failed\n\nERR_NGROK_4018")
        server = Server(Config.model_validate(settings(tunnel=NGROK)))
        with pytest.raises(RemoteError, match="ERR_NGROK_4018"):
            await server.start()
        assert server.public_url is None
        assert not alive(ngrok.pid)

    run(case(), DEADLINE_S)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("settings_", [{"tunnel": NGROK}, {"tailscale": {"mode": "funnel"}}])
def test_what_is_not_installed_is_told(settings_: dict[str, Any]) -> None:
    async def case() -> None:
        with pytest.raises(ServeError, match="is not installed, or not in PATH; install"):
            await Server(Config.model_validate(settings(**settings_))).start()

    run(case(), DEADLINE_S)


def test_two_tunnels_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"tunnel\.provider: .*tailscale\.mode"):
        Server(Config.model_validate(settings(tunnel=NGROK, tailscale={"mode": "serve"})))


def test_a_public_url_wins_and_no_tunnel_is_opened(
    ngrok: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        async with serving(tunnel=NGROK, publicUrl="https://voice.example.com") as served:
            assert public_url(served) == "https://voice.example.com/voice/webhook"
            assert ngrok.runs == []
            assert "exposure" not in (await readyz(served))[1]

    run(case(), DEADLINE_S)
    assert "publicUrl is set, so no tunnel is opened" in caplog.text


# --- tailscale -----------------------------------------------------------------------------------


class Router:
    """What tailscaled does with requests: the longest mounted path decides where they go."""

    def __init__(self, tailscale: TailscaleStandIn) -> None:
        self._tailscale = tailscale
        self.targets: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, rest = head.split(b" ", 2)
        handlers = self._tailscale.handlers()
        mounts = [each for each in handlers if f"{path.decode()}/".startswith(f"{each}/")]
        if not mounts:
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        mount = max(mounts, key=len)
        self.targets.append(handlers[mount])
        target = urlsplit(handlers[mount])
        inner_reader, inner_writer = await asyncio.open_connection(target.hostname, target.port)
        behind = path.decode().removeprefix(mount)
        inner_writer.write(b"%s %s %s" % (method, f"{target.path}{behind}".encode(), rest))
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def routed(tailscale: TailscaleStandIn) -> AsyncIterator[tuple[Router, str]]:
    router = Router(tailscale)
    server = await asyncio.start_server(router.serve, "127.0.0.1", 0)
    async with server:
        yield router, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_a_call_goes_through_tailscales_routes(tailscale: TailscaleStandIn) -> None:
    async def case() -> None:
        async with routed(tailscale) as (router, address):
            far, media_port = Far(address), free_port()
            funnel = {"mode": "funnel", "path": "/calls"}
            async with exposed(far, streaming={"port": media_port}, tailscale=funnel) as served:
                assert public_url(served) == "https://box.tail1.ts.net/calls"
                call_id = await talk(served)
                webhook = await served.http.post(f"http://{address}/calls", json=over(call_id))
                # A connection of its own, since that is what is routed here.
                async with httpx.AsyncClient() as visitor:
                    hidden = await visitor.get(f"http://{address}/healthz")
                assert (webhook.status_code, hidden.status_code) == (200, 404)
                (told,) = far.told
                assert told.startswith("wss://box.tail1.ts.net/voice/stream/")
                assert router.targets == [
                    f"http://127.0.0.1:{media_port}/voice/stream",
                    f"{served.server.control_url}/voice/webhook",
                ]
        assert tailscale.served == {}

    run(case(), DEADLINE_S)


def test_media_with_a_url_of_their_own_need_no_route(tailscale: TailscaleStandIn) -> None:
    async def case() -> None:
        elsewhere = {"publicUrl": "https://media.example.com"}
        async with serving(tailscale={"mode": "serve"}, streaming=elsewhere):
            assert list(tailscale.handlers()) == ["/voice/webhook"]

    run(case(), DEADLINE_S)


def test_media_at_the_webhooks_port_are_found_behind_its_prefix(
    tailscale: TailscaleStandIn,
) -> None:
    async def case() -> None:
        async with routed(tailscale) as (_, address):
            far, funnel = Far(address), {"mode": "funnel", "path": "/clinic/voice/webhook"}
            async with exposed(far, streaming={"port": 0}, tailscale=funnel) as served:
                assert public_url(served) == "https://box.tail1.ts.net/clinic/voice/webhook"
                await talk(served)
                (told,) = far.told
                assert told.startswith("wss://box.tail1.ts.net/clinic/voice/stream/")

    run(case(), DEADLINE_S)


def test_two_servers_have_routes_of_their_own(tailscale: TailscaleStandIn) -> None:
    async def case() -> None:
        async with serving(tailscale={"mode": "funnel"}):
            first = tailscale.handlers()
            with pytest.raises(ServeError, match=r"already.*set another tailscale\.port"):
                await Server(Config.model_validate(settings(tailscale={"mode": "funnel"}))).start()
            assert tailscale.handlers() == first
            async with serving(tailscale={"mode": "funnel", "port": 8443}) as second:
                assert public_url(second) == "https://box.tail1.ts.net:8443/voice/webhook"
                others = tailscale.handlers("box.tail1.ts.net:8443")
                assert others["/voice/webhook"].startswith(second.server.control_url)
            assert tailscale.handlers("box.tail1.ts.net:8443") == {}
            assert tailscale.handlers() == first
        assert tailscale.served == {}

    run(case(), DEADLINE_S)


# --- as a process --------------------------------------------------------------------------------


@asynccontextmanager
async def process(stand_in: StandIn, folder: Path, **sections: Any) -> AsyncIterator[Any]:
    path = folder / "voicecall.json5"
    path.write_text(json.dumps(settings(serve={"port": free_port()}, **sections)))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voicecall", "--config", str(path), "serve"),
        env={"PATH": stand_in.path, "HOME": str(folder), "NGROK_AUTHTOKEN": "hush"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def said(child: asyncio.subprocess.Process, text: str) -> str:
    assert child.stderr is not None
    lines = []
    async for line in child.stderr:
        lines.append(line.decode())
        if text in line.decode():
            return line.decode().strip()
    raise AssertionError("".join(lines))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_agent_goes_with_the_server_however_that_goes(
    ngrok: StandIn, tmp_path: Path, number: signal.Signals
) -> None:
    async def case() -> None:
        ngrok.behave(helper=True)
        async with process(ngrok, tmp_path, tunnel=NGROK) as server:
            line = await said(server, "reached from outside at ")
            url = line.rpartition(" ")[2]
            async with httpx.AsyncClient() as carrier:
                alive_url = url.replace("/voice/webhook", "/healthz")
                assert (await carrier.get(alive_url)).status_code == 200
            (started,) = ngrok.runs
            assert started["token"] == "hush"
            assert "hush" not in " ".join(started["argv"])
            helper = int((ngrok.folder / "helper.pid").read_text())
            assert alive(started["pid"])
            assert alive(helper)
            server.send_signal(number)
            assert await server.wait() == (0 if number is signal.SIGTERM else -number)
            await until(lambda: not alive(started["pid"]) and not alive(helper), within_s=20)

    run(case(), DEADLINE_S * 2)


def test_the_agent_survives_ctrl_c_until_the_server_is_done_with_it(
    ngrok: StandIn, tmp_path: Path
) -> None:
    """Ctrl-C reaches the whole foreground group; the tunnel has to outlive the calls."""

    async def case() -> None:
        async with process(ngrok, tmp_path, tunnel=NGROK) as server:
            await said(server, "reached from outside at ")
            assert os.getpgid(ngrok.pid) != os.getpgid(server.pid)
            assert os.getsid(ngrok.pid) != os.getsid(server.pid)

    run(case(), DEADLINE_S)


def test_a_process_that_cannot_be_reached_says_why_and_exits_with_1(
    ngrok: StandIn, tmp_path: Path
) -> None:
    async def case() -> None:
        ngrok.behave(refuses="authentication failed\n\nERR_NGROK_4018")
        async with process(ngrok, tmp_path, tunnel=NGROK) as server:
            assert server.stderr is not None
            complaint = (await server.stderr.read()).decode()
            assert await server.wait() == 1
            assert "ERR_NGROK_4018" in complaint
            assert "reached from outside" not in complaint
            assert "Traceback" not in complaint

    run(case(), DEADLINE_S)


def test_who_is_told_to_stop_does_not_wait_for_the_tunnel(ngrok: StandIn, tmp_path: Path) -> None:
    async def case() -> None:
        ngrok.behave(silent=True)
        async with process(ngrok, tmp_path, tunnel=NGROK) as server:
            await until(lambda: ngrok.runs, within_s=20)
            server.send_signal(signal.SIGTERM)
            assert await server.wait() == 0
            await until(lambda: not alive(ngrok.pid), within_s=20)

    run(case(), DEADLINE_S)
