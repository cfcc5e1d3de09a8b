from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.speech.tts.sockets import PATIENCE_S, PlainSocket, PlainVendor, until
from voicecall.errors import SpeechError
from voicecall.ports import ULAW_8K
from voicecall.speech.tts.pool import Limits, SentencePool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

pytestmark = pytest.mark.unit

REFUSED = SpeechError("refused; check the key", status=401)


def run(case: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await case

    asyncio.run(bounded())


@asynccontextmanager
async def pool_of(vendor: PlainVendor, **limits: int) -> AsyncGenerator[SentencePool]:
    pool = SentencePool(vendor.connect, service="the voice", audio=ULAW_8K, limits=Limits(**limits))
    try:
        yield pool
    finally:
        await pool.close()


def heard(pool: SentencePool, text: str = "Hello.") -> asyncio.Task[bytes]:
    """Somebody who listens to a whole sentence."""

    async def listen() -> bytes:
        return b"".join([piece async for piece in pool.speak(text)])

    return asyncio.ensure_future(listen())


async def begun(pool: SentencePool, socket: PlainSocket) -> tuple[AsyncGenerator[bytes], str]:
    """A sentence of which one piece was heard, and its key."""
    speech = pool.speak("Hello.")
    first = asyncio.ensure_future(anext(speech))
    key = await socket.hears("say")
    socket.give(f"audio {key} a")
    assert await first == b"a"
    return speech, key


def test_a_sentence_is_asked_for_and_comes_piece_by_piece() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor) as pool:
            speech = pool.speak("Good morning.")
            first = asyncio.ensure_future(anext(speech))
            socket = await vendor.socket(0)
            key = await socket.hears("say")
            socket.give(f"audio {key} a", "audio somebody-else b")
            assert await first == b"a"
            socket.give(f"audio {key} c", f"end {key}", f"audio {key} late")
            assert [piece async for piece in speech] == [b"c"]

    run(case())


def test_the_first_socket_is_open_before_anybody_speaks() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor) as pool:
            await pool.prepare()
            assert pool.sockets == 1
        assert vendor.sockets[0].closed.is_set()

    run(case())


def test_a_vendor_that_cannot_be_reached_does_not_fail_the_preparation() -> None:
    async def case() -> None:
        async with pool_of(PlainVendor(REFUSED)) as pool:
            await pool.prepare()
            assert pool.sockets == 0

    run(case())


def test_sentences_share_a_socket_and_another_is_opened_before_it_is_needed() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, sentences=2) as pool:
            one = heard(pool, "one")
            socket = await vendor.socket(0)
            first = await socket.hears("say")
            assert pool.sockets == 1
            two = heard(pool, "two")
            second = await socket.hears("say")
            await vendor.socket(1)
            socket.give(f"audio {second} 2", f"audio {first} 1", f"end {first}", f"end {second}")
            assert list(await asyncio.gather(one, two)) == [b"1", b"2"]

    run(case())


def test_sentences_beyond_the_limit_wait_for_their_turn_in_order() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, sentences=1, sockets=1) as pool:
            tasks = []
            for text in ("1", "2", "3"):
                tasks.append(heard(pool, text))
                await asyncio.sleep(0)
            socket = await vendor.socket(0)
            for text in ("1", "2", "3"):
                key = await socket.hears("say")
                socket.give(f"audio {key} {text}", f"end {key}")
            assert await asyncio.gather(*tasks) == [b"1", b"2", b"3"]
            assert vendor.attempts == 1

    run(case())


def test_too_many_waiting_sentences_are_refused() -> None:
    async def case() -> None:
        async with pool_of(PlainVendor(), sentences=1, sockets=1, waiting=1) as pool:
            await pool.prepare()
            tasks = [heard(pool) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(SpeechError, match="too many") as caught:
                await heard(pool)
            assert caught.value.retryable
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    run(case())


def test_a_sentence_that_gets_no_room_in_time_fails() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, sentences=1, sockets=1, begin_ms=50) as pool:
            await pool.prepare()
            speech, _ = await begun(pool, await vendor.socket(0))
            with pytest.raises(SpeechError, match="no room"):
                await heard(pool)
            await speech.aclose()

    run(case())


def test_a_stopped_sentence_keeps_its_place_until_the_vendor_has_ended_it() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, sentences=1, sockets=1) as pool:
            socket = await vendor_socket(pool, vendor)
            speech, key = await begun(pool, socket)
            await speech.aclose()
            assert await socket.hears("stop") == key
            next_one = heard(pool, "next")
            socket.give(f"audio {key} unwanted")
            await asyncio.sleep(0)
            assert not socket.sent
            socket.give(f"end {key}")
            other = await socket.hears("say")
            socket.give(f"audio {other} n", f"end {other}")
            assert await next_one == b"n"
            assert not socket.closed.is_set()

    run(case())


