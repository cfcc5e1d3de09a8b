"""What is asked of every carrier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from voicecall.diagnosis.check import warn

if TYPE_CHECKING:
    from pydantic import SecretStr

    from voicecall.clock import Clock
    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be known about a number.

    Attributes:
        number: that we call from, E.164.
        webhook_url: where calls to it have to be reported; None when no calls are taken, or the URL
            is not known before a tunnel is open.
    """

    number: str
    webhook_url: str | None = None


class CarrierQuestions(Protocol):
    """Harmless requests to a carrier, with the account's credentials."""

    @property
    def api_url(self) -> str:
        """Where its API is."""
        ...

    @property
    def remedy(self) -> str:
        """Where its credentials are found, and where they are set."""
        ...

    async def credentials(self) -> Finding:
        """Whether they are accepted. Raises VoicecallError when not."""
        ...

    async def number(self, question: Question) -> Finding:
        """Whether the account has the number. Raises VoicecallError when that is not told."""
        ...

    async def close(self) -> None:
        """Free what was used."""
        ...


def questions(config: Config, clock: Clock, timeout_s: float) -> CarrierQuestions | None:
    """Those to the configured carrier; None to the mock carrier, which has no accounts.

    Args:
        config: complete configuration.
        clock: the time.
        timeout_s: how long an answer may take.
    """
    # Each imports its own modules, as the carriers themselves do.
    match config.provider:
        case "twilio":
            from voicecall.diagnosis.vendors.twilio import TwilioQuestions  # noqa: PLC0415

            return TwilioQuestions(config, clock, timeout_s)
        case "telnyx":
            from voicecall.diagnosis.vendors.telnyx import TelnyxQuestions  # noqa: PLC0415

            return TelnyxQuestions(config, timeout_s)
        case "plivo":
            from voicecall.diagnosis.vendors.plivo import PlivoQuestions  # noqa: PLC0415

            return PlivoQuestions(config, timeout_s)
        case "mock":
            return None


def api_base_url(config: Config) -> str | None:
    """Of the configured carrier, where it is not the carrier's own."""
    urls = {
        "twilio": config.twilio.api_base_url,
        "telnyx": config.telnyx.api_base_url,
        "plivo": config.plivo.api_base_url,
    }
    return urls.get(config.provider)


def secret(value: SecretStr | None) -> str:
    """A secret in the clear; empty when there is none."""
    return value.get_secret_value() if value else ""


def reported_elsewhere(question: Question, url: str) -> Finding | None:
    """What to say of a number whose calls are not reported to us; None where they are, or need not.

    Args:
        question: says where they should be.
        url: where they are.
    """
    wanted = question.webhook_url
    if wanted is None or url.rstrip("/") == wanted.rstrip("/"):
        return None
    parts = urlsplit(url)
    # Without what may be a password.
    host = parts.netloc.rpartition("@")[2]
    place = f"reported to {parts.scheme}://{host}{parts.path}" if url else "reported to nobody"
    return warn(
        f"belongs to the account, but calls to it are {place}",
        f"have the carrier's console report calls to {wanted}    (HTTP POST)",
    )
