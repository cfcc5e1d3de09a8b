from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.control.fakes import BEARER, run, services, serving
from voicecall.clock import ManualClock
from voicecall.control.app import CHALLENGE_PATH
from voicecall.control.challenge import MAX_OPEN, VALID_S

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.socket

PATH = "/voice/webhook"


async def given(http: httpx.AsyncClient) -> tuple[str, str]:
    answer = await http.post(CHALLENGE_PATH, headers=BEARER)
    assert answer.status_code == 200
    told = answer.json()
    return told["question"], told["answer"]


async def asked(http: httpx.AsyncClient, question: str) -> tuple[int, str]:
    answer = await http.get(PATH, params={"challenge": question})
    return answer.status_code, answer.text


def test_a_question_is_answered_at_the_webhook_by_nobody_else() -> None:
    async def case() -> None:
        async with serving(services()) as here, serving(services()) as elsewhere:
            question, answer = await given(here.http)
            assert await asked(here.http, question) == (200, answer)
            assert (await asked(elsewhere.http, question))[0] == 405

    run(case)


def test_questions_are_given_only_to_those_with_the_token() -> None:
    async def case() -> None:
        async with serving(services()) as here:
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                answer = await here.http.post(CHALLENGE_PATH, headers=headers)
                assert answer.status_code == 401

    run(case)


@pytest.mark.parametrize("question", ["", "0" * 32, "x"])
def test_what_was_not_given_out_is_refused_like_any_other_get(question: str) -> None:
    async def case() -> None:
        async with serving(services()) as here:
            answer = await here.http.get(PATH, params={"challenge": question})
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    run(case)


def test_a_question_is_forgotten_after_a_minute_and_when_there_are_too_many() -> None:
    async def case() -> None:
        clock = ManualClock()
        async with serving(services(clock=clock)) as here:
            early, _ = await given(here.http)
            clock.advance_ms((VALID_S + 1) * 1000)
            assert (await asked(here.http, early))[0] == 405
            first, _ = await given(here.http)
            second, answer = await given(here.http)
            for _ in range(MAX_OPEN - 1):
                await given(here.http)
            assert (await asked(here.http, first))[0] == 405
            assert await asked(here.http, second) == (200, answer)

    run(case)
