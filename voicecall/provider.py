"""The configured carrier: its calling side, its webhooks, its media dialect, joined together.

What the rest of the server sees of a carrier is one `Provider`; which of the four it is, only this
module knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from voicecall.call.machine import ALIAS
from voicecall.carriers._prompts import Prompts
from voicecall.carriers.mock.client import MockCarrier
from voicecall.carriers.mock.webhook import MockWebhook
from voicecall.carriers.twilio.stream import TwilioDialect
from voicecall.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from voicecall.call.events import CallEvent
    from voicecall.call.record import CallRecord
    from voicecall.carriers._stream import Dialect
    from voicecall.clock import Clock
    from voicecall.config.schema import Config
    from voicecall.manager.restore import ConnectMedia
    from voicecall.ports import Carrier, CarrierTransfer, CarrierVoice, StreamUrls, Webhook
    from voicecall.simulator.callee import Callee

_MARGIN_S: Final = 60
# All three end calls after four hours if they are told nothing else.
_CARRIERS_LIMIT_S: Final = 14_400

Emit: TypeAlias = Callable[["CallEvent"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a carrier's REST interface may take, in seconds.

    Attributes:
        dial_s: to place a call, until whoever wanted it is told that it failed.
        late_dial_s: to place a call, until nobody listens any more; an answer that comes before
            names a call that has to be hung up.
        request_s: to do anything else.
    """

    dial_s: float = 15.0
    late_dial_s: float = 30.0
    request_s: float = 9.0


@dataclass(frozen=True, slots=True)
class Needs:
    """What every carrier is made from.

    Attributes:
        config: complete configuration.
        clock: the time.
        urls: where media are streamed; None without media streaming.
        emit: takes events that no webhook brings.
        patience: how long its requests may take.
    """

    config: Config
    clock: Clock
    urls: StreamUrls | None
    emit: Emit
    patience: Patience = Patience()


@dataclass(frozen=True, slots=True)
class Provider:
    """A carrier, whole.

    Attributes:
        carrier: places and ends calls.
        webhook: reads what it reports.
        dialect: how its media sockets talk.
        report_to: told, once it is known, the URL at which our webhook is reached.
        voice: its own speech, for calls without media streaming; None where it has none.
        connect_media: has it stream a live call's media to a new URL; None where a call asks by
            itself.
        recall: told of each call that an earlier process left, as it was stored, before anything
            else is done about it.
        pick_up: answers an inbound call in the background, once however often it is asked; None
            where the answer to a webhook does it.
        verify_upgrade: raises `VerificationError` for a media socket's (URL, signature) that is not
            its own; None where upgrades are not signed.
        transfer: hands calls on; None where it cannot.
        keys_cut_media: whether it can send keys only by cutting a call's media stream.
    """

    carrier: Carrier
    webhook: Webhook
    dialect: Dialect
    report_to: Callable[[str], None] = lambda _: None
    voice: CarrierVoice | None = None
    connect_media: ConnectMedia | None = None
    recall: Callable[[Mapping[str, Any]], None] = lambda _: None
    pick_up: Callable[[CallRecord], None] | None = None
    verify_upgrade: Callable[[str, str], None] | None = None
    transfer: CarrierTransfer | None = None
    keys_cut_media: bool = False


def provider(needs: Needs, callee: Callee) -> Provider:
    """The carrier that the configuration names.

    To be made before calls are handled: loading a vendor's package may take seconds.

    Args:
        needs: what it is made from.
        callee: whom calls through the mock carrier reach.

    Raises:
        ConfigError: something is missing; the message names the key.
        DependencyMissing: the vendor's package is not installed.
    """
    if needs.config.provider == "mock":
        return _mock(needs, callee)
    return _VENDORS[needs.config.provider](needs)


def _mock(needs: Needs, callee: Callee) -> Provider:
    carrier = MockCarrier(
        needs.config.mock.phone,
        clock=needs.clock,
        emit=needs.emit,
        ring=callee.ring,
        press=callee.press,
    )
    return Provider(
        carrier, MockWebhook(needs.clock, needs.urls), TwilioDialect(), transfer=carrier
    )


# Each imports its own modules: what belongs to one vendor is loaded by its customers only.


def _twilio(needs: Needs) -> Provider:
    from voicecall.carriers.twilio.client import Dialing, TwilioCarrier  # noqa: PLC0415
    from voicecall.carriers.twilio.instructions import Instructions, Manner  # noqa: PLC0415
    from voicecall.carriers.twilio.markup import voice_named  # noqa: PLC0415
    from voicecall.carriers.twilio.rest import Account, Timeouts  # noqa: PLC0415
    from voicecall.carriers.twilio.signature import SignatureVerifier  # noqa: PLC0415
    from voicecall.carriers.twilio.webhook import TwilioWebhook  # noqa: PLC0415

    config, account = needs.config, needs.config.twilio
    auth_token = _secret(account.auth_token, "twilio.authToken")
    voice = voice_named(account.voice or config.tts.openai.voice)
    instructions = Instructions(
        "", urls=needs.urls, prompts=Prompts(), manner=Manner(voice, account.language)
    )
    carrier = TwilioCarrier(
        Account(
            _given(account.account_sid, "twilio.accountSid"),
            auth_token,
            account.region,
            account.api_base_url,
        ),
        instructions,
        clock=needs.clock,
        dialing=Dialing(account.detect_machines, _limit_s(config)),
        timeouts=Timeouts(needs.patience.late_dial_s, needs.patience.request_s),
    )
    verifier = SignatureVerifier(auth_token)

    def report_to(url: str) -> None:
        instructions.webhook_url = url

    return Provider(
        carrier,
        TwilioWebhook(verifier, instructions, needs.clock),
        TwilioDialect(),
        report_to=report_to,
        voice=carrier,
        transfer=carrier,
        verify_upgrade=None if config.skip_signature_verification else verifier.verify_upgrade,
        keys_cut_media=True,
    )


