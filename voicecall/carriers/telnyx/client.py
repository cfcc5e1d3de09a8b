"""Telnyx's calling side: placing, answering and ending calls, and its own speech."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from voicecall.call.events import CallErrored, CallEvent
from voicecall.call.record import CallState, Direction
from voicecall.carriers.telnyx import markup
from voicecall.carriers.telnyx.faults import (
    ALREADY_TRANSCRIBING,
    MAY_BE_DONE,
    MAY_RING,
    Refused,
)
from voicecall.carriers.telnyx.markup import ClientState
from voicecall.carriers.telnyx.prompts import Prompts
from voicecall.carriers.telnyx.rest import Rest
from voicecall.errors import CarrierError
from voicecall.ports import CarrierStatus, DialRequest

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from voicecall.call.record import CallRecord
    from voicecall.carriers.telnyx.markup import TelnyxSettings
    from voicecall.clock import Clock
    from voicecall.ports import StreamUrls

Emit: TypeAlias = Callable[[CallEvent], Awaitable[None]]
PickUp: TypeAlias = Callable[[str, str, str | None], Awaitable[None]]
"""Takes a call up: the carrier's id, ours, and where media go."""

# Less than the manager waits, so that its errors are ours, which say more.
REQUEST_TIMEOUT_S: Final = 9.0

_PICK_UP_DELAYS_S = (0.5, 2.0)
_PICKED_UP_REMEMBERED = 10_000
_HANDED_ON_REMEMBERED = 10_000
_CLOSE_TIMEOUT_S = 2.0
# Slower than anybody speaks; only for reports that never come.
_SPEECH_S_PER_CHAR = 0.15
_SPEECH_GRACE_S = 15.0

logger = logging.getLogger("voicecall.carriers.telnyx")


