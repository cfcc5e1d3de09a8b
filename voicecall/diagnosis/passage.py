"""Whether what carriers send to the public URL arrives here: webhooks, and media sockets."""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from voicecall.control.challenge import PARAMETER
from voicecall.diagnosis.check import fail, ok, skipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.host import Host
    from voicecall.diagnosis.network import Network

_MS_PER_S = 1000
_FIRST_REDIRECT, _LAST_REDIRECT = 300, 399
_GATEWAY: Final = frozenset(
    {
        HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT,
    }
)  # fmt: skip
# Beginnings of what Cloudflare adds to them.
_CLOUDFLARE: Final = range(520, 531)


@dataclass(frozen=True, slots=True)
class Doors:
    """Where a carrier knocks, and what stands behind.

    Attributes:
        webhook: public URL of the webhook.
        stream: public URL of media sockets, `http://` or `https://`.
        control: where the control plane is on this machine.
        media: where media sockets go on this machine.
    """

    webhook: str
    stream: str
    control: str
    media: str


def webhook_url(public_url: str, path: str) -> str:
    """The webhook's public URL; a public URL without a path stands for the path that is served."""
    return public_url.rstrip("/") + ("" if urlsplit(public_url).path.rstrip("/") else path)


def stream_url(public_url: str, path: str) -> str:
    """The public URL of media sockets."""
    parts = urlsplit(public_url)
    return f"{parts.scheme}://{parts.netloc}{path}"


async def look_at_identity(doors: Doors, host: Host, network: Network) -> Finding:
    """Whether the webhook's URL leads to this very server: it is asked what no other can answer.

    Raises:
        RemoteError: the server gives no question.
    """
    challenge = await host.challenge()
    began_s = time.monotonic()
    answer = await _ask(network, "GET", f"{doors.webhook}?{PARAMETER}={challenge.question}")
    if isinstance(answer, str):
        return _no_connection(doors.webhook, answer)
    if answer.status_code == HTTPStatus.OK and answer.text == challenge.answer:
        took_ms = (time.monotonic() - began_s) * _MS_PER_S
        return ok(f"{doors.webhook} leads to this server, {took_ms:.0f} ms there and back")
    refused = answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    if refused and answer.headers.get("allow") == "POST":
        return fail(
            f"{doors.webhook} leads to another voicecall server, or to one that was stopped since",
            f"have {urlsplit(doors.webhook).netloc} lead to {doors.control}, and nowhere else",
        )
    return _astray(doors.webhook, answer, doors.control)


async def look_at_webhook(doors: Doors, network: Network, *, verified: bool) -> Finding:
    """Whether a webhook arrives: without a signature it has to be refused, by us.

    Args:
        doors: where.
        network: the network.
        verified: whether webhooks have signatures that are looked at.
    """
    if not verified:
        return skipped("webhooks are not verified, so one would be taken for real")
    answer = await _ask(network, "POST", doors.webhook)
    if isinstance(answer, str):
        return _no_connection(doors.webhook, answer)
    if answer.status_code == HTTPStatus.UNAUTHORIZED and not _asks_for_password(answer):
        return ok("webhooks arrive, and those without a signature are refused")
    if answer.is_success:
        return fail(
            f"a webhook without a signature was accepted ({answer.status_code})",
            "remove skipSignatureVerification, and see who answers in place of the server: "
            f"curl -i -X POST {doors.webhook}",
        )
    return _astray(doors.webhook, answer, doors.control)


