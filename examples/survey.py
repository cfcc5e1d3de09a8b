"""Ask two questions, and thank for the answers.

python examples/survey.py
python examples/survey.py --config voicecall.json5 --to +15551234567
"""

from __future__ import annotations

import asyncio
import json

from invocation import configuration, dialling

from voicecall import Call, CallHasEnded, Server, TranscriptTimeout

QUESTIONS = {
    "score": "From one to ten, how happy are you with our service?",
    "reason": "What could we do better?",
}


async def main() -> None:
    options = dialling("Ask two questions.").parse_args()
    answers: dict[str, str] = {}

    async def ask(call: Call) -> None:
        """Hold the call; it ends when this returns."""
        try:
            for name, question in QUESTIONS.items():
                answers[name] = await call.ask(question)
            await call.say("Thank you very much. Good bye.")
        except TranscriptTimeout:
            await call.say("I cannot hear you. I will try another time.")
        except CallHasEnded:
            # Hung up. What was answered before is kept.
            pass

    async with Server(configuration(options.config, "answers.json5"), on_call=ask) as server:
        greeting = "Hello, this is Riverside Clinic, with two short questions."
        call = await server.calls.initiate(greeting, to=options.to, mode="conversation")
        record = await call.ended()
    print(json.dumps({"ended": str(record.end_reason), **answers}, indent=2))


asyncio.run(main())