class TelnyxCarrier:
    """`ports.Carrier` of Telnyx's Call Control, `ports.CarrierVoice`, and the webhooks' desk.

    To be made before calls are handled: loading the vendor's package takes seconds.

    Args:
        settings: the account.
        clock: stamps the events.
        emit: takes events that no webhook brings: a call that cannot be picked up.
        urls: where media of calls are streamed that we do not place; None without media streaming.
        timeout_s: how long any one request may take.

    Raises:
        DependencyMissing: the package is not installed.
    """

    def __init__(
        self,
        settings: TelnyxSettings,
        *,
        clock: Clock,
        emit: Emit,
        urls: StreamUrls | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._emit = emit
        self._urls = urls
        self._rest = Rest(settings.api_key, settings.base_url, timeout_s)
        self._prompts = Prompts()
        self._tasks: set[asyncio.Task[None]] = set()
        # Overflow: the oldest call is forgotten.
        self._picked_up: OrderedDict[str, None] = OrderedDict()
        self._handed_on: OrderedDict[str, None] = OrderedDict()

    @property
    def name(self) -> str:
        """`telnyx`."""
        return "telnyx"

    def report_to(self, webhook_url: str) -> None:
        """Have Telnyx report calls to `webhook_url` from now on."""
        self._settings = replace(self._settings, webhook_url=webhook_url)

    # --- every carrier's ----------------------------------------------------------------------

    async def dial(self, request: DialRequest) -> str:
        """Place a call: one request, whatever comes of it.

        Raises:
            InvalidRequest: something is asked for that Telnyx cannot do. Nothing was sent.
            CarrierError: Telnyx refused, or it is not known what it did. In the latter case the
                call may ring all the same; its webhooks then name it.
        """
        parameters = markup.dial(self._settings, request)
        body = await self._rest.dial(parameters)
        provider_call_id = _data(body).get("call_control_id")
        if not isinstance(provider_call_id, str) or not provider_call_id:
            raise CarrierError(
                f"Telnyx did not say which call it placed; {MAY_RING}",
                status="unreadable",
            )
        return provider_call_id

    async def hang_up(self, provider_call_id: str) -> None:
        """End a call; one that is over or unknown to Telnyx is a success. Raises CarrierError."""
        self._prompts.cut(provider_call_id)
        try:
            await self._rest.command("hang up", provider_call_id, markup.hang_up())
        except Refused as refused:
            if not (refused.refusal.over or refused.refusal.unknown):
                raise

    async def send_dtmf(self, provider_call_id: str, digits: str) -> None:
        """Send keys. Raises CarrierError."""
        await self._rest.command("send keys", provider_call_id, markup.keys(digits))

    async def transfer(self, provider_call_id: str, to: str) -> None:
        """Connect the call with `to`, once; returns before `to` picks up.

        Should they not, the call is hung up, which Telnyx itself does only after they did.

        Raises:
            CarrierError: Telnyx refused, or it is not known what it did; the latter is never
                `retryable`.
        """
        command = markup.transfer(self._settings, provider_call_id, to)
        # Before the request: that they are busy may be reported faster than it is answered.
        self._handed_on[provider_call_id] = None
        if len(self._handed_on) > _HANDED_ON_REMEMBERED:
            self._handed_on.popitem(last=False)
        try:
            what = "hand the call on"
            await self._rest.command(what, provider_call_id, command, doubt=MAY_BE_DONE)
        except BaseException:
            # The call stays ours, whatever becomes of them.
            self._handed_on.pop(provider_call_id, None)
            raise
        if self._urls is None:
            self._prompts.cut(provider_call_id)
            self._run(self._fall_silent(provider_call_id), f"fall silent {provider_call_id}")

    def far_end_joined(self, provider_call_id: str) -> None:
        """From now on Telnyx itself ends the call when one side hangs up."""
        self._handed_on.pop(provider_call_id, None)

    def far_end_left(self, provider_call_id: str) -> None:
        """Hang up a call that was handed on, in the background: nobody came to talk with."""
        if provider_call_id in self._handed_on:
            del self._handed_on[provider_call_id]
            self._run(self._let_go(provider_call_id), f"let go {provider_call_id}")

    async def _fall_silent(self, provider_call_id: str) -> None:
        """What is said on a call that was handed on is none of our business."""
        try:
            await self.stop_listening(provider_call_id)
        except CarrierError as error:
            logger.warning("a call that was handed on is still transcribed", exc_info=error)

    async def _let_go(self, provider_call_id: str) -> None:
        for delay_s in (*_PICK_UP_DELAYS_S, None):
            try:
                await self.hang_up(provider_call_id)
            except CarrierError as error:
                if delay_s is None or not error.retryable:
                    logger.warning("a call with nobody to talk to is left open", exc_info=error)
                    return
                await asyncio.sleep(delay_s)
            else:
                return

    async def status(self, provider_call_id: str) -> CarrierStatus:
        """Look the call up. Raises CarrierError.

        Telnyx knows no more than whether a call is over, and that for ten minutes.
        """
        try:
            body = await self._rest.look_up(provider_call_id)
        except Refused as refused:
            if refused.refusal.unknown:
                return CarrierStatus(alive=False)
            if refused.refusal.over:
                return CarrierStatus(alive=False, end_reason=CallState.COMPLETED)
            raise
        call = _data(body)
        if call.get("end_time"):
            return CarrierStatus(alive=False, end_reason=CallState.COMPLETED)
        # A call that is being dialled is reported as not alive, too.
        return CarrierStatus(alive=call.get("is_alive") is True)

    async def close(self) -> None:
        """Stop what goes on in the background, cut what is being said, and free the connections."""
        self._prompts.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, stubborn = await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT_S)
            for task in stubborn:
                logger.warning("background work does not end", extra={"task": task.get_name()})
        await self._rest.close()

    # --- inbound calls ------------------------------------------------------------------------

    def pick_up(self, record: CallRecord) -> None:
        """Answer an inbound call in the background, once, however often this is asked for.

        If it cannot be answered, a final `CallErrored` is emitted.
        """
        self._begin(record, self.answer)

    def connect(self, record: CallRecord) -> None:
        """Stream the media of a call that somebody else placed, in the same way as `pick_up`.

        Without media streaming there is nothing to do.
        """
        if self._urls is not None:
            self._begin(record, self._connect)

    def _begin(self, record: CallRecord, act: PickUp) -> None:
        provider_call_id = record.provider_call_id
        if provider_call_id is None or provider_call_id in self._picked_up:
            return
        self._picked_up[provider_call_id] = None
        if len(self._picked_up) > _PICKED_UP_REMEMBERED:
            self._picked_up.popitem(last=False)
        # As many tasks as calls that wait, which are as many as are taken on.
        work = self._pick_up(record.call_id, provider_call_id, act)
        self._run(work, f"pick up {record.call_id}")

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def answer(self, provider_call_id: str, call_id: str, stream_url: str | None) -> None:
        """Answer an inbound call; answering twice does no harm. Raises CarrierError."""
        command = markup.answer(self._settings, call_id, stream_url)
        await self._rest.command("answer the call", provider_call_id, command)

    async def _connect(self, provider_call_id: str, call_id: str, stream_url: str | None) -> None:
        state = ClientState(call_id, Direction.OUTBOUND, streams=True)
        await self.start_stream(provider_call_id, state, stream_url or "")

    async def _pick_up(self, call_id: str, provider_call_id: str, act: PickUp) -> None:
        try:
            error = await self._act_stubbornly(call_id, provider_call_id, act)
            if error is not None:
                logger.warning("call not picked up", extra={"call_id": call_id}, exc_info=error)
                await self._report_unanswered(call_id, provider_call_id, error)
        except Exception:  # the boundary of a task; nobody awaits its result
            logger.exception("picking up broke", extra={"call_id": call_id})

    async def _act_stubbornly(
        self, call_id: str, provider_call_id: str, act: PickUp
    ) -> CarrierError | None:
        """Take a call up, trying again while that may help; why it cannot be done."""
        stream_url = None if self._urls is None else self._urls.issue(call_id)
        for delay_s in (*_PICK_UP_DELAYS_S, None):
            try:
                await act(provider_call_id, call_id, stream_url)
            except CarrierError as error:
                if isinstance(error, Refused) and error.refusal.over:
                    # Somebody hung up first; a webhook of its own says so.
                    return None
                if delay_s is None or not error.retryable:
                    return error
                await asyncio.sleep(delay_s)
            else:
                return None
        return None

    async def _report_unanswered(
        self, call_id: str, provider_call_id: str, error: CarrierError
    ) -> None:
        event = CallErrored(
            id=str(uuid.uuid4()),
            dedupe_key=f"{provider_call_id}:not picked up",
            timestamp=self._clock.wall_ms(),
            call_id=call_id,
            provider_call_id=provider_call_id,
            message=str(error),
            retryable=False,
        )
        await self._emit(event)

    # --- without media streaming --------------------------------------------------------------

    async def say(self, provider_call_id: str, text: str) -> bool:
        """Say `text` in Telnyx's own voice, after what is being said; returns when it is over.

        Returns:
            whether it was said to its end; False, too, when Telnyx never reports so.

        Raises:
            CarrierError: Telnyx refused, or did not answer.
        """
        prompts: list[asyncio.Future[bool]] = []
        expected_s = _SPEECH_GRACE_S + _SPEECH_S_PER_CHAR * len(text)
        try:
            for command in markup.speak(self._settings, text):
                # Before the request: the webhook may be faster than its answer.
                prompts.append(self._prompts.add(provider_call_id))
                await self._rest.command("speak", provider_call_id, command)
                if any(prompt.done() and not prompt.result() for prompt in prompts):
                    return False
            async with asyncio.timeout(expected_s):
                return all([await prompt for prompt in prompts])
        except TimeoutError:
            logger.warning("no report that a text was said", extra={"expected_s": expected_s})
            return False
        finally:
            for prompt in prompts:
                self._prompts.forget(provider_call_id, prompt)

    async def stop_speaking(self, provider_call_id: str) -> None:
        """Cut what Telnyx is saying, and all that it still would. Raises CarrierError."""
        self._prompts.stop(provider_call_id)
        await self._rest.command("stop speaking", provider_call_id, markup.stop_speaking())

    async def listen(self, provider_call_id: str) -> None:
        """Have Telnyx transcribe the caller; one that it transcribes already is a success.

        Transcripts carry no turn's token: it is one transcription throughout the call, and what
        comes after a question was said after it, but for a moment.

        Raises:
            CarrierError: Telnyx refused, or did not answer.
        """
        what = "transcribe the call"
        try:
            await self._rest.command(what, provider_call_id, markup.listen(self._settings))
        except Refused as refused:
            if refused.refusal.code != ALREADY_TRANSCRIBING:
                raise

    async def stop_listening(self, provider_call_id: str) -> None:
        """Have Telnyx transcribe the caller no longer. Raises CarrierError."""
        await self._rest.command("stop transcribing", provider_call_id, markup.stop_listening())

    async def start_stream(self, provider_call_id: str, state: ClientState, url: str) -> None:
        """Stream the media of a call that is answered already to `url`. Raises CarrierError."""
        command = markup.stream(self._settings, state, url)
        await self._rest.command("stream the call's media", provider_call_id, command)

    def spoken(self, provider_call_id: str, event_id: str, *, completed: bool) -> None:
        """The oldest text being said on the call is over."""
        self._prompts.ended(provider_call_id, event_id, completed=completed)


def _data(body: bytes) -> Mapping[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    data = answer.get("data") if isinstance(answer, dict) else None
    return data if isinstance(data, dict) else {}
