from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from twilio.request_validator import RequestValidator

from tests.media.plane import LISTENERS, Plane, closing, dial, plane, refused_with, run, until
from tests.media.wire import media, said, start
from voicecall.carriers.plivo.stream import PlivoDialect
from voicecall.carriers.telnyx.stream import TelnyxDialect
from voicecall.carriers.twilio.signature import SignatureVerifier
from voicecall.clock import ManualClock, SystemClock
from voicecall.errors import ServeError
from voicecall.media import asgi
from voicecall.media.leg import COMPLAINTS_LOGGED
from voicecall.metrics import Reading

if TYPE_CHECKING:
    from voicecall.carriers._stream import Dialect

pytestmark = [pytest.mark.socket, pytest.mark.parametrize("listener", LISTENERS)]

SILENCE = b"\xff" * 160


def test_a_socket_over_max_connections_gets_503_until_another_leaves(listener: str) -> None:
    async def case() -> None:
        async with plane(listener, max_connections=2) as tested:
            async with dial(tested.url), dial(tested.call()[1]):
                assert await refused_with(tested.url) == 503
                assert await refused_with(tested.call()[1]) == 503
            await until(lambda: tested.server.admission.open == 0)
            assert await refused_with(tested.url) == 101
            assert tested.server.refusals == {"max_connections": 2}

    run(case())