async def vendor_socket(pool: SentencePool, vendor: PlainVendor) -> PlainSocket:
    await pool.prepare()
    return await vendor.socket(0)


def test_a_socket_that_does_not_stop_is_given_up() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, stop_ms=1, tick_ms=5) as pool:
            socket = await vendor_socket(pool, vendor)
            speech, _ = await begun(pool, socket)
            await speech.aclose()
            await socket.closed.wait()
            await vendor.socket(1)

    run(case())


def test_a_listener_that_is_cancelled_before_the_first_audio_stops_the_sentence() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor) as pool:
            socket = await vendor_socket(pool, vendor)
            task = heard(pool)
            key = await socket.hears("say")
            task.cancel()
            assert await socket.hears("stop") == key
            with pytest.raises(asyncio.CancelledError):
                await task

    run(case())


def test_room_given_to_somebody_who_leaves_at_that_moment_is_given_on() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, sentences=1, sockets=1) as pool:
            leaver, stayer = heard(pool, "leaver"), heard(pool, "stayer")
            # Both wait until the socket's opening gives the first its place, who leaves just then.
            await until(lambda: vendor.sockets)
            leaver.cancel()
            socket = await vendor.socket(0)
            socket.give(f"end {await socket.hears('say')}")
            assert await stayer == b""

    run(case())


@pytest.mark.parametrize("failures", [1, 2])
def test_a_sentence_whose_socket_dies_before_its_first_audio_is_tried_once_more(
    failures: int,
) -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, retry_ms=1) as pool:
            task = heard(pool)
            for number in range(failures):
                socket = await vendor.socket(number)
                await socket.hears("say")
                socket.breaks()
            if failures == 1:
                socket = await vendor.socket(1)
                key = await socket.hears("say")
                socket.give(f"audio {key} a", f"end {key}")
                assert await task == b"a"
            else:
                with pytest.raises(SpeechError, match="it broke"):
                    await task

    run(case())


def test_a_sentence_that_was_begun_is_not_begun_again() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor) as pool:
            socket = await vendor_socket(pool, vendor)
            speech, _ = await begun(pool, socket)
            socket.breaks()
            with pytest.raises(SpeechError, match="it broke"):
                await anext(speech)
            assert socket.closed.is_set()
            assert not (await vendor.socket(1)).sent

    run(case())


def test_a_sentence_that_the_vendor_cannot_say_fails_alone() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor) as pool:
            socket = await vendor_socket(pool, vendor)
            speech, key = await begun(pool, socket)
            other = heard(pool)
            socket.give(f"fail {await socket.hears('say')}")
            with pytest.raises(SpeechError, match="cannot be said"):
                await other
            socket.give(f"audio {key} b", f"end {key}")
            assert [piece async for piece in speech] == [b"b"]

    run(case())


def test_a_message_that_makes_no_sense_is_skipped() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor) as pool:
            socket = await vendor_socket(pool, vendor)
            speech, key = await begun(pool, socket)
            socket.give("nonsense", "nonsense x", f"end {key}")
            assert [piece async for piece in speech] == []

    run(case())


def test_a_sentence_that_does_not_begin_in_time_fails_and_its_socket_is_not_used_again() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, begin_ms=50) as pool:
            socket = await vendor_socket(pool, vendor)
            with pytest.raises(SpeechError, match="fell silent") as caught:
                await heard(pool)
            assert caught.value.retryable
            await socket.closed.wait()
            await vendor.socket(1)

    run(case())


def test_a_sentence_that_stalls_fails() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, gap_ms=50) as pool:
            socket = await vendor_socket(pool, vendor)
            speech, _ = await begun(pool, socket)
            with pytest.raises(SpeechError, match="fell silent"):
                await anext(speech)
            await socket.hears("stop")
            await socket.closed.wait()

    run(case())


def test_a_sentence_with_too_much_audio_waiting_fails_and_is_stopped() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, ahead_ms=1) as pool:
            socket = await vendor_socket(pool, vendor)
            speech, key = await begun(pool, socket)
            socket.give(f"audio {key} 12345678", f"audio {key} 9")
            assert await socket.hears("stop") == key
            assert await anext(speech) == b"12345678"
            with pytest.raises(SpeechError, match="faster"):
                await anext(speech)

    run(case())


