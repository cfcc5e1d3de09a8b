"""What the configuration wants, in whichever of its two spellings."""

from __future__ import annotations

from typing import Any

import pytest

from voicecall.config.schema import Config
from voicecall.errors import ConfigError
from voicecall.exposure import plan
from voicecall.exposure.ngrok import Ngrok
from voicecall.exposure.published import Route
from voicecall.exposure.tailscale import Tailscale

pytestmark = pytest.mark.unit

LOCAL = plan.Local("http://127.0.0.1:3334", "http://127.0.0.1:3335")


def config(**settings: Any) -> Config:
    return Config.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "way"),
    [
        ({}, None),
        ({"tunnel": {"provider": "ngrok"}}, "ngrok"),
        ({"tunnel": {"provider": "tailscale-serve"}}, "tailscale-serve"),
        ({"tailscale": {"mode": "serve"}}, "tailscale-serve"),
        ({"tailscale": {"mode": "funnel"}}, "tailscale-funnel"),
        (
            {"tunnel": {"provider": "tailscale-funnel"}, "tailscale": {"mode": "funnel"}},
            "tailscale-funnel",
        ),
        ({"publicUrl": "https://a.example.com", "tunnel": {"provider": "ngrok"}}, None),
        (
            {
                "publicUrl": "https://a.example.com",
                "tunnel": {"provider": "ngrok"},
                "tailscale": {"mode": "funnel"},
            },
            None,
        ),
    ],
)
def test_both_spellings_mean_one_thing(settings: dict[str, Any], way: str | None) -> None:
    assert plan.way(config(**settings)) == way
    assert plan.is_wanted(config(**settings)) == (settings != {})


@pytest.mark.parametrize(
    ("tunnel", "mode"),
    [("ngrok", "funnel"), ("tailscale-serve", "funnel"), ("tailscale-funnel", "serve")],
)
def test_two_ways_at_once_are_refused(tunnel: str, mode: str) -> None:
    with pytest.raises(ConfigError, match=rf'"{tunnel}" while tailscale\.mode is "{mode}"'):
        plan.way(config(tunnel={"provider": tunnel}, tailscale={"mode": mode}))


def test_all_that_tailscale_cannot_do_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        plan.way(config(tailscale={"mode": "funnel", "port": 3000, "path": "/"}))
    first, second = caught.value.problems
    assert first == "tailscale.port: is 3000; funnel only works on 443, 8443, 10000"
    assert second.startswith("tailscale.path: is /")
    with pytest.raises(ConfigError, match=r"tailscale\.path: must not be .*streamPath"):
        plan.way(config(tailscale={"mode": "serve", "path": "/voice/stream"}))
    assert plan.way(config(tailscale={"mode": "serve", "port": 3000})) == "tailscale-serve"


def test_webhook_and_media_have_a_route_each() -> None:
    assert plan.routes(config(), LOCAL, "/calls") == [
        Route("/calls", "http://127.0.0.1:3334/voice/webhook"),
        Route("/voice/stream", "http://127.0.0.1:3335/voice/stream"),
    ]


def test_media_without_a_port_of_their_own_come_to_the_control_plane() -> None:
    routes = plan.routes(config(), plan.Local("https://127.0.0.1:3334"), "/calls")
    assert [route.target for route in routes] == [
        "https+insecure://127.0.0.1:3334/voice/webhook",
        "https+insecure://127.0.0.1:3334/voice/stream",
    ]


def test_media_that_come_to_the_control_plane_are_behind_the_webhooks_prefix() -> None:
    alone, shared = LOCAL, plan.Local("http://127.0.0.1:3334")
    for path, local, stream_path in (
        ("/clinic/voice/webhook", shared, "/clinic/voice/stream"),
        ("/clinic/voice/webhook", alone, "/voice/stream"),
        ("/calls", shared, "/voice/stream"),
    ):
        _, stream = plan.routes(config(), local, path)
        assert stream.path == stream_path


@pytest.mark.parametrize(
    ("path", "served", "before"),
    [
        ("/voice/webhook", "/voice/webhook", ""),
        ("/clinic/voice/webhook/", "/voice/webhook", "/clinic"),
        ("/clinic/voice/webhook", "/", "/clinic/voice/webhook"),
        ("/calls", "/voice/webhook", ""),
        ("", "/voice/webhook", ""),
    ],
)
def test_what_stands_before_the_served_path_is_its_prefix(
    path: str, served: str, before: str
) -> None:
    assert plan.prefix(path, served) == before


@pytest.mark.parametrize(
    "streaming", [{"enabled": False}, {"publicUrl": "https://media.example.com"}]
)
def test_media_that_come_another_way_have_no_route(streaming: dict[str, Any]) -> None:
    (webhook,) = plan.routes(config(streaming=streaming), LOCAL, "/voice/webhook")
    assert webhook.path == "/voice/webhook"


def test_the_public_path_is_the_one_here_unless_it_is_said() -> None:
    assert plan.mount(config()) == "/voice/webhook"
    assert plan.mount(config(serve={"path": "/hooks"})) == "/hooks"
    assert plan.mount(config(serve={"path": "/hooks"}, tailscale={"path": "/calls"})) == "/calls"


def test_the_tunnel_is_the_one_that_was_chosen() -> None:
    assert isinstance(plan.tunnel(config(), "ngrok", LOCAL), Ngrok)
    tunnel = plan.tunnel(config(), "tailscale-funnel", LOCAL)
    assert isinstance(tunnel, Tailscale)
    assert tunnel.name == "tailscale funnel"
