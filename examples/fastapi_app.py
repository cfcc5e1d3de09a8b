"""A web application with voicecall in it: POST /reminders places a call, GET looks at it.

    pip install fastapi 'uvicorn[standard]'
    python examples/fastapi_app.py
    curl -X POST 'http://127.0.0.1:8000/reminders?to=%2B15550001234&text=Remember+the+milk'

Carriers reach its webhook under the prefix: `publicUrl` is https://your-host/phone/voice/webhook.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, HTTPException
from invocation import arguments, configuration

from voicecall import VoicecallError, create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

parser = arguments("A web application with voicecall in it.")
parser.add_argument("--port", type=int, default=8000, help="where to listen (%(default)s)")
options = parser.parse_args()

here = f"http://127.0.0.1:{options.port}/phone/voice/webhook"
phone = create_app(configuration(options.config, "listens.json5", publicUrl=here))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Applications that are mounted in another get no lifespan; so it is entered here."""
    async with phone.running():
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/reminders", status_code=201)
async def remind(to: str, text: str) -> dict[str, str]:
    """Place a call that says `text`."""
    try:
        call = await phone.calls.initiate(text, to=to, mode="notify")
    except VoicecallError as error:
        raise HTTPException(422, str(error)) from error
    return {"callId": call.id}


@app.get("/reminders/{call_id}")
async def look(call_id: str) -> dict[str, Any]:
    """How a call stands."""
    record = await phone.calls.lookup(call_id)
    if record is None:
        raise HTTPException(404, "no such call")
    return record.to_json()


# Webhooks, RPC, events and, without a port of their own, media sockets.
app.mount("/phone", phone)

if __name__ == "__main__":
    # Whoever follows the events would keep it from stopping.
    uvicorn.run(app, port=options.port, timeout_graceful_shutdown=5)