def test_a_refused_connection_fails_who_waits_and_is_not_tried_again_unasked() -> None:
    async def case() -> None:
        vendor = PlainVendor(REFUSED, REFUSED)
        async with pool_of(vendor, retry_ms=1, tick_ms=1) as pool:
            for attempt in (1, 2):
                with pytest.raises(SpeechError, match="check the key") as caught:
                    await heard(pool)
                assert caught.value.status == 401
                assert vendor.attempts == attempt
            task = heard(pool)
            socket = await vendor.socket(0)
            socket.give(f"end {await socket.hears('say')}")
            assert await task == b""

    run(case())


def test_a_vendor_that_could_not_be_reached_is_tried_again() -> None:
    async def case() -> None:
        down = SpeechError("no answer", retryable=True)
        vendor = PlainVendor(down, down, OSError("a crash"))
        async with pool_of(vendor, retry_ms=1, tick_ms=1) as pool:
            await pool.prepare()
            await vendor.socket(0)
            assert vendor.attempts == 4

    run(case())


def test_a_socket_that_is_not_opened_in_time_is_given_up() -> None:
    async def case() -> None:
        async def never() -> Any:
            await asyncio.get_running_loop().create_future()

        pool = SentencePool(never, service="the voice", audio=ULAW_8K, limits=Limits(connect_ms=10))
        with pytest.raises(SpeechError, match="could not be reached in time"):
            await heard(pool)
        await pool.close()

    run(case())


def test_sockets_that_break_at_once_are_not_opened_as_fast_as_they_break() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, retry_ms=60_000, tick_ms=1) as pool:
            socket = await vendor_socket(pool, vendor)
            socket.breaks()
            await socket.closed.wait()
            await until(lambda: not pool.sockets)
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert vendor.attempts == 1

    run(case())


def test_an_old_socket_gets_no_more_sentences_and_is_closed_after_its_last() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, session_ms=60_000, tick_ms=1) as pool:
            old = await vendor_socket(pool, vendor)
            speech, key = await begun(pool, old)
            next(iter(pool._lines)).opened_s -= 61
            young = await vendor.socket(1)
            task = heard(pool)
            young.give(f"end {await young.hears('say')}")
            assert await task == b""
            assert not old.closed.is_set()
            old.give(f"audio {key} b", f"end {key}")
            assert [piece async for piece in speech] == [b"b"]
            await old.closed.wait()
            assert not young.closed.is_set()

    run(case())


def test_a_socket_with_nothing_to_say_is_closed_unless_it_is_the_last() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, sentences=1, idle_ms=1, tick_ms=1) as pool:
            first = await vendor_socket(pool, vendor)
            speech, key = await begun(pool, first)
            second = await vendor.socket(1)
            first.give(f"end {key}")
            assert [piece async for piece in speech] == []
            await until(lambda: pool.sockets == 1)
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert pool.sockets == 1
            assert first.closed.is_set() is not second.closed.is_set()

    run(case())


def test_a_silent_socket_is_kept_alive() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, rest_ms=1, tick_ms=1) as pool:
            socket = await vendor_socket(pool, vendor)
            await socket.hears("rest")
            await socket.hears("rest")

    run(case())


def test_a_socket_that_does_not_take_messages_is_given_up() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, send_ms=20) as pool:
            socket = await vendor_socket(pool, vendor)
            socket.deaf = True
            task = heard(pool)
            other = await vendor.socket(1)
            other.give(f"end {await other.hears('say')}")
            assert await task == b""
            assert socket.closed.is_set()

    run(case())


def test_closing_fails_who_listens_and_who_waits_and_closes_every_socket() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor, sentences=1, sockets=1) as pool:
            socket = await vendor_socket(pool, vendor)
            speech, _ = await begun(pool, socket)
            waiting = heard(pool)
            await asyncio.sleep(0)
            await pool.close()
            for broken in (anext(speech), waiting, heard(pool)):
                with pytest.raises(SpeechError, match="was closed"):
                    await broken
            assert socket.closed.is_set()

    run(case())


def test_a_socket_that_is_open_when_the_pool_closes_at_that_moment_is_closed_too() -> None:
    async def case() -> None:
        vendor = PlainVendor()
        async with pool_of(vendor) as pool:
            preparing = asyncio.ensure_future(pool.prepare())
            await until(lambda: vendor.sockets)
            await pool.close()
            await preparing
            assert vendor.sockets[0].closed.is_set()

    run(case())
