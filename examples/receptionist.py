"""Answer the phone of a clinic: a language model talks, books with a function, and hands calls on.

With an account of a carrier and a key of OpenAI in the configuration, it answers until Ctrl-C:

    python examples/receptionist.py --config voicecall.json5 --doctor +15551234567

Without, somebody on this machine calls it, and a simulated service that speaks OpenAI's protocol
takes the place of a real model:

    python examples/receptionist.py
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from invocation import PHONES, arguments, configuration

from voicecall import Server, ToolContext, tool

if TYPE_CHECKING:
    from voicecall import Call, Config

GREETING = "Riverside Clinic, good morning. How can I help?"
PROMPT = (
    "You answer the phone of Riverside Clinic. Book appointments with the tool, after you have "
    "asked for a day. Hand the call on to the doctor if somebody is in pain. Be brief. Hang up "
    "when the caller says good bye."
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


def receptionist(config: Config, doctor: str) -> Config:
    """The configuration with everything that makes it a receptionist."""
    # The model knows the name only: nobody can talk it into calling another number.
    tools = config.tools.model_copy(update={"transfer": {"doctor": doctor}})
    return config.model_copy(
        update={
            "inbound_policy": "open",
            "inbound_greeting": GREETING,
            "response_system_prompt": PROMPT,
            "tools": tools,
        }
    )


async def show(call: Call) -> None:
    """Print what is said. The conversation is held by itself; this only watches."""
    print("call from", call.record.from_number, flush=True)
    async for event in call.events():
        if event["type"] == "call.speech":
            print("caller:", event["transcript"], flush=True)
        elif event["type"] == "call.spoken":
            print("   bot:", event["heard"], flush=True)


async def answer_calls(server: Server) -> None:
    """Show whoever calls, until cancelled."""
    async with asyncio.TaskGroup() as watching:
        async for call in server.calls.incoming():
            watching.create_task(show(call))


async def rehearse(config: Config, doctor: str) -> None:
    """Answer one simulated caller with a simulated model."""
    from voicecall.simulator import call_in, load_script
    from voicecall.simulator.models.brain import Brain, ToolRule, Use
    from voicecall.simulator.models.server import ModelServer

    booking = ToolRule("/tuesday|appointment/", (Use("book_appointment", {"day": "Tuesday"}),))
    async with ModelServer(brain=Brain(rules=[booking])) as model:
        openai = {"apiKey": model.world.api_key, "baseUrl": model.base_url, "api": "responses"}
        sections = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
        config = type(config).model_validate(
            {**sections, "openai": openai, "responseModel": "openai/gpt-6-luna"}
        )
        async with Server(receptionist(config, doctor), tools=[book_appointment]) as server:
            webhook_url = f"{server.control_url}/voice/webhook"
            script = load_script(PHONES / "books.json5")
            calling = asyncio.create_task(call_in(webhook_url, script))
            await show(await anext(server.calls.incoming()))
            await calling
    print("booked:", ", ".join(appointments.values()) or "nothing")


async def main() -> None:
    parser = arguments("Answer the phone of a clinic.")
    parser.add_argument(
        "--doctor", default="+15550004321", help="to whom calls are handed on (%(default)s)"
    )
    options = parser.parse_args()
    config = configuration(options.config, "books.json5")
    if options.config is None:
        await rehearse(config, options.doctor)
        return
    async with Server(receptionist(config, options.doctor), tools=[book_appointment]) as server:
        print("answering at", server.public_url or server.control_url, flush=True)
        await answer_calls(server)


with suppress(KeyboardInterrupt):
    asyncio.run(main())
