"""Plivo's calling side: places, ends and looks up calls by REST.

The SDK blocks, so it runs in threads of its own. Nothing is ever asked twice but what may be: a
call that nobody can tell was placed is found by its webhooks, which bring our id of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from voicecall.call.record import Direction
from voicecall.carriers._pieces import pieces
from voicecall.carriers.plivo.reasons import TERMINAL_STATUSES, Ending
from voicecall.carriers.plivo.rest import Account, Answer, Timeouts, close_client, open_client
from voicecall.clock import NS_PER_S
from voicecall.errors import CarrierError
from voicecall.ports import CarrierStatus, DialRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.carriers._prompts import Prompt
    from voicecall.carriers.plivo.instructions import Instructions
    from voicecall.carriers.plivo.names import CallNames
    from voicecall.clock import Clock

T = TypeVar("T")

MAX_TEXT_CHARS: Final = 3000

_THREADS = 16
_MAX_REQUESTS = 256
_CLOSE_DEADLINE_S = 5.0
# Requests that may be sent late, or again, and for which a call that is gone is no failure.
_REPEATABLE = frozenset({"hang-up", "look-up"})
_HTTP_NOT_FOUND = 404
_HTTP_TOO_MANY = 429
_HTTP_SERVER_ERROR = 500
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_DIGITS = re.compile(r"\+?[0-9]{5,}")
_REMARK_MAX_CHARS = 200
# Plivo tries a callback once more by default; what ends a call, or saves it, is worth more.
# It tries again after silence only, unless it is told to after every failure.
_STUBBORNLY = "#rc=5&rp=all"

logger = logging.getLogger("voicecall.carriers.plivo")


@dataclass(frozen=True, slots=True)
class Dialing:
    """How calls are placed.

    Attributes:
        machine_detection: what Plivo does about answering machines: `off` nothing, `hint` reports
            them, `hangup` hangs up on them.
        max_duration_s: Plivo itself ends calls that last longer; None for its own limit of four
            hours.
    """

    machine_detection: Literal["off", "hint", "hangup"] = "off"
    max_duration_s: int | None = None


class PlivoCarrier:
    """`ports.Carrier` of Plivo, and `ports.CarrierVoice` for calls without a media stream.

    Overflow: with 256 requests under way another one is refused.

    Args:
        account: whose calls they are.
        instructions: makes the URLs that Plivo reports to.
        names: what Plivo calls the calls.
        clock: measures how long Plivo wants to be left alone.
        dialing: how calls are placed.
        timeouts: how long requests may take.

    Raises:
        DependencyMissing: the SDK is not installed.
        ConfigError: the account's id is none of Plivo's.
    """

    def __init__(
        self,
        account: Account,
        instructions: Instructions,
        *,
        names: CallNames,
        clock: Clock,
        dialing: Dialing | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._account = account
        self._instructions = instructions
        self._names = names
        self._clock = clock
        self._dialing = dialing or Dialing()
        self._timeouts = timeouts or Timeouts()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="plivo")
        self._local = threading.local()
        # Made here, so that what is missing is said at the start and not with the first call.
        self._clients = [open_client(account, self._timeouts)]
        self._spare = list(self._clients)
        self._clients_lock = threading.Lock()
        self._requests = 0
        self._silent_until_ns = 0

    @property
    def name(self) -> str:
        """`plivo`."""
        return "plivo"

    async def dial(self, request: DialRequest) -> str:
        """Place a call, asking once; the id of the request.

        Media is connected when the call is answered: Plivo takes no instructions before.

        Raises:
            CarrierError: it was refused, or it cannot be told whether it was placed. Only a
                refusal for the rate of requests is `retryable`.
        """
        if "<" in request.to:
            raise CarrierError("plivo takes one destination in a dial", status="destination")
        answer = await self._ask(
            "dial",
            lambda client: client.calls.create(**self._call(request)),
            if_late=self._on_late_dial,
        )
        placed = _identity(answer.body.get("request_uuid"))
        if placed is None:
            raise CarrierError("plivo accepted a dial without naming it", status=answer.status)
        return placed

    async def hang_up(self, provider_call_id: str) -> None:
        """End a call, or cancel one that is not answered yet; one that is over is a success.

        Raises:
            CarrierError: it was refused, or Plivo did not answer.
        """
        call_uuid = self._call_uuid(provider_call_id)
        ended = await self._ask("hang-up", lambda client: client.calls.delete(call_uuid))
        if ended.status != _HTTP_NOT_FOUND or call_uuid != provider_call_id:
            return
        # What is still a request, or was one under another name, is no call yet.
        await self._ask("hang-up", lambda client: client.calls.cancel(provider_call_id))
        named = self._call_uuid(provider_call_id)
        if named != provider_call_id:
            # It became one meanwhile, after it was asked for and before the request was cancelled.
            await self._ask("hang-up", lambda client: client.calls.delete(named))

    async def send_dtmf(self, provider_call_id: str, digits: str) -> None:
        """Send keys; `w` and `W` are pauses of half a second and a second.

        Raises:
            CarrierError: it was refused, or Plivo did not answer.
        """
        call_uuid = self._call_uuid(provider_call_id)
        await self._ask("dtmf", lambda client: client.calls.send_digits(call_uuid, digits))

    async def transfer(self, provider_call_id: str, to: str) -> None:
        """Have Plivo ask whom to connect the call with, once, which is then `to`.

        It asks when the media stream is over, which it does not end itself. The call ends when `to`
        does not pick up, or hangs up.

        Raises:
            CarrierError: it was refused, or it is not known what Plivo did. Then the call stays
                ours: should Plivo ask all the same, it is told to go on.
        """
        call_uuid = self._call_uuid(provider_call_id)
        instructions = self._instructions
        instructions.prompts.cut(provider_call_id)
        transfer_id = instructions.begin_transfer(call_uuid, to)
        try:
            url = f"{instructions.transfer_url(transfer_id)}{_STUBBORNLY}"
            await self._instruct_anew(call_uuid, url)
        except BaseException:
            instructions.drop_transfer(transfer_id)
            raise

    async def status(self, provider_call_id: str) -> CarrierStatus:
        """Look the call up: among live calls, among queued ones, then in the records.

        Raises:
            CarrierError: it was refused, or Plivo did not answer.
        """
        call_uuid = self._call_uuid(provider_call_id)
        live = await self._ask("look-up", lambda client: client.live_calls.get(call_uuid))
        if live.ok and str(live.body.get("call_status")) not in TERMINAL_STATUSES:
            return CarrierStatus(alive=True)
        queued = await self._ask(
            "look-up", lambda client: client.queued_calls.get(provider_call_id)
        )
        if queued.ok:
            return CarrierStatus(alive=True)
        record = await self._ask("look-up", lambda client: client.calls.get(call_uuid))
        if not record.ok or not record.body.get("end_time"):
            return CarrierStatus(alive=False)
        return CarrierStatus(alive=False, end_reason=_ending(record).reason())

    async def say(self, provider_call_id: str, text: str) -> bool:
        """Say `text` in Plivo's own voice on a call without a stream; it must be answered.

        What is being said on the call is cut short.

        Returns:
            whether it was said to its end; False when something newer or the call's end cut it.

        Raises:
            CarrierError: Plivo refused, or did not answer.
        """
        call_uuid = self._call_uuid(provider_call_id)

        async def push(_: Prompt) -> None:
            await self._instruct_anew(call_uuid, self._instructions.webhook_url)

        for piece in pieces(text, MAX_TEXT_CHARS):
            if not await self._instructions.prompts.say(provider_call_id, piece, push):
                return False
        return True

    async def stop_speaking(self, provider_call_id: str) -> None:
        """Cut short what `say` says, and go on listening where the call is a conversation.

        Raises:
            CarrierError: it was refused, or Plivo did not answer.
        """
        call_uuid = self._call_uuid(provider_call_id)
        self._instructions.prompts.cut(provider_call_id)
        await self._instruct_anew(call_uuid, self._instructions.webhook_url)

    async def listen(self, provider_call_id: str) -> None:
        """Nothing: a conversation that says nothing listens, by what it is answered."""

    async def close(self) -> None:
        """Cut what is being said and close connections; waits, at most 5 s, for requests."""
        self._instructions.prompts.close()
        shutdown = asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        try:
            async with asyncio.timeout(_CLOSE_DEADLINE_S):
                await shutdown
        except TimeoutError:
            logger.warning("requests to plivo are still under way")
        for client in self._clients:
            close_client(client)

    # --- requests -----------------------------------------------------------------------------

    async def _instruct_anew(self, call_uuid: str, url: str) -> None:
        """Have Plivo leave what it does on the call, and ask `url` what to do instead."""
        await self._ask(
            "transfer",
            lambda client: client.calls.update(
                call_uuid, legs="aleg", aleg_url=url, aleg_method="POST"
            ),
        )

    def _call(self, request: DialRequest) -> dict[str, Any]:
        url = self._instructions.callback(request.call_id)
        detection = {"off": None, "hint": "true", "hangup": "hangup"}
        wanted = self._dialing.machine_detection
        return {
            "from_": request.from_number,
            "to_": request.to,
            "answer_url": url,
            "ring_url": url,
            "hangup_url": f"{url}{_STUBBORNLY}",
            "ring_timeout": math.ceil(request.ring_timeout_ms / 1000),
            "send_digits": request.dtmf_sequence,
            "time_limit": self._dialing.max_duration_s,
            "machine_detection": detection[wanted],
            # With a URL detection goes on beside the call; without, the call waits for it.
            "machine_detection_url": url if wanted != "off" else None,
        }

    def _call_uuid(self, provider_call_id: str) -> str:
        # Ids become parts of paths.
        if _identity(provider_call_id) is None:
            raise CarrierError("plivo has no such call", status=_HTTP_NOT_FOUND)
        return self._names.call_uuid(provider_call_id)

    async def _ask(
        self,
        what: str,
        job: Callable[[Any], Answer],
        if_late: Callable[[Future[Answer]], None] | None = None,
    ) -> Answer:
        repeatable, timeouts = what in _REPEATABLE, self._timeouts
        try:
            async with asyncio.timeout(timeouts.dial_s if what == "dial" else timeouts.request_s):
                while True:
                    await self._leave_alone(what, patient=repeatable)
                    answer = await self._send(what, job, if_late)
                    if answer.status != _HTTP_TOO_MANY:
                        break
                    pause_ns = round(answer.retry_after_s * NS_PER_S)
                    self._silent_until_ns = self._clock.now_ns() + pause_ns
        except TimeoutError as error:
            raise CarrierError(
                f"plivo did not answer a {what} in time", retryable=repeatable
            ) from error
        if answer.ok or (repeatable and answer.status == _HTTP_NOT_FOUND):
            return answer
        raise self._refusal(what, answer)

    async def _leave_alone(self, what: str, *, patient: bool) -> None:
        """Wait until Plivo takes requests again, or refuse those that cannot wait."""
        wait_s = (self._silent_until_ns - self._clock.now_ns()) / NS_PER_S
        if wait_s <= 0:
            return
        if not patient or wait_s > self._timeouts.request_s:
            raise CarrierError(
                f"plivo takes no {what} now: too many requests; try again in {wait_s:.0f} s",
                retryable=True,
                status=_HTTP_TOO_MANY,
            )
        await asyncio.sleep(wait_s)

    async def _send(
        self,
        what: str,
        job: Callable[[Any], Answer],
        if_late: Callable[[Future[Answer]], None] | None,
    ) -> Answer:
        if self._requests >= _MAX_REQUESTS:
            raise CarrierError("too many requests to plivo are under way", retryable=True)
        try:
            sent = self._threads.submit(self._in_thread, what, job)
        except RuntimeError as error:
            raise CarrierError("plivo is asked nothing more: the server stops") from error
        self._requests += 1
        try:
            return await asyncio.wrap_future(sent)
        except asyncio.CancelledError:
            # One that no thread has begun with is never sent.
            if not sent.cancel() and if_late is not None:
                sent.add_done_callback(if_late)
            raise
        finally:
            self._requests -= 1

    def _in_thread(self, what: str, job: Callable[[Any], Answer]) -> Answer:
        client = self._client()
        try:
            return job(client)
        except Exception as error:  # noqa: BLE001  (the boundary of a thread's job)
            # The SDK and the libraries below it have no base in common; their texts hold URLs.
            raise self._unreachable(what, error) from None

    def _client(self) -> Any:  # noqa: ANN401  (the SDK has no types)
        client = getattr(self._local, "client", None)
        if client is None:
            with self._clients_lock:
                if self._spare:
                    client = self._spare.pop()
                else:
                    client = open_client(self._account, self._timeouts)
                    self._clients.append(client)
            self._local.client = client
        return client

    def _on_late_dial(self, dial: Future[Answer]) -> None:
        """End a call that was placed when nobody waited for it any more."""
        if dial.cancelled() or dial.exception() is not None:
            return
        placed = _identity(dial.result().body.get("request_uuid"))
        if placed is None:
            return
        fields = {"provider_call_id": placed}
        logger.warning("a dial came through too late", extra=fields)
        try:
            # This may be the event loop, or a thread of ours.
            self._threads.submit(self._end_late, placed)
        except RuntimeError:
            logger.warning("a late call is left to its webhooks", extra=fields)

    def _end_late(self, placed: str) -> None:
        try:
            ended = self._in_thread("hang-up", lambda client: client.calls.delete(placed))
            if ended.status == _HTTP_NOT_FOUND:
                self._in_thread("hang-up", lambda client: client.calls.cancel(placed))
        except CarrierError as error:
            fields = {"provider_call_id": placed, "reason": str(error)}
            logger.warning("a late call was not ended", extra=fields)

    # --- errors -------------------------------------------------------------------------------

    def _refusal(self, what: str, answer: Answer) -> CarrierError:
        reason = self._remark(answer.body.get("error")) or "no reason given"
        return CarrierError(
            f"plivo refused a {what} with HTTP {answer.status}: {reason}",
            retryable=what in _REPEATABLE and answer.status >= _HTTP_SERVER_ERROR,
            status=answer.status,
        )

    def _unreachable(self, what: str, error: Exception) -> CarrierError:
        from plivo.exceptions import ValidationError  # noqa: PLC0415  (only who calls through Plivo has it)

        if isinstance(error, ValidationError):
            reason = self._remark(str(error))
            return CarrierError(f"plivo takes no such {what}: {reason}", status="validation")
        return CarrierError(
            f"plivo could not be reached for a {what}: {type(error).__name__}",
            retryable=what in _REPEATABLE,
        )

    def _remark(self, said: object) -> str:
        """Plivo's own words, without secrets and numbers."""
        if not isinstance(said, str):
            return ""
        for secret in (self._account.auth_token, self._account.auth_id):
            said = said.replace(secret, "***")
        return _DIGITS.sub("***", said)[:_REMARK_MAX_CHARS]


def _identity(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _ending(record: Answer) -> Ending:
    said = {key: str(value) for key, value in record.body.items() if value is not None}
    direction = said.get("call_direction", "")
    return Ending(
        status=said.get("call_status", said.get("call_state", "")),
        code=said.get("hangup_cause_code", ""),
        cause=said.get("hangup_cause_name", said.get("hangup_cause", "")),
        source=said.get("hangup_source", ""),
        direction=Direction(direction) if direction in {"inbound", "outbound"} else None,
    )
