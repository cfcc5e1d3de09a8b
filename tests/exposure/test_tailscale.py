"""Routes through Tailscale, with a `tailscale` that stands in for the real one."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosting import run
from voicecall.errors import RemoteError, ServeError
from voicecall.exposure import tailscale as tailscale_module
from voicecall.exposure.published import Route
from voicecall.exposure.tailscale import Tailscale

if TYPE_CHECKING:
    from tests.exposure.standins import TailscaleStandIn

pytestmark = pytest.mark.socket

DEADLINE_S = 30
KEY = "box.tail1.ts.net:443"
WEBHOOK = Route("/voice/webhook", "http://127.0.0.1:3334/voice/webhook")
STREAM = Route("/voice/stream", "http://127.0.0.1:3335/voice/stream")
BOTH = (WEBHOOK, STREAM)
# For those who wait for a change to be noticed.
SOON_S = 0.02


def served(**handlers: str) -> dict[str, Any]:
    paths = {name.replace("_", "/"): {"Proxy": target} for name, target in handlers.items()}
    return {"TCP": {"443": {"HTTPS": True}}, "Web": {KEY: {"Handlers": paths}}}


def test_routes_are_set_while_it_is_wanted_and_no_longer(tailscale: TailscaleStandIn) -> None:
    async def case() -> None:
        async with contextlib.aclosing(Tailscale("funnel", 443, BOTH).reach()) as urls:
            assert await anext(urls) == "https://box.tail1.ts.net/voice/webhook"
            assert tailscale.handlers() == {route.path: route.target for route in BOTH}
            assert tailscale.served["AllowFunnel"] == {KEY: True}
        assert tailscale.served == {}
        assert tailscale.changes == [
            *(
                ["funnel", "--bg", "--yes", "--https=443", f"--set-path={each.path}", each.target]
                for each in BOTH
            ),
            *(
                ["funnel", "--yes", "--https=443", f"--set-path={each.path}", "off"]
                for each in BOTH
            ),
        ]

    run(case(), DEADLINE_S)


def test_serve_stays_within_the_tailnet_and_leaves_other_routes_alone(
    tailscale: TailscaleStandIn,
) -> None:
    async def case() -> None:
        tailscale.served = before = served(_notes="http://127.0.0.1:8000")
        async with contextlib.aclosing(Tailscale("serve", 443, BOTH).reach()) as urls:
            assert await anext(urls) == "https://box.tail1.ts.net/voice/webhook"
            assert "AllowFunnel" not in tailscale.served
            assert len(tailscale.handlers()) == 3
        assert tailscale.served == before

    run(case(), DEADLINE_S)


def test_another_port_is_in_the_url(tailscale: TailscaleStandIn) -> None:
    async def case() -> None:
        door = await Tailscale("funnel", 8443, BOTH).open()
        assert door.url == "https://box.tail1.ts.net:8443"
        assert len(tailscale.handlers("box.tail1.ts.net:8443")) == 2

    run(case(), DEADLINE_S)


def test_a_route_of_somebody_elses_is_not_taken(tailscale: TailscaleStandIn) -> None:
    async def case() -> None:
        tailscale.served = before = served(_voice_stream="http://127.0.0.1:9999")
        with pytest.raises(ServeError, match=r"/voice/stream on port 443 leads to http"):
            await Tailscale("serve", 443, BOTH).open()
        assert tailscale.served == before

    run(case(), DEADLINE_S)


def test_a_route_that_was_there_stays_there(tailscale: TailscaleStandIn) -> None:
    async def case() -> None:
        tailscale.served = before = served(_voice_webhook=WEBHOOK.target)
        async with contextlib.aclosing(Tailscale("serve", 443, BOTH).reach()) as urls:
            await anext(urls)
            assert len(tailscale.handlers()) == 2
        assert tailscale.served == before

    run(case(), DEADLINE_S)


def test_what_was_changed_in_the_meantime_is_left_alone(tailscale: TailscaleStandIn) -> None:
    async def case() -> None:
        async with contextlib.aclosing(Tailscale("serve", 443, BOTH).reach()) as urls:
            await anext(urls)
            tailscale.served = changed = served(_voice_webhook="http://127.0.0.1:9999")
        assert tailscale.served == changed

    run(case(), DEADLINE_S)


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ({"state": "NeedsLogin"}, "not logged in; run: sudo tailscale up"),
        ({"state": "Stopped"}, "switched off; run: sudo tailscale up"),
        ({"state": "NeedsMachineAuth"}, "an admin of the tailnet has to approve"),
        ({"state": "Starting"}, "see: tailscale status"),
        ({"state": "down"}, "run: sudo systemctl start tailscaled"),
        ({"name": ""}, "switch on MagicDNS"),
        ({"denied": True}, r"sudo tailscale set --operator=\$USER"),
        ({"consent": True}, r"is not served: .*login\.tailscale\.com/f/funnel\?node=n1"),
    ],
)
def test_a_refusal_says_what_to_do(
    tailscale: TailscaleStandIn, behaviour: dict[str, Any], complaint: str
) -> None:
    async def case() -> None:
        tailscale.behave(**behaviour)
        with pytest.raises(RemoteError, match=complaint):
            await Tailscale("funnel", 443, BOTH).open()
        assert tailscale.served == {}

    run(case(), DEADLINE_S)


def test_a_command_that_waits_for_a_person_is_ended_and_quoted(
    tailscale: TailscaleStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        program = tailscale.folder / "tailscale"
        waiting = "print('To enable, visit: https://login.example/f', flush=True)\n"
        program.write_text(
            f"{program.read_text().splitlines()[0]}\n{waiting}import signal; signal.pause()\n"
        )
        # Until it is long enough for interpreters to start, which depends on how busy all is.
        timeout_s, complaint = 0.25, "it said nothing"
        while "it said nothing" in complaint:
            timeout_s *= 2
            monkeypatch.setattr(tailscale_module, "COMMAND_TIMEOUT_S", timeout_s)
            with pytest.raises(RemoteError, match=f"not done within {timeout_s:g} s: ") as caught:
                await Tailscale("funnel", 443, BOTH).open()
            complaint = str(caught.value)
        assert "To enable, visit: https://login.example/f" in complaint

    run(case(), DEADLINE_S)


@pytest.mark.usefixtures("nothing_installed")
def test_without_tailscale_it_says_how_to_get_it() -> None:
    async def case() -> None:
        with pytest.raises(ServeError, match=r"https://tailscale\.com/download"):
            await Tailscale("funnel", 443, BOTH).open()

    run(case(), DEADLINE_S)


def test_an_answer_that_is_no_json_is_told(tailscale: TailscaleStandIn) -> None:
    async def case() -> None:
        program = tailscale.folder / "tailscale"
        program.write_text(f"{program.read_text().splitlines()[0]}\nprint('hello')\n")
        with pytest.raises(RemoteError, match="its answer is no JSON: hello"):
            await Tailscale("funnel", 443, BOTH).open()

    run(case(), DEADLINE_S)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("routes", "/voice/webhook is no longer served"),
        ("name", "this machine has another name now"),
        ("down", "run: sudo systemctl start tailscaled"),
    ],
)
def test_routes_that_are_gone_are_noticed(
    tailscale: TailscaleStandIn, change: str, complaint: str
) -> None:
    async def case() -> None:
        tunnel = Tailscale("funnel", 443, BOTH, check_interval_s=SOON_S)
        async with contextlib.aclosing(tunnel.reach()) as urls:
            await anext(urls)
            if change == "routes":
                tailscale.served = {}
            else:
                tailscale.behave(
                    **{"name": "other.ts.net"} if change == "name" else {"state": "down"}
                )
            with pytest.raises(RemoteError, match=complaint):
                await anext(urls)

    run(case(), DEADLINE_S)


def test_routes_that_cannot_be_taken_away_are_told(
    tailscale: TailscaleStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        async with contextlib.aclosing(Tailscale("funnel", 443, BOTH).reach()) as urls:
            await anext(urls)
            tailscale.behave(state="down")
        assert "voicecall expose --mode off" in caplog.text

    run(case(), DEADLINE_S)


def test_taking_away_says_what_was_and_what_was_not(tailscale: TailscaleStandIn) -> None:
    async def case() -> None:
        elsewhere = "http://127.0.0.1:9999"
        tailscale.served = served(_voice_webhook=WEBHOOK.target, _voice_stream=elsewhere)
        removal = await Tailscale("serve", 443, BOTH).remove()
        assert removal.removed == (WEBHOOK,)
        assert removal.kept == (Route("/voice/stream", elsewhere),)
        assert json.dumps(tailscale.handlers()) == json.dumps({"/voice/stream": elsewhere})

    run(case(), DEADLINE_S)
