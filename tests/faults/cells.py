"""One cell of the matrix: a call on which something goes wrong, and what came of it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.site import Refusal, Site, site, stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.faults.rows import Row
    from tests.faults.site import CarrierName
    from voicecall.call.record import CallRecord
    from voicecall.simulator.exchange.line import Ending

# The slowest end is that of a call which the carrier has to be asked twice to hang up.
_ENDS_WITHIN_S = 10.0

DESK = "+15550000003"

# What the carrier was told to do, by us or by what it was answered, looks the same to the callee.
_WHO: Mapping[Ending | None, str] = {
    None: "nobody hung up",
    "party": "the callee hung up",
    "api": "hung up",
    "carrier": "hung up",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A call as the carrier saw it.

    Attributes:
        ending: who ended it; None while it is alive.
        sockets: how many media sockets it had.
    """

    ending: Ending | None
    sockets: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call.

    Attributes:
        refusal: the error that the client of the server got; None when it got what it asked for.
        record: the call as the server knew it in the end.
        seen: what the carrier saw until then, for each time it was asked to dial and did.
        slots: how many the server held then.
        left: what the store had when the server was gone.
    """

    refusal: Refusal | None
    record: CallRecord
    seen: Sequence[Seen]
    slots: int
    left: Sequence[object]

    @property
    def problems(self) -> list[str]:
        """What must not happen, whatever goes wrong."""
        wrong = {
            f"dialled {len(self.seen)} times": len(self.seen) > 1,
            "alive at the carrier": any(call.ending is None for call in self.seen),
            "not ended": not self.record.state.terminal,
            f"{self.slots} slots not released": self.slots != 0,
            "not stored as it was": list(self.left) != [self.record.to_json()],
        }
        return [problem for problem, there in wrong.items() if there]

    def __str__(self) -> str:
        return "; ".join([self._client(), f"`{self._reason()}`", self._line(), *self._wrong()])

    def _client(self) -> str:
        if self.refusal is None:
            return "done"
        again = ", retryable" if self.refusal.retryable else ""
        status = "" if self.refusal.status is None else f" {self.refusal.status}"
        return f"`{self.refusal.code}`{status}{again}"

    def _reason(self) -> str:
        return self.record.end_reason.value if self.record.end_reason else "-"

    def _line(self) -> str:
        if not self.seen:
            return "nobody was called"
        call = self.seen[0]
        sockets = f", {call.sockets} sockets" if call.sockets > 1 else ""
        return f"{_WHO[call.ending]}{sockets}"

    def _wrong(self) -> list[str]:
        return [f"**{problem}**" for problem in self.problems]


async def hold(row: Row, carrier: CarrierName) -> Outcome | None:
    """Hold a call on which `row` happens; None where it cannot happen."""
    place = row.place(carrier)
    if place is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "calls.sqlite")
        async with site(
            carrier, row.party(), store, patience=row.patience, settings=row.settings
        ) as held:
            held.exchange.faults.add(place, row.fault)
            refusal = await _call(held, row)
            await held.ended(_ENDS_WITHIN_S)
            record, slots = await held.record(), held.server.manager.live_count
            seen = [Seen(line.reason, line.sockets) for line in held.lines]
        return Outcome(refusal, record, seen, slots, await stored(store))


async def _call(held: Site, row: Row) -> Refusal | None:
    refusal = await held.call()
    if refusal is None and row.ended_here:
        record = await held.answered()
        refusal = await held.ask("end", callId=record.call_id)
    if refusal is None and row.handed_on:
        record = await held.talking()
        refusal = await held.ask("transfer", callId=record.call_id, to=DESK)
    return refusal
