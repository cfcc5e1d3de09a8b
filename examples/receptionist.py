"""Answer the phone of a clinic: a language model talks, and books appointments with a function.

With an account of a carrier and a key of OpenAI in the configuration, it answers until Ctrl-C:

    python examples/receptionist.py --config voicecall.json5

Without, a simulated phone is called as if it had called, and a simulated service of this machine
speaks OpenAI's protocol in the place of a real model:

    python examples/receptionist.py
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from common import arguments, configuration

from voicecall import Server, ToolContext, tool

if TYPE_CHECKING:
    from voicecall import Config

PROMPT = (
    "You answer the phone of Riverside Clinic. Book appointments with the tool, after you have "
    "asked for a day. Be brief. Hang up when the caller says good bye."
)
appointments: dict[str, str] = {}


@tool
def book_appointment(day: str, context: ToolContext) -> str:
    """Book an appointment for the caller.

    Args:
        day: day of the week.
        context: which call it is; the model does not see it.
    """
    if day in appointments.values():
        return f"{day} is taken."
    # A database would be asked here; tools may block, each has a thread.
    appointments[context.call_id] = day
    return f"You have an appointment on {day} at ten."


def receptionist(config: Config) -> Config:
    """The configuration with everything that makes it a receptionist."""
    return config.model_copy(
        update={
            "inbound_policy": "open",
            "inbound_greeting": "Riverside Clinic, good morning. How can I help?",
            "response_system_prompt": PROMPT,
        }
    )


async def answer_calls(config: Config) -> None:
    """Answer whoever calls, until Ctrl-C."""
    async with Server(receptionist(config), tools=[book_appointment]) as server:
        print("answering at", server.public_url or server.control_url)
        async for call in server.calls.incoming():
            # The conversation is held by itself; this only watches.
            print("call from", call.record.from_number)


async def rehearse(config: Config, to: str) -> None:
    """One call with a simulated caller and a simulated model."""
    from voicecall.simulator.models.brain import Brain, ToolRule, Use
    from voicecall.simulator.models.server import ModelServer

    booking = ToolRule("/tuesday|appointment/", (Use("book_appointment", {"day": "Tuesday"}),))
    async with ModelServer(brain=Brain(rules=[booking])) as model:
        openai = {"apiKey": model.world.api_key, "baseUrl": model.base_url, "api": "responses"}
        sections = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
        config = type(config).model_validate(
            {**sections, "openai": openai, "responseModel": "openai/gpt-6-luna"}
        )
        async with Server(receptionist(config), tools=[book_appointment]) as server:
            greeting = "Riverside Clinic, good morning. How can I help?"
            call = await server.calls.initiate(greeting, to=to, mode="conversation")
            async for event in call.events():
                if event["type"] == "call.speech":
                    print("caller:", event["transcript"])
                elif event["type"] == "call.spoken":
                    print("   bot:", event["heard"])
    print("booked:", ", ".join(appointments.values()) or "nothing")


async def main() -> None:
    options = arguments("Answer the phone of a clinic.").parse_args()
    config = configuration(options.config, "books.json5")
    if options.config is not None:
        await answer_calls(config)
    else:
        await rehearse(config, options.to)


asyncio.run(main())
