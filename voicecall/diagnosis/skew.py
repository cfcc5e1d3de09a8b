"""Whether this machine's clock agrees with the carrier's: signatures are valid for minutes only."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import httpx

from voicecall.diagnosis.check import fail, ok, skipped, warn
from voicecall.errors import RemoteError

if TYPE_CHECKING:
    from voicecall.clock import Clock
    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.network import Network

MOST_S: Final = 60
"""More is a failure: webhooks are believed for five minutes, and clocks that drift go on to."""
NOTICEABLE_S: Final = 5

_REMEDY = "sudo timedatectl set-ntp true"
_MS_PER_S = 1000


async def look_at_clock(api_url: str, network: Network, clock: Clock) -> Finding:
    """Compare our clock with the `Date` of an answer, whatever else that says.

    Args:
        api_url: of the carrier.
        network: the network.
        clock: ours.

    Raises:
        RemoteError: there is no answer.
    """
    before_ms = clock.wall_ms()
    try:
        async with network.client() as http:
            answer = await http.head(api_url)
    except httpx.HTTPError as error:
        raise RemoteError(f"{api_url} does not answer: {type(error).__name__}") from error
    after_ms = clock.wall_ms()
    theirs_ms = _date_ms(answer.headers.get("date", ""))
    if theirs_ms is None:
        return skipped(f"{api_url} does not say what time it is")
    # The date has whole seconds, cut off; and it was written at some time in between.
    if before_ms - _MS_PER_S <= theirs_ms <= after_ms:
        return ok("agrees with the carrier's")
    ours_ms = (before_ms + after_ms) / 2 - _MS_PER_S / 2
    ahead_s = (ours_ms - theirs_ms) / _MS_PER_S
    found = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the carrier's"
    if abs(ahead_s) > MOST_S:
        return fail(f"{found}: webhooks may be refused as too old", _REMEDY)
    return warn(found, _REMEDY) if abs(ahead_s) > NOTICEABLE_S else ok("agrees with the carrier's")


def _date_ms(said: str) -> float | None:
    try:
        return parsedate_to_datetime(said).timestamp() * _MS_PER_S
    except ValueError:
        return None