def test_a_wrong_token_in_the_path_gets_403(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            assert await refused_with(f"{tested.url}/{'0' * 32}") == 403
            assert tested.server.admission.open == 0
            assert tested.server.refusals == {"token": 1}

    run(case())


def test_a_token_that_was_not_used_in_time_gets_403(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            clock = ManualClock()
            tested.tokens._clock = clock
            _, url = tested.call()
            clock.advance_ms(30_001)
            assert await refused_with(url) == 403

    run(case())


def test_a_used_token_is_good_for_reconnects_until_the_call_is_over(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            clock = ManualClock()
            tested.tokens._clock = clock
            call, url = tested.call()
            async with dial(url) as connection:
                await connection.send(start())
                await call.opened.wait()
            clock.advance_ms(600_000)
            assert await refused_with(url) == 101
            tested.tokens.revoke("call-1")
            assert await refused_with(url) == 403

    run(case())


@pytest.mark.parametrize("path", ["/", "/voice", "/voice/streams", "/voice/stream/a/b", "/x/y"])
def test_another_path_gets_404(listener: str, path: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            assert await refused_with(tested.base + path) == 404
            assert tested.server.admission.open == 0

    run(case())


def test_a_draining_server_gives_503_and_keeps_what_is_open(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            call, url = tested.call()
            async with dial(url) as connection:
                tested.server.drain()
                assert await refused_with(url) == 503
                assert await refused_with(tested.url) == 503
                await connection.send(start())
                await call.opened.wait()
            assert tested.server.refusals == {"draining": 2}

    run(case())


def test_a_request_that_is_no_websocket_upgrade_takes_no_place(listener: str) -> None:
    async def case() -> None:
        async with plane(listener, max_connections=1) as tested:
            _, url = tested.call()
            for path in ("/voice/stream", url.removeprefix(tested.base)):
                status = await _plain_request(tested, path)
                assert status in (b"426", b"404")
            await until(lambda: tested.server.admission.open == 0)
            assert await refused_with(url) == 101

    run(case())


async def _plain_request(tested: Plane, path: str) -> bytes:
    port = int(tested.base.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status = (await reader.readline()).split()[1]
    writer.close()
    await writer.wait_closed()
    return status


def test_too_many_sockets_without_a_token_are_closed_1013(listener: str) -> None:
    async def case() -> None:
        async with plane(listener, max_pending_connections=2) as tested:
            async with dial(tested.url), dial(tested.url):
                await until(lambda: tested.server.admission.pending == 2)
                async with dial(tested.url) as third:
                    code, _ = await closing(third)
                    assert code == 1013
                assert tested.server.admission.pending == 2
            await until(lambda: tested.server.admission.pending == 0)
            assert tested.server.refusals == {"max_pending": 1}

    run(case())


def test_too_many_sockets_without_a_token_from_one_address_are_closed_1013(listener: str) -> None:
    async def case() -> None:
        async with (
            plane(listener, max_pending_connections_per_ip=1) as tested,
            dial(tested.url),
            dial(tested.url) as second,
        ):
            assert (await closing(second))[0] == 1013

    run(case())


def test_a_refused_socket_cannot_start_a_call_any_more(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            call, url = tested.call()
            async with dial(url) as connection:
                for message in (start("CA-unknown"), start(), start()):
                    await connection.send(message)
                assert (await closing(connection))[0] == 1008
            await until(lambda: tested.server.admission.open == 0)
            assert not call.opened.is_set()

    run(case())


def test_the_count_by_address_sees_through_trusted_proxies_only(listener: str) -> None:
    def through(client: str) -> list[tuple[str, str]]:
        return [("X-Forwarded-For", "198.51.100.9"), ("X-Forwarded-For", client)]

    async def case(proxies: tuple[str, ...], *, second_is_let_in: bool) -> None:
        async with (
            plane(listener, max_pending_connections_per_ip=1, trusted_proxies=proxies) as tested,
            dial(tested.url, additional_headers=through("192.0.2.1")),
            dial(tested.url, additional_headers=through("192.0.2.2")) as second,
            dial(tested.url, additional_headers=through("192.0.2.1")) as third,
        ):
            assert (await closing(third))[0] == 1013
            counted = tested.server.admission.pending
            assert counted == (2 if second_is_let_in else 1)
            if not second_is_let_in:
                assert (await closing(second))[0] == 1013

    run(case(("127.0.0.0/8",), second_is_let_in=True))
    run(case((), second_is_let_in=False))


@pytest.mark.parametrize("with_token", [False, True])
def test_a_socket_that_does_not_start_in_time_is_closed_1008(
    listener: str, with_token: bool
) -> None:
    async def case() -> None:
        async with plane(listener, pre_start_timeout_ms=60) as tested:
            async with dial(tested.call()[1] if with_token else tested.url) as connection:
                await connection.send(said("connected"))
                assert await closing(connection) == (1008, "Start timeout")
            await until(lambda: tested.server.admission.open == 0)
            assert tested.server.refusals == {"start_timeout": 1}

    run(case())


def test_a_start_without_a_call_id_is_closed_1008(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested, dial(tested.call()[1]) as connection:
            await connection.send(start(None))
            assert (await closing(connection))[0] == 1008
            assert tested.server.refusals == {"no_call": 1}

    run(case())


def test_a_start_that_names_a_call_nobody_knows_is_closed_1008(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested, dial(tested.call()[1]) as connection:
            await connection.send(start("CA-unknown"))
            assert (await closing(connection))[0] == 1008
            assert tested.server.refusals == {"unknown_call": 1}

    run(case())


def test_a_start_that_names_the_call_of_another_token_is_closed_1008(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            first, first_url = tested.call("call-1", "CA1")
            second, second_url = tested.call("call-2", "CA2")
            async with dial(first_url) as connection:
                await connection.send(start("CA2"))
                assert (await closing(connection))[0] == 1008
            async with dial(first_url) as connection:
                await connection.send(start("CA1", token=second_url.rpartition("/")[2]))
                assert (await closing(connection))[0] == 1008
            assert not first.opened.is_set()
            assert not second.opened.is_set()

    run(case())


@pytest.mark.parametrize("token", [None, "", "0" * 32])
def test_a_start_without_a_good_token_anywhere_is_closed_1008(
    listener: str, token: str | None
) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            call, _ = tested.call()
            async with dial(tested.url) as connection:
                await connection.send(start() if token is None else start(token=token))
                assert (await closing(connection))[0] == 1008
            await until(lambda: tested.server.admission.pending == 0)
            assert tested.server.refusals == {"token": 1}
            assert not call.opened.is_set()

    run(case())


def test_a_token_in_the_start_is_as_good_as_one_in_the_path(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            call, url = tested.call()
            async with dial(tested.url) as connection:
                await until(lambda: tested.server.admission.pending == 1)
                await connection.send(start(token=url.rpartition("/")[2]))
                await call.opened.wait()
                assert tested.server.admission.pending == 0
                assert tested.server.admission.open == 1
                call.path.close()
                assert await closing(connection) == (1000, "Call ended")

    run(case())


@pytest.mark.parametrize(
    "unusable",
    [
        "{",
        "[]",
        "1",
        '{"event":1}',
        b"binary",
        said("start"),
        said("mark", mark={"name": "u1.1"}),
        said("dtmf", dtmf={"digit": "5"}),
        media(1, SILENCE),
        said("x", filling="x" * 65536),
    ],
    ids=[
        "not JSON",
        "an array",
        "a number",
        "no event",
        "binary",
        "start of nothing",
        "mark before start",
        "digit before start",
        "media before start",
        "over 64 KiB",
    ],
)
def test_unusable_messages_are_counted_and_the_20th_in_a_row_ends_the_socket(
    listener: str, unusable: str | bytes
) -> None:
    async def case() -> None:
        async with plane(listener) as tested, dial(tested.call()[1]) as connection:
            (leg,) = tested.server.legs()
            for _ in range(19):
                await connection.send(unusable)
            await connection.send(said("connected"))
            for _ in range(19):
                await connection.send(unusable)
            await until(lambda: leg.stream.messages == 39)
            assert leg.stream.faults == 38
            assert tested.server.refusals == {}
            await connection.send(unusable)
            assert await closing(connection) == (1008, "Too many unusable messages")
            assert tested.server.refusals == {"malformed": 1}

    run(case())


def test_the_largest_message_of_64_kib_is_read(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested, dial(tested.call()[1]) as connection:
            (leg,) = tested.server.legs()
            room = 65536 - len(said("x", filling=""))
            await connection.send(said("x", filling="x" * room))
            await connection.send(said("x", filling="x" * (room + 1)))
            await until(lambda: leg.stream.messages == 2)
            assert leg.stream.faults == 1

    run(case())


def test_a_message_over_1_mib_does_not_get_read_at_all(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested, dial(tested.call()[1]) as connection:
            await connection.send("x" * (asgi.FRAME_MAX_OCTETS + 1))
            assert (await closing(connection))[0] == 1009

    run(case())


def test_a_peer_that_does_not_read_is_closed_1013_and_sees_it_once_it_reads(
    listener: str,
) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            call, url = tested.call()
            async with dial(url, max_queue=1) as connection:
                await connection.send(start())
                await call.opened.wait()
                await _flood(tested)
                assert (await closing(connection))[0] == 1013
            assert tested.server.refusals == {"stalled": 1}
            call.path.close()

    run(case())


def test_a_peer_that_never_reads_is_given_up_and_its_memory_freed(
    listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicecall.media.connection.STALLED_GRACE_S", 0.1)
    monkeypatch.setattr(asgi, "STALLED_GRACE_S", 0.1)

    async def case() -> None:
        async with plane(listener) as tested:
            call, url = tested.call()
            connection = await dial(url, max_queue=1)
            await connection.send(start())
            await call.opened.wait()
            await _flood(tested)
            await until(lambda: tested.server.admission.open == 0, within_s=1.0)
            assert not list(tested.server.legs())
            connection.transport.abort()
            await connection.wait_closed()
            call.path.close()

    run(case())


async def _flood(tested: Plane) -> None:
    """Send more than the kernel and 1 MiB on top of it hold."""
    (leg,) = tested.server.legs()
    message = said("flood", filling="x" * 30_000).encode()
    sent = 0
    while not tested.server.refusals["stalled"]:
        leg.stream.send(message)
        sent += 1
        assert sent < 2000
        await asyncio.sleep(0)
    assert sent * len(message) > 1 << 20


def test_closing_the_server_ends_every_socket(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            call, url = tested.call()
            async with dial(url) as started, dial(tested.url) as pending:
                await started.send(start())
                await call.opened.wait()
                stopping = asyncio.create_task(tested.server.close())
                assert await closing(started) == (1000, "Call ended")
                assert await closing(pending) == (1001, "Server stops")
                await stopping
                tested.assert_unused()

    run(case())


def test_a_close_is_answered_even_when_it_has_no_code(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            async with dial(tested.url) as connection:
                connection.protocol.send_close()
                connection.send_data()
                await connection.wait_closed()
                assert connection.protocol.parser_exc is None
                assert connection.protocol.close_rcvd is not None
            async with dial(tested.url) as connection:
                await connection.close(3001)
                assert connection.close_code == 3001

    run(case())


def test_a_stream_that_cannot_be_spoken_on_changes_nothing(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            call, url = tested.call()
            async with dial(url) as connection:
                await connection.send(start(stream_sid="MZ" * 1000))
                (leg,) = tested.server.legs()
                await until(lambda: leg.stream.faults == 1)
                assert "call-1" not in tested.server._paths
                assert not call.opened.is_set()
                await connection.send(start())
                await call.opened.wait()
                call.path.close()

    run(case())


def test_a_port_that_is_taken_is_named_in_the_error(listener: str) -> None:
    async def case() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(ServeError, match=rf"streaming\.port: .*:{port}"):
                await Plane(SystemClock()).server.listen("127.0.0.1", port)

    if listener == "port":
        run(case())


# --- signatures ------------------------------------------------------------------------------

ACCOUNT_KEY = "account-key"
VERIFY = SignatureVerifier(ACCOUNT_KEY).verify_upgrade


def signature(url: str, key: str = ACCOUNT_KEY) -> dict[str, dict[str, str]]:
    """The header as Twilio's own package makes it, as an option of `dial`."""
    made = RequestValidator(key).compute_signature(url, {})
    return {"additional_headers": {"X-Twilio-Signature": made}}


PUBLIC = "wss://voice.example.com/voice/stream"


def test_a_signed_upgrade_has_to_be_signed_by_the_carrier(listener: str) -> None:
    async def case() -> None:
        async with plane(listener, verify_upgrade=VERIFY) as tested:
            # What is signed is what the carrier was told, wherever proxies lead that.
            tested.tokens.base_url = PUBLIC
            _, told = tested.call()
            token = told.rpartition("/")[2]
            url = f"{tested.url}/{token}"
            assert await refused_with(url, **signature(told)) == 101
            assert await refused_with(f"{url}/", **signature(told)) == 101
            assert await refused_with(url, **signature(told, "another-key")) == 403
            assert await refused_with(url, **signature(f"{told}/")) == 403
            assert await refused_with(url, **signature(url)) == 403
            assert await refused_with(url, additional_headers={"x-twilio-signature": ""}) == 403
            twice = [("X-Twilio-Signature", "x"), *signature(told)["additional_headers"].items()]
            assert await refused_with(url, additional_headers=twice) == 403
            await until(lambda: tested.server.admission.open == 0)
            assert tested.server.refusals == {"signature": 5}

    run(case())


def test_the_signature_is_looked_at_before_the_token(listener: str) -> None:
    async def case() -> None:
        async with plane(listener, verify_upgrade=VERIFY) as tested:
            tested.tokens.base_url = PUBLIC
            wrong = f"{tested.url}/{'0' * 32}"
            assert await refused_with(wrong, **signature(f"{PUBLIC}/{'1' * 32}")) == 403
            assert tested.server.refusals == {"signature": 1}
            assert await refused_with(wrong, **signature(f"{PUBLIC}/{'0' * 32}")) == 403
            assert tested.server.refusals == {"signature": 1, "token": 1}

    run(case())


def test_a_socket_without_a_token_may_be_signed_too(listener: str) -> None:
    async def case() -> None:
        async with plane(listener, verify_upgrade=VERIFY) as tested:
            tested.tokens.base_url = PUBLIC
            assert await refused_with(tested.url, **signature(PUBLIC)) == 101
            assert await refused_with(tested.url, **signature(f"{PUBLIC}/x")) == 403

    run(case())


def test_without_a_signature_the_token_decides(listener: str) -> None:
    async def case() -> None:
        async with plane(listener, verify_upgrade=VERIFY) as tested:
            _, url = tested.call()
            assert await refused_with(url) == 101
            assert await refused_with(f"{tested.url}/{'0' * 32}") == 403

    run(case())


@pytest.mark.parametrize("dialect", [TelnyxDialect(), PlivoDialect()])
def test_carriers_that_sign_no_upgrades_are_not_asked_for_signatures(
    listener: str, dialect: Dialect
) -> None:
    async def case() -> None:
        async with plane(listener, dialect=dialect, verify_upgrade=VERIFY) as tested:
            _, url = tested.call()
            assert await refused_with(url, **signature("wss://elsewhere.example.com")) == 101

    run(case())


def test_nobody_is_refused_where_there_is_nothing_to_verify_with(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            _, url = tested.call()
            assert await refused_with(url, **signature("wss://elsewhere.example.com")) == 101

    run(case())


# --- complaints ------------------------------------------------------------------------------

COMPLAINTS = (
    said("error", stream_id="s1", payload={"code": 100003, "title": "malformed_frame"}),
    said("error", sequence_number="3", error={"code": "100005", "title": "rate_limit_reached"}),
    said("error", stream_id="s1", payload="no object"),
    said("error"),
)


def test_complaints_are_counted_and_never_end_a_stream(
    listener: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        async with plane(listener, dialect=TelnyxDialect()) as tested:
            call, url = tested.call()
            async with dial(url) as connection:
                body = {"call_control_id": "CA1"}
                await connection.send(said("start", stream_id="s1", start=body))
                for _ in range(10):
                    for complaint in COMPLAINTS:
                        await connection.send(complaint)
                await connection.send(said("dtmf", dtmf={"digit": "1"}))
                await until(lambda: call.digits == ["1"])
                (leg,) = tested.server.legs()
                assert leg.stream.faults == 0
            counted = {each.name: each for each in tested.server.readings()}
            total = counted["stream_complaints"]
            assert isinstance(total, Reading)
            assert total.value == 40

    run(case())
    logged = [each for each in caplog.records if "complains" in each.message]
    assert len(logged) == COMPLAINTS_LOGGED
    texts = [getattr(each, "text", None) for each in logged[:4]]
    assert texts == [
        "100003 malformed_frame",
        "100005 rate_limit_reached",
        "no reason given",
        "no reason given",
    ]