def _telnyx(needs: Needs) -> Provider:
    from voicecall.carriers.telnyx.client import TelnyxCarrier  # noqa: PLC0415
    from voicecall.carriers.telnyx.markup import ClientState, TelnyxSettings  # noqa: PLC0415
    from voicecall.carriers.telnyx.signature import SignatureVerifier  # noqa: PLC0415
    from voicecall.carriers.telnyx.stream import TelnyxDialect  # noqa: PLC0415
    from voicecall.carriers.telnyx.webhook import TelnyxWebhook  # noqa: PLC0415

    config, account = needs.config, needs.config.telnyx
    settings = TelnyxSettings(
        _secret(account.api_key, "telnyx.apiKey"),
        _given(account.connection_id, "telnyx.connectionId"),
        base_url=account.api_base_url,
        from_number=config.from_number,
        language=account.language,
        detect_machines=account.detect_machines,
        max_duration_s=_limit_s(config),
    )
    if account.voice:
        settings = replace(settings, voice=account.voice)
    carrier = TelnyxCarrier(
        settings,
        clock=needs.clock,
        emit=needs.emit,
        urls=needs.urls,
        timeout_s=needs.patience.request_s,
    )
    verifier = None
    if not config.skip_signature_verification:
        key = _given(account.public_key, "telnyx.publicKey")
        verifier = SignatureVerifier(key, needs.clock)

    async def connect_media(record: CallRecord, url: str) -> None:
        state = ClientState(record.call_id, record.direction, streams=True)
        await carrier.start_stream(record.provider_call_id or "", state, url)

    return Provider(
        carrier,
        TelnyxWebhook(verifier, desk=carrier),
        TelnyxDialect(),
        report_to=carrier.report_to,
        voice=carrier,
        connect_media=connect_media,
        pick_up=carrier.pick_up,
        transfer=carrier,
    )


def _plivo(needs: Needs) -> Provider:
    from voicecall.carriers.plivo.client import Dialing, PlivoCarrier  # noqa: PLC0415
    from voicecall.carriers.plivo.instructions import Instructions, Manner  # noqa: PLC0415
    from voicecall.carriers.plivo.names import CallNames  # noqa: PLC0415
    from voicecall.carriers.plivo.rest import API_URL, Account, Timeouts  # noqa: PLC0415
    from voicecall.carriers.plivo.signature import SignatureVerifier  # noqa: PLC0415
    from voicecall.carriers.plivo.stream import PlivoDialect  # noqa: PLC0415
    from voicecall.carriers.plivo.webhook import PlivoWebhook  # noqa: PLC0415

    config, account, patience = needs.config, needs.config.plivo, needs.patience
    auth_token = _secret(account.auth_token, "plivo.authToken")
    names, reached_at = CallNames(), _Url()
    manner = Manner(language=account.language)
    if account.voice:
        manner = replace(manner, voice=account.voice)
    instructions = Instructions(
        reached_at.get, names=names, prompts=Prompts(), urls=needs.urls, manner=manner
    )
    carrier = PlivoCarrier(
        Account(
            _given(account.auth_id, "plivo.authId"), auth_token, account.api_base_url or API_URL
        ),
        instructions,
        names=names,
        clock=needs.clock,
        dialing=Dialing("hint" if account.detect_machines else "off", _limit_s(config)),
        timeouts=Timeouts(
            read_s=patience.dial_s, dial_s=patience.late_dial_s, request_s=patience.request_s
        ),
    )
    verifier = None if config.skip_signature_verification else SignatureVerifier(auth_token)

    def recall(stored: Mapping[str, Any]) -> None:
        request_uuid = stored.get("providerCallId")
        call_uuid = (stored.get("metadata") or {}).get(ALIAS)
        if request_uuid and call_uuid:
            names.learn(request_uuid, call_uuid)

    return Provider(
        carrier,
        PlivoWebhook(verifier, instructions, names=names, clock=needs.clock),
        PlivoDialect(names),
        report_to=reached_at.set,
        voice=carrier,
        recall=recall,
        transfer=carrier,
    )


def _given(value: str | None, key: str) -> str:
    if value is None:
        raise ConfigError(f"{key}: is required for this provider")
    return value


def _secret(value: SecretStr | None, key: str) -> str:
    return _given(None if value is None else value.get_secret_value(), key)


def _limit_s(config: Config) -> int:
    """When the carrier itself ends a call, should we be gone: after we would have."""
    return min(config.max_duration_seconds + _MARGIN_S, _CARRIERS_LIMIT_S)


_VENDORS: Mapping[str, Callable[[Needs], Provider]] = {
    "twilio": _twilio,
    "telnyx": _telnyx,
    "plivo": _plivo,
}


class _Url:
    """A URL that is known only once everything listens."""

    def __init__(self) -> None:
        self._url = ""

    def get(self) -> str:
        return self._url

    def set(self, url: str) -> None:
        self._url = url
