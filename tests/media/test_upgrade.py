from __future__ import annotations

import base64
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voicecall.media.upgrade import HEADERS_MAX, UpgradeError, UpgradeRequest, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = pytest.mark.unit

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    "Host": "localhost:8080",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def head(
    *lines: str,
    start: str = "GET /voice/stream HTTP/1.1",
    changed: Mapping[str, str | None] = MappingProxyType({}),
) -> bytes:
    """A request that is good but for the headers changed, taken out by None, and further lines."""
    headers = {**GOOD, **changed}
    named = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([start, *named, *lines, "", ""]).encode("latin-1")


def status_of(request: bytes) -> int:
    """What a request is refused with; 101 when it is not."""
    try:
        UpgradeRequest.parse(request)
    except UpgradeError as error:
        return error.status
    return 101


def test_the_example_of_rfc_6455_is_accepted_with_its_key() -> None:
    request = UpgradeRequest.parse(
        b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    assert request.target == "/chat"
    status, *headers = request.accept().decode().split("\r\n")
    assert status == "HTTP/1.1 101 Switching Protocols"
    # Neither of the protocols is spoken, so that none is named.
    assert headers == [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "",
        "",
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "keep-alive,UPGRADE ,\tfoo"},
        {"Connection": "upgrade"},
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c, WEBSOCKET"},
        {"Upgrade": "\t websocket \t"},
        {"Host": None},
        {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        {"X-Empty": ""},
        {"X-Odd": "caf\u00e9 : , ;"},
    ],
)
def test_headers_are_read_as_http_says(changed: dict[str, str | None]) -> None:
    assert status_of(head(changed=changed)) == 101


@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
def test_names_of_headers_have_no_case(spelled: Callable[[str], str]) -> None:
    lines = [f"{spelled(name)}:{value}" for name, value in GOOD.items()]
    whole = "\r\n".join(["GET / HTTP/1.1", *lines, "", ""])
    request = UpgradeRequest.parse(whole.encode())
    assert request.headers == {name.lower(): value for name, value in GOOD.items()}


def test_a_header_that_comes_twice_is_a_list() -> None:
    request = UpgradeRequest.parse(
        head("X-Forwarded-For: 192.0.2.1", "x-forwarded-for:198.51.100.9 ")
    )
    assert request.headers["x-forwarded-for"] == "192.0.2.1,198.51.100.9"
    twice = head(
        "Connection: Upgrade",
        "Upgrade: websocket",
        changed={"Upgrade": "h2c", "Connection": "close"},
    )
    assert status_of(twice) == 101


@pytest.mark.parametrize(
    ("twice", "status"),
    [(f"Sec-WebSocket-Key: {KEY}", 400), ("Sec-WebSocket-Version: 13", 426)],
)
def test_a_key_or_a_version_may_come_only_once(twice: str, status: int) -> None:
    assert status_of(head(twice)) == status


@pytest.mark.parametrize(
    "target",
    ["/", "/voice/stream/abc?x=1&y=/z", "/voice/%73tream", "//", "/caf\u00e9", "/a?GET / HTTP/1.1"],
)
def test_the_target_is_given_as_it_was_sent(target: str) -> None:
    if " " in target:
        assert status_of(head(start=f"GET {target} HTTP/1.1")) == 400
    else:
        assert UpgradeRequest.parse(head(start=f"GET {target} HTTP/1.1")).target == target


