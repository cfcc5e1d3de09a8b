"""A raw HTTP request to the control plane, twice, and what may be concluded from its headers.

The first two characters choose how requests are believed and who sends it; the rest is the request.
Without a signature it meets the server as composed with the mock carrier, with one it meets a
carrier whose signature is the word in `x-signature`.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from tests.control.fakes import FakeCalls, services
from tests.fuzz import watch
from tests.fuzz.asgi import Answer, Request, ask, request_of
from tests.fuzz.composed import serving
from tests.fuzz.target import Target
from voicecall.call.events import CallAnswered
from voicecall.call.record import CallRecord, Direction
from voicecall.carriers._proxies import TrustedProxies
from voicecall.carriers._public_url import ForwardingPolicy
from voicecall.carriers.mock.webhook import MockWebhook
from voicecall.clock import ManualClock
from voicecall.config.schema import WEBHOOK_PATH
from voicecall.control.app import create_app
from voicecall.control.services import WebhookSettings
from voicecall.control.webhooks import MAX_BODY_OCTETS
from voicecall.errors import VerificationError
from voicecall.ports import VerifiedRequest, WebhookAnswer, WebhookRequest
from voicecall.server import Server

PEERS = ("127.0.0.1", "203.0.113.7", "10.1.2.3", "::1", "::ffff:10.1.2.3", "fe80::1%eth0", "")
FORWARDED = (b"x-forwarded-host", b"x-original-host", b"ngrok-forwarded-host")
SIGNATURE = "good"
PATHS = (WEBHOOK_PATH, f"{WEBHOOK_PATH}/")
# A call that goes on already.
ANSWERED = CallAnswered(
    id="e-0",
    dedupe_key="e-0",
    timestamp=1,
    provider_call_id="p-0",
    direction=Direction.OUTBOUND,
    from_number="+15550003333",
    to_number="+15550004444",
)
# A host with an optional port: nothing that ends the authority of a URL or begins another part.
AUTHORITY = re.compile(r"[A-Za-z0-9._:\[\]-]+")


@dataclass(frozen=True, slots=True)
class Belief:
    """One way to believe requests, in the words of the configuration."""

    public_url: str | None = None
    hosts: tuple[str, ...] = ()
    trust: bool = False
    proxies: tuple[str, ...] = ()
    bypass: bool = False
    more: dict[str, Any] = field(default_factory=dict)

    def believes(self, peer: str) -> bool:
        """Whether the peer's forwarding headers count."""
        if self.bypass and peer in {"127.0.0.1", "::1"}:
            return True
        return (self.trust or bool(self.hosts)) and (not self.proxies or self.relays(peer))

    def relays(self, address: str) -> bool:
        """Whether `address` is one of the trusted proxies."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        return any(parsed in ipaddress.ip_network(each) for each in self.proxies)

    def settings(self) -> dict[str, Any]:
        """The same as configuration."""
        return {
            "publicUrl": self.public_url,
            "webhookSecurity": {
                "allowedHosts": list(self.hosts),
                "trustForwardingHeaders": self.trust,
                "trustedProxyIPs": list(self.proxies),
            },
        } | self.more

    def policy(self) -> ForwardingPolicy:
        return ForwardingPolicy(
            self.public_url, frozenset(self.hosts), self.trust, TrustedProxies(self.proxies)
        )


BELIEFS = (
    Belief(),
    Belief(trust=True, proxies=("10.0.0.0/8", "::1/128"), more={"maxConcurrentCalls": 2}),
    Belief(
        "https://calls.example.com:8443/hook",
        more={"inboundPolicy": "allowlist", "allowFrom": ["+15550002222"]},
    ),
    Belief(hosts=("calls.example.com", "[2001:db8::1]", "other.example.com")),
    Belief(bypass=True),
)


class Signed(MockWebhook):
    """The mock's events under a signature; remembers the URLs it was asked to believe."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.urls: list[str] = []

    @property
    def signature_headers(self) -> Sequence[str]:
        return ("x-signature",)

    def verify(self, request: WebhookRequest) -> VerifiedRequest:
        self.urls.append(request.url)
        if request.headers["x-signature"] != SIGNATURE:
            raise VerificationError("the signature does not match")
        return VerifiedRequest(request, request.url + request.body.decode("latin-1"))

    def answer(self, verified: VerifiedRequest, record: CallRecord | None) -> WebhookAnswer:
        del verified
        return WebhookAnswer(body=b"" if record is None else record.call_id.encode())


def check(data: bytes) -> None:
    belief, peer = (octet - ord("0") for octet in (data[:2] + b"00")[:2])
    check_request(BELIEFS[belief % len(BELIEFS)], request_of(data[2:], PEERS[peer % len(PEERS)]))


def check_request(belief: Belief, request: Request) -> None:
    check_client(belief, request)
    if request.header(b"x-signature") is None:
        watch.run(lambda: check_composed(belief, request))
    else:
        watch.run(lambda: check_signed(belief, request))


def check_client(belief: Belief, request: Request) -> None:
    """The client is the nearest one that no trusted proxy vouches for."""
    hops = [each.strip() for each in (request.header(b"x-forwarded-for") or "").split(",")]
    found = TrustedProxies(belief.proxies).client(request.peer, ",".join(hops))
    if not belief.relays(request.peer):
        assert found == request.peer
        return
    assert found == request.peer or str(ipaddress.ip_address(found)) == found
    while hops and belief.relays(hops[-1]):
        hops.pop()
    assert belief.relays(found) or same_address(found, hops[-1])


def same_address(one: str, other: str) -> bool:
    first, second = (ipaddress.ip_address(each) for each in (one, other))
    mapped = second.ipv4_mapped if isinstance(second, ipaddress.IPv6Address) else None
    return first == (mapped or second)


