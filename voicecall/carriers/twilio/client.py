"""Twilio's calling side: placing, ending and steering calls, and its own speech."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from voicecall.carriers.twilio import markup
from voicecall.carriers.twilio.faults import MAY_BE_DONE, Refused
from voicecall.carriers.twilio.rest import Account, Rest, Timeouts
from voicecall.carriers.twilio.webhook import LIVE_STATUSES, direction, end_reason
from voicecall.errors import CarrierError, InvalidRequest
from voicecall.ports import CarrierStatus, DialRequest

if TYPE_CHECKING:
    from voicecall.carriers._prompts import Prompt
    from voicecall.carriers.twilio.instructions import Instructions
    from voicecall.clock import Clock

MAX_DIGITS_ON_ANSWER: Final = 32
RING_LIMITS_S: Final = (1, 600)

_MS_PER_S = 1000
_STATUS_EVENTS = ["initiated", "ringing", "answered", "completed"]
# Ids become part of a request's path. Ours are Twilio's, a media socket may name any.
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")

logger = logging.getLogger("voicecall.carriers.twilio")


@dataclass(frozen=True, slots=True)
class Dialing:
    """How calls are placed.

    Attributes:
        detect_machines: whether Twilio listens for answering machines beside the call, which costs
            extra.
        max_duration_s: Twilio itself ends calls that last longer, even if we are gone; None for
            its own limit of four hours.
    """

    detect_machines: bool = False
    max_duration_s: int | None = None


class TwilioCarrier:
    """`ports.Carrier` of Twilio, and `ports.CarrierVoice` for calls without a media stream.

    To be made before calls are handled: loading the SDK takes a few hundred milliseconds.

    Args:
        account: whose calls they are.
        instructions: what calls do next; also makes the URLs that Twilio reports to.
        clock: measures how long Twilio wants to be left alone.
        dialing: how calls are placed.
        timeouts: deadlines of requests.

    Raises:
        DependencyMissing: the SDK is not installed.
    """

    def __init__(
        self,
        account: Account,
        instructions: Instructions,
        *,
        clock: Clock,
        dialing: Dialing | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._instructions = instructions
        self._dialing = dialing or Dialing()
        self._rest = Rest(account, clock, timeouts)

    @property
    def name(self) -> str:
        """`twilio`."""
        return "twilio"

    async def dial(self, request: DialRequest) -> str:
        """Place a call: one request, whatever comes of it.

        Media are connected when the call is answered, to a URL made then.

        Raises:
            InvalidRequest: something is asked for that Twilio cannot do. Nothing was sent.
            CarrierError: Twilio refused, or it is not known what it did; the latter is never
                `retryable`, and webhooks with our id of the call tell if it was placed.
        """
        return await self._rest.create(self._call(request))

    async def hang_up(self, provider_call_id: str) -> None:
        """End a call; one that is over or unknown to Twilio is a success. Raises CarrierError."""
        self._instructions.prompts.cut(provider_call_id)
        try:
            await self._update("hang up", provider_call_id, status="completed")
        except Refused as refused:
            if not (refused.over or refused.unknown):
                raise

    async def send_dtmf(self, provider_call_id: str, digits: str) -> None:
        """Send keys; returns before they have sounded.

        Twilio has no other way than to stop what the call does: a media stream is cut, and
        connected again after the last key; what Twilio is saying is not said on.

        Raises:
            CarrierError: Twilio refused, or did not answer.
        """
        self._instructions.prompts.cut(provider_call_id)
        await self._update("send keys", provider_call_id, twiml=self._instructions.keys(digits))

    async def transfer(self, provider_call_id: str, to: str) -> None:
        """Connect the call with `to`, once, whatever it does; returns before `to` picks up.

        A media stream is cut. The call ends when `to` does not pick up, or hangs up.

        Raises:
            CarrierError: Twilio refused, or it is not known what it did; the latter is never
                `retryable`.
        """
        self._instructions.prompts.cut(provider_call_id)
        await self._rest.update(
            "hand the call on",
            _checked(provider_call_id),
            {"twiml": self._instructions.transfer(to)},
            doubt=MAY_BE_DONE,
        )

    async def status(self, provider_call_id: str) -> CarrierStatus:
        """Look the call up. Raises CarrierError."""
        try:
            status, placed_by = await self._rest.fetch(_checked(provider_call_id))
        except Refused as refused:
            if refused.unknown:
                return CarrierStatus(alive=False)
            raise
        reason = end_reason(status, direction(placed_by))
        return CarrierStatus(alive=status in LIVE_STATUSES, end_reason=reason)

    async def close(self) -> None:
        """Cut what is being said, and free the connections."""
        self._instructions.prompts.close()
        await self._rest.close()

    # --- without media streaming --------------------------------------------------------------

    async def say(self, provider_call_id: str, text: str) -> bool:
        """Say `text` in Twilio's own voice, instead of what the call does; returns when it is over.

        It is cut by the next text, by keys that are sent, and by the end of the call. A media
        stream would be cut by it, and connected again afterwards.

        Returns:
            whether it was said to its end.

        Raises:
            CarrierError: Twilio refused, or did not answer.
        """

        async def push(prompt: Prompt) -> None:
            twiml = self._instructions.speech(prompt)
            await self._update("speak", provider_call_id, twiml=twiml)

        for piece in markup.pieces(text):
            if not await self._instructions.prompts.say(provider_call_id, piece, push):
                return False
        return True

    async def stop_speaking(self, provider_call_id: str) -> None:
        """Cut what Twilio is saying; the call goes on listening. Raises CarrierError."""
        self._instructions.prompts.cut(provider_call_id)
        await self._update("stop speaking", provider_call_id, twiml=self._instructions.silence())

    async def listen(self, provider_call_id: str) -> None:
        """Nothing: a conversation that says nothing listens, by what it is answered."""

    # --- requests -----------------------------------------------------------------------------

    async def _update(self, what: str, provider_call_id: str, **parameters: str) -> None:
        await self._rest.update(what, _checked(provider_call_id), parameters)

    def _call(self, request: DialRequest) -> dict[str, Any]:
        callback, dialing = self._instructions.callback, self._dialing
        low, high = RING_LIMITS_S
        parameters: dict[str, Any] = {
            "to": request.to,
            "from_": request.from_number,
            "url": callback(callId=request.call_id),
            "method": "POST",
            "status_callback": callback(callId=request.call_id, kind="status"),
            "status_callback_method": "POST",
            "status_callback_event": _STATUS_EVENTS,
            "timeout": min(max(math.ceil(request.ring_timeout_ms / _MS_PER_S), low), high),
        }
        if dialing.max_duration_s is not None:
            parameters["time_limit"] = dialing.max_duration_s
        if request.dtmf_sequence:
            if dialing.detect_machines:
                raise InvalidRequest(
                    "Twilio detects no machines on calls that it sends keys on when they are "
                    "answered: send them later, or set twilio.detectMachines to false",
                    call_id=request.call_id,
                )
            parameters["send_digits"] = _digits_on_answer(request)
        elif dialing.detect_machines:
            parameters["machine_detection"] = "Enable"
            # Otherwise the callee would hear nothing until the verdict.
            parameters["async_amd"] = "true"
            parameters["async_amd_status_callback"] = callback(
                callId=request.call_id, kind="machine"
            )
            parameters["async_amd_status_callback_method"] = "POST"
        return parameters


def _digits_on_answer(request: DialRequest) -> str:
    digits = request.dtmf_sequence or ""
    if len(digits) > MAX_DIGITS_ON_ANSWER:
        raise InvalidRequest(
            f"Twilio sends at most {MAX_DIGITS_ON_ANSWER} keys when a call is answered",
            call_id=request.call_id,
        )
    return digits


def _checked(provider_call_id: str) -> str:
    if not _ID.fullmatch(provider_call_id):
        raise CarrierError("that is no id of a call at Twilio", status="unknown")
    return provider_call_id
