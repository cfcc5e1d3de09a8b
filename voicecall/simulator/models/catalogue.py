"""`GET /v1/models`: the models there are, some of which are about to be shut down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openai.types import Model
from starlette.responses import JSONResponse
from starlette.routing import Route

from voicecall.simulator.models.api import error_body, refusal_response
from voicecall.simulator.models.vendor_types import made

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from voicecall.simulator.models.world import World

SERVICE = "models"
_CREATED_S = 1_700_000_000

# Any name is accepted by the other services; these are listed, with their last day.
MODELS: dict[str, str | None] = {
    "gpt-6-luna": None,
    "gpt-6.1-terra": None,
    "gpt-realtime-2.1": None,
    "gpt-realtime-2.1-mini": None,
    "gpt-live-1": None,
    "gpt-live-transcribe": None,
    "gpt-transcribe": None,
    "gpt-realtime-whisper": None,
    "gpt-4o-mini-tts": "2027-01-06",
    "gpt-4o-transcribe": "2027-02-26",
}


def routes(world: World) -> list[BaseRoute]:
    """The list, and one model of it."""

    def refused(request: Request) -> Response | None:
        world.note(SERVICE, request.url.path, {}, request.headers)
        if not world.authorized(request.headers):
            return JSONResponse(error_body("Incorrect API key.", code="invalid_api_key"), 401)
        refusal = world.faults.begin(SERVICE).refusal
        return None if refusal is None else refusal_response(refusal)

    async def every(request: Request) -> Response:
        listed = [_model(name).model_dump(exclude_unset=True) for name in MODELS]
        return refused(request) or JSONResponse({"object": "list", "data": listed})

    async def one(request: Request) -> Response:
        name = request.path_params["model"]
        if (refusal := refused(request)) is not None:
            return refusal
        if name not in MODELS:
            message = f"The model '{name}' does not exist."
            body = error_body(message, code="model_not_found", param="model")
            return JSONResponse(body, 404)
        return JSONResponse(_model(name).model_dump(exclude_unset=True))

    return [Route("/v1/models", every), Route("/v1/models/{model}", one)]


def _model(name: str) -> Model:
    shutdown = MODELS[name]
    extra = {} if shutdown is None else {"shutdown_date": shutdown}
    return made(Model, id=name, created=_CREATED_S, owned_by="simulated", **extra)