async def look_at_upgrade(doors: Doors, host: Host, network: Network) -> Finding:
    """Whether media sockets arrive: one with a token that nobody has must be refused, by us.

    The server itself is asked the same, as it is and without the headers of an upgrade, so that
    its own refusals are known from those of whatever stands in front of it.

    Raises:
        RemoteError: the server does not answer.
    """
    path = urlsplit(doors.stream).path
    token = secrets.token_hex(16)
    direct = f"{doors.media}{path}/{token}"
    refusal, stripped = await host.refusal(direct, _upgrade()), await host.refusal(direct, {})
    answer = await _ask(network, "GET", f"{doors.stream}/{token}", _upgrade())
    if isinstance(answer, str):
        return _no_connection(doors.stream, answer)
    told = (answer.status_code, answer.text)
    if told == refusal:
        return ok(f"{doors.stream.replace('http', 'ws', 1)} leads to the media plane")
    name, route = urlsplit(doors.stream).netloc, f"{doors.media}{path}"
    if told == stripped or answer.status_code == HTTPStatus.UPGRADE_REQUIRED:
        return fail(
            f"{name} takes the upgrade to a WebSocket out of requests",
            "have the proxy pass upgrades on; nginx: proxy_http_version 1.1; proxy_set_header "
            'Upgrade $http_upgrade; proxy_set_header Connection "upgrade";',
        )
    match answer.status_code:
        case HTTPStatus.SWITCHING_PROTOCOLS:
            return fail(
                "a media socket with a wrong token was accepted, so that is not this server",
                f"have {name}{path} lead to {route}",
            )
        case HTTPStatus.FORBIDDEN:
            return fail(
                f"{name} itself refuses media sockets (403)",
                f"let WebSockets to {path} through the proxy, its firewall or bot protection",
            )
        case HTTPStatus.NOT_FOUND | HTTPStatus.METHOD_NOT_ALLOWED:
            return fail(
                f"{path} is not found at {name} ({answer.status_code})",
                f"have the proxy lead {path} to {route}, upgrades included",
            )
    return _astray(doors.stream, answer, route)


async def _ask(
    network: Network, method: str, url: str, headers: Mapping[str, str] | None = None
) -> httpx.Response | str:
    """The answer, or why there is none."""
    try:
        async with network.client() as http:
            return await http.request(method, url, headers=headers)
    except httpx.TimeoutException:
        return f"no answer within {network.timeout_s:g} s"
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__


def _upgrade() -> Mapping[str, str]:
    """The headers of a request for a WebSocket. Source: RFC 6455, section 4.1."""
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode("ascii"),
    }


def _no_connection(url: str, why: str) -> Finding:
    parts = urlsplit(url)
    return fail(
        f"{parts.netloc} cannot be reached from here: {why}",
        "open the port in the firewall and forward it here. Routers may keep a machine from "
        f"reaching its own public address; then try from elsewhere: curl -i {url}",
    )


def _astray(url: str, answer: httpx.Response, route: str) -> Finding:
    """What an answer says that is none of ours."""
    parts, status = urlsplit(url), answer.status_code
    name, path = parts.netloc, parts.path
    if _FIRST_REDIRECT <= status <= _LAST_REDIRECT:
        target = answer.headers.get("location", "nowhere")
        return fail(
            f"{url} redirects to {target} ({status}), which carriers do not follow",
            "set publicUrl to where it leads in the end",
        )
    if status in _GATEWAY or status in _CLOUDFLARE:
        return fail(
            f"{name} answers, but does not get through to this server ({status})",
            f"have the proxy or tunnel lead to {route}, and see its error log",
        )
    if status == HTTPStatus.FORBIDDEN or _asks_for_password(answer):
        return fail(
            f"{name} lets nobody through to {path} ({status})",
            f"take {path} out of the proxy's password, firewall or bot protection: webhooks prove "
            "by their signatures where they come from",
        )
    if status == HTTPStatus.NOT_FOUND:
        return fail(
            f"{path} is not found at {name} (404)", f"have the proxy lead {path} to {route}"
        )
    return fail(
        f"{url} leads to something else, which answered with {status}",
        f"have {name} lead to {route}; see: curl -i {url}",
    )


def _asks_for_password(answer: httpx.Response) -> bool:
    return "www-authenticate" in answer.headers