@pytest.mark.parametrize(
    ("start", "status"),
    [
        ("GET / HTTP/1.0", 400),
        ("GET / HTTP/2", 400),
        ("GET / http/1.1", 400),
        ("GET /", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        (" GET / HTTP/1.1", 400),
        ("GET stream HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET http://localhost/ HTTP/1.1", 400),
        ("", 400),
        ("GET", 400),
        ("POST / HTTP/1.1", 405),
        ("get / HTTP/1.1", 405),
        ("OPTIONS / HTTP/1.1", 405),
    ],
)
def test_what_is_no_get_request_of_http_1_1_is_refused(start: str, status: int) -> None:
    assert status_of(head(start=start)) == status


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Upgrade": None}, 426),
        ({"Upgrade": "websockets"}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": None}, 400),
        ({"Connection": "keep-alive"}, 400),
        ({"Connection": "upgraded"}, 400),
        ({"Sec-WebSocket-Version": None}, 426),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Version": "13, 8"}, 426),
        ({"Sec-WebSocket-Version": "013"}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Sec-WebSocket-Key": "x"}, 400),
        ({"Sec-WebSocket-Key": KEY[:-1]}, 400),
        ({"Sec-WebSocket-Key": f"{KEY}AAAA"}, 400),
        ({"Sec-WebSocket-Key": f"{KEY[:4]} {KEY[4:]}"}, 400),
        ({"Sec-WebSocket-Key": base64.b64encode(bytes(15)).decode()}, 400),
        ({"Sec-WebSocket-Key": base64.b64encode(bytes(17)).decode()}, 400),
        ({"Sec-WebSocket-Key": "\u00e9" * 24}, 400),
        ({"Sec-WebSocket-Key": "_" * 22 + "=="}, 400),
    ],
)
def test_what_asks_for_no_websocket_is_refused(changed: dict[str, str | None], status: int) -> None:
    assert status_of(head(changed=changed)) == status


@pytest.mark.parametrize(
    "line",
    [
        "no colon",
        ": no name",
        " Folded: line",
        "\tfolded",
        "Space-Before : colon",
        "Tab-Before\t: colon",
        "In Between: x",
        "X-Caf\u00e9: x",
        "X: a\nY: b",
        "X: a\rY: b",
        "X: a\0b",
        "X\n: b",
    ],
)
def test_a_malformed_header_is_refused(line: str) -> None:
    assert status_of(head(line)) == 400


def test_the_last_header_may_not_go_on_in_the_next_line() -> None:
    assert status_of(head("X-Long: a", " b")) == 400


def test_64_headers_are_read_and_65_are_too_many() -> None:
    most = [f"X-{i}: x" for i in range(HEADERS_MAX - len(GOOD))]
    assert status_of(head(*most)) == 101
    assert status_of(head(*most, "X-One-More: x")) == 431


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_head_that_was_cut_off_is_too_long(cut: int) -> None:
    assert status_of(head()[:-cut]) == 431


@pytest.mark.parametrize("status", [400, 403, 404, 405, 426, 431, 503])
def test_a_refusal_is_a_whole_response(status: int) -> None:
    phrase = HTTPStatus(status).phrase
    lines, _, body = refusal(HTTPStatus(status)).decode().partition("\r\n\r\n")
    first, *headers = lines.split("\r\n")
    assert first == f"HTTP/1.1 {status} {phrase}"
    assert body == phrase
    named = dict(header.split(": ") for header in headers)
    assert named["Content-Length"] == str(len(body))
    assert named["Connection"] == "close"
    assert len(named) == len(headers)
    # RFC 9110, sections 15.5.6 and 15.5.22; RFC 6455, section 4.4.
    assert named.get("Allow") == ("GET" if status == 405 else None)
    assert named.get("Upgrade") == ("websocket" if status == 426 else None)
    assert named.get("Sec-WebSocket-Version") == ("13" if status == 426 else None)


PIECES = st.one_of(
    st.sampled_from([b"\r\n", b"\r", b"\n", b":", b",", b" ", b"\r\n\r\n", b"GET / HTTP/1.1\r\n"]),
    st.sampled_from([f"{name}: {value}\r\n".encode() for name, value in GOOD.items()]),
    st.binary(max_size=20),
)


@given(st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=12).map(b"".join)))
@example(b"")
@example(b"\r\n\r\n")
@example(b"GET / HTTP/1.1\r\n\r\n")
def test_whatever_comes_is_a_request_or_an_upgrade_error(octets: bytes) -> None:
    for request in (octets, octets + b"\r\n\r\n", b"GET / HTTP/1.1\r\n" + octets + b"\r\n\r\n"):
        status = status_of(request)
        if status == 101:
            assert UpgradeRequest.parse(request).accept().endswith(b"=\r\n\r\n")
        else:
            assert refusal(HTTPStatus(status))


@given(st.binary(min_size=16, max_size=16))
def test_every_nonce_of_16_octets_is_a_good_key(nonce: bytes) -> None:
    assert status_of(head(changed={"Sec-WebSocket-Key": base64.b64encode(nonce).decode()})) == 101