async def check_composed(belief: Belief, request: Request) -> None:
    """An event changes something once or not at all, and nothing else happens."""
    async with serving(**belief.settings()) as (server, app):
        await server.manager.apply(ANSWERED)
        before = calls_of(server)
        first = await ask(app, request)
        check_answer(request, first)
        after = calls_of(server)
        if first.status != 200:
            assert after == before, "refused, and yet something has changed"
        second = await ask(app, request)
        check_answer(request, second)
        assert second.status == first.status
        if has_key(request.body):
            assert calls_of(server) == after, "a repeat has changed something"


def calls_of(server: Server) -> list[dict[str, Any]]:
    return [record.to_json() for record in server.manager.live()]


def has_key(body: bytes) -> bool:
    """Whether the body is one event that says which fact it is."""
    try:
        event = orjson.loads(body)["event"]
        return isinstance(event.get("dedupeKey", event.get("id")), str)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return False


async def check_signed(belief: Belief, request: Request) -> None:
    """Nothing is done without the signature, and nothing twice."""
    webhook, calls = Signed(), FakeCalls()
    settings = WebhookSettings(forwarding=belief.policy(), ngrok_bypass=belief.bypass)
    app = create_app(services(calls, webhook=webhook, webhooks=settings))
    first = await ask(app, request)
    check_answer(request, first)
    applied = len(calls.applied)
    bypassed = belief.bypass and request.peer in {"127.0.0.1", "::1"}
    proven = request.header(b"x-signature") == SIGNATURE
    if not arrives(request) or not (proven or bypassed):
        assert not applied
    if arrives(request) and not (proven or bypassed):
        assert first.status == 401
    for url in webhook.urls:
        check_url(belief, request, url)
    second = await ask(app, request)
    if proven:
        assert (second.status, second.body) == (first.status, first.body)
        assert len(calls.applied) == applied, "a replay had an effect"


def arrives(request: Request) -> bool:
    return request.path in PATHS and request.method == "POST" and not too_long(request)


def too_long(request: Request) -> bool:
    declared = request.header(b"content-length") or ""
    return declared.isdecimal() and declared.isascii() and int(declared[:9]) > MAX_BODY_OCTETS


def check_answer(request: Request, answer: Answer) -> None:
    """The status is one that the request deserves; no answer shows our inside."""
    assert b"Traceback" not in answer.body
    if request.path in PATHS:
        if request.method != "POST":
            assert answer.status == 405
        elif too_long(request):
            assert answer.status in {401, 413}
        else:
            assert answer.status in {200, 400, 401}
    else:
        expected = {200, 204, 401, 404, 405, 413}
        # It never was told to start.
        assert answer.status in expected | ({503} if request.path == "/readyz" else set())


def check_url(belief: Belief, request: Request, url: str) -> None:
    """The URL that is believed to be signed names a host that somebody entitled to has named."""
    suffix = request.raw_path.decode("latin-1")
    if request.query:
        suffix += "?" + request.query.decode("latin-1")
    if belief.public_url is not None:
        assert url.startswith(belief.public_url)
        return
    scheme, separator, rest = url.partition("://")
    assert separator
    assert rest.endswith(suffix)
    authority = rest.removesuffix(suffix)
    assert AUTHORITY.fullmatch(authority)
    parts = urlsplit(f"//{authority}")
    assert parts.hostname
    assert parts.port is None or parts.port <= 65535
    if authority == request.header(b"host") and scheme == "https":
        return
    assert belief.believes(request.peer), "a stranger's forwarding headers count"
    assert scheme in {"http", "https"}
    named = [request.header(name) or "" for name in FORWARDED]
    assert authority in [value.partition(",")[0].strip() for value in named]
    allowed = {host.lower() for host in belief.hosts}
    host = authority if authority.endswith("]") else authority.rpartition(":")[0] or authority
    assert not allowed or {authority.lower(), host.lower().rstrip(".")} & allowed


def post(*headers: str, body: bytes = b'{"event":{"type":"call.ringing","callId":"p-0"}}') -> bytes:
    head = "\r\n".join((f"POST {WEBHOOK_PATH}?a=1 HTTP/1.1", *headers))
    return head.encode() + b"\r\n\r\n" + body


def seeds() -> Sequence[bytes]:
    return [
        f"{belief}{peer}".encode() + post("Host: calls.example.com", *signature)
        for belief in range(len(BELIEFS))
        for peer in (0, 1, 2)
        for signature in ((), ("x-signature: good",), ("x-signature: bad",))
    ]


TOKENS = (
    *(name + b": calls.example.com\r\n" for name in FORWARDED),
    b"x-forwarded-host: evil.example.com:1\r\n",
    b"x-forwarded-proto: http\r\n",
    b"x-forwarded-for: 10.0.0.1, 198.51.100.2\r\n",
    b"host: user@example.com\r\n",
    b"host: [::1]:99999\r\n",
    b"content-length: 65537\r\n",
    b"content-length: \xb2\r\n",
    b"x-signature: good\r\n",
    b'"type":"call.initiated",',
    b'"type":"call.answered",',
    b'"type":"call.ended","reason":"completed",',
    b'"type":"call.dtmf","digits":"1",',
    b'"type":"call.speech","transcript":"hello","isFinal":true,"confidence":1,',
    b'"direction":"inbound","providerCallId":"p-1","from":"+15550002222",',
    b'"id":"e-1",',
    b'"callId":"p-0",',
    b'"timestamp":9223372036854775807,',
    b'"events":[',
    b"\\ud800",
    b"\\u0000",
    b"null",
    b"1e999",
    b"[" * 40,
)
TARGET = Target(check=check, allowed=(), seeds=seeds, tokens=TOKENS, guided=True)
