"""What Tailscale serves, and what of that is in our way."""

from __future__ import annotations

from typing import Any

import pytest

from voicecall.exposure.published import Door, Published, Route

pytestmark = pytest.mark.unit

HOST = "box.tail1.ts.net"
FUNNEL = Door("funnel", HOST, 443)
SERVE = Door("serve", HOST, 443)
WEBHOOK = Route("/voice/webhook", "http://127.0.0.1:3334/voice/webhook")


def status(handlers: dict[str, str], *, public: bool = False) -> dict[str, Any]:
    """As `tailscale serve status --json` says it."""
    paths = {path: {"Proxy": target} for path, target in handlers.items()}
    served: dict[str, Any] = {
        "TCP": {"443": {"HTTPS": True}},
        "Web": {f"{HOST}:443": {"Handlers": paths}},
    }
    return {**served, "AllowFunnel": {f"{HOST}:443": True}} if public else served


OURS = {"/voice/webhook": WEBHOOK.target}


@pytest.mark.parametrize("nothing", [None, {}, [], {"Web": None}, {"Web": {f"{HOST}:443": None}}])
def test_where_nothing_is_served_nothing_is_in_the_way(nothing: object) -> None:
    published = Published(nothing)
    assert published.obstacle(FUNNEL, [WEBHOOK]) is None
    assert not published.has(FUNNEL, WEBHOOK)
    assert published.target(FUNNEL, WEBHOOK.path) is None


def test_a_route_is_there_only_for_those_it_is_meant_for() -> None:
    within, outside = Published(status(OURS)), Published(status(OURS, public=True))
    assert within.has(SERVE, WEBHOOK)
    assert not within.has(FUNNEL, WEBHOOK)
    assert outside.has(FUNNEL, WEBHOOK)
    assert not outside.has(SERVE, WEBHOOK)
    assert within.leads_to(FUNNEL, WEBHOOK)
    assert not within.has(Door("serve", HOST, 8443), WEBHOOK)


def test_our_own_route_is_not_in_the_way_of_the_other_mode() -> None:
    assert Published(status(OURS)).obstacle(FUNNEL, [WEBHOOK]) is None
    assert Published(status(OURS, public=True)).obstacle(SERVE, [WEBHOOK]) is None


def test_a_path_that_leads_elsewhere_is_not_taken_over() -> None:
    published = Published(status({"/voice/webhook": "http://127.0.0.1:9999/"}))
    obstacle = published.obstacle(SERVE, [WEBHOOK]) or ""
    assert "leads to http://127.0.0.1:9999 already" in obstacle
    assert "tailscale serve --https=443 --set-path=/voice/webhook off" in obstacle
    files = {"Web": {f"{HOST}:443": {"Handlers": {"/voice/webhook": {"Path": "/srv/files"}}}}}
    assert "leads to /srv/files" in (Published(files).obstacle(SERVE, [WEBHOOK]) or "")


def test_what_others_serve_is_neither_opened_to_the_world_nor_closed() -> None:
    notes = {"/notes": "http://127.0.0.1:8000"}
    obstacle = Published(status(notes)).obstacle(FUNNEL, [WEBHOOK]) or ""
    assert "also serves /notes, which would be open to the whole internet too" in obstacle
    obstacle = Published(status(notes, public=True)).obstacle(SERVE, [WEBHOOK]) or ""
    assert "also serves /notes, which would no longer be reached" in obstacle
    assert Published(status(notes)).obstacle(SERVE, [WEBHOOK]) is None
    assert Published(status(notes, public=True)).obstacle(FUNNEL, [WEBHOOK]) is None
    assert Published(status(notes)).obstacle(Door("funnel", HOST, 8443), [WEBHOOK]) is None


def test_a_port_that_something_else_holds_is_told() -> None:
    forwarding = {"TCP": {"443": {"TCPForward": "127.0.0.1:22"}}}
    assert "other than HTTPS" in (Published(forwarding).obstacle(SERVE, [WEBHOOK]) or "")
    terminal = {"Foreground": {"s1": {"TCP": {"443": {"HTTPS": True}}}}}
    assert "in a terminal" in (Published(terminal).obstacle(SERVE, [WEBHOOK]) or "")
    assert Published(terminal).obstacle(Door("serve", HOST, 8443), [WEBHOOK]) is None


def test_the_usual_port_is_not_in_the_url() -> None:
    assert SERVE.url == f"https://{HOST}"
    assert Door("serve", HOST, 8443).url == f"https://{HOST}:8443"
