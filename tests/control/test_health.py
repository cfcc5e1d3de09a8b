from __future__ import annotations

import pytest

from tests.control.fakes import run, services, serving
from voicecall.control.health import UNVERIFIED_WARNING
from voicecall.control.services import WebhookSettings

pytestmark = pytest.mark.socket


def test_a_server_that_answers_is_alive() -> None:
    async def case() -> None:
        async with serving(services(readiness=lambda: {"ready": False})) as served:
            answer = await served.http.get("/healthz")
            assert (answer.status_code, answer.json()) == (200, {"status": "alive"})

    run(case)


def test_readiness_follows_the_state_of_the_moment() -> None:
    state = {"ready": True, "store": "ok"}

    async def case() -> None:
        async with serving(services(readiness=lambda: state)) as served:
            answer = await served.http.get("/readyz")
            assert (answer.status_code, answer.json()) == (200, {"ready": True, "store": "ok"})
            state.update(ready=False, store="draining")
            answer = await served.http.get("/readyz")
            assert (answer.status_code, answer.json()) == (503, state)

    run(case)


def test_readiness_warns_when_signatures_are_not_verified() -> None:
    async def case() -> None:
        control = services(
            webhooks=WebhookSettings(verify=False),
            readiness=lambda: {"ready": True, "warnings": ["other"]},
        )
        async with serving(control) as served:
            warnings = (await served.http.get("/readyz")).json()["warnings"]
            assert warnings == ["other", UNVERIFIED_WARNING]

    run(case)
