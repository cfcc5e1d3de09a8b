"""Remind people of their appointments: call each, say it, and list who has heard it.

python examples/appointment_reminder.py
python examples/appointment_reminder.py --config voicecall.json5 --to +15551234567
"""

from __future__ import annotations

import asyncio

from invocation import configuration, dialling

from voicecall import Server, VoicecallError


async def remind(server: Server, number: str, when: str) -> str:
    """Call one person; what came of it."""
    message = f"Hello. This is a reminder of your appointment at Riverside Clinic {when}."
    try:
        call = await server.calls.initiate(message, to=number, mode="notify")
    except VoicecallError as error:
        # Not reachable, refused, no line free: the message says which and what to do.
        return f"not called: {error}"
    record = await call.ended()
    heard = " ".join(entry.text for entry in record.transcript if entry.speaker == "bot")
    if heard == message:
        return "has heard it"
    return f"{record.end_reason}, heard: {heard!r}" if heard else f"{record.end_reason}"


async def main() -> None:
    options = dialling("Remind people of their appointments.").parse_args()
    appointments = {options.to: "on Tuesday at ten"}
    if options.config is None:
        # Nobody is disturbed.
        appointments["+15550005678"] = "on Tuesday at half past ten"
    async with Server(configuration(options.config, "listens.json5")) as server:
        outcomes = await asyncio.gather(
            *(remind(server, number, when) for number, when in appointments.items())
        )
    for number, outcome in zip(appointments, outcomes, strict=True):
        print(f"{number}: {outcome}")


asyncio.run(main())
