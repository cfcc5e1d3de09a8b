from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.llm.modelserver import APIS, KEY, Api, ModelServer, events_of, refuses, run, sends
from voicecall.call.record import Speaker
from voicecall.errors import DependencyMissing, SpeechError
from voicecall.llm import openai_client
from voicecall.llm.openai_client import Account, OpenAIClient, failure, text_of
from voicecall.llm.transcript import Prompt, Said

if TYPE_CHECKING:
    from tests.llm.modelserver import Exchange

pytestmark = pytest.mark.socket

PROMPT = Prompt("c-1", "Be kind.", [Said(Speaker.USER, "Tell me everything.")])
both = pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)


async def failed(api: Api, *answers: Any) -> tuple[SpeechError, int]:
    """How a model fails whose server answers so, and how often that was asked."""
    async with ModelServer(*answers) as server:
        model = api.model(server.base_url)
        with pytest.raises(SpeechError) as raised:
            _ = [part async for part in model.stream(PROMPT)]
        await model.close()
        return raised.value, len(server.asked)


@both
@pytest.mark.parametrize(
    ("status", "error", "retryable", "hint"),
    [
        (
            400,
            {"code": "unsupported_parameter", "param": "reasoning.effort"},
            False,
            "know no tools",
        ),
        (401, {"code": "invalid_api_key"}, False, "check openai.apiKey"),
        (403, {}, False, "may not use this model"),
        (404, {"code": "model_not_found"}, False, "check responseModel and openai.baseUrl"),
        (408, {}, True, "HTTP 408"),
        (429, {"code": "rate_limit_exceeded"}, True, "rate limit"),
        (429, {"code": "insufficient_quota"}, False, "no credit"),
        (500, {"code": "server_error"}, True, "server_error"),
        (503, {}, True, "HTTP 503"),
    ],
)
def test_a_refusal_tells_status_code_and_what_to_do(
    api: Api, status: int, error: dict[str, str], retryable: bool, hint: str
) -> None:
    refused, asked = run(failed(api, refuses(status, **error)))
    assert refused.status == status
    assert refused.retryable is retryable
    assert hint in str(refused)
    for name in error.values():
        assert name in str(refused)
    # Whether it is asked again is decided where deadlines are known.
    assert asked == 1


@both
def test_errors_tell_no_secrets(api: Api) -> None:
    refused, _ = run(failed(api, refuses(401, code=f"no {KEY}", param="Tell me everything.")))
    assert KEY not in str(refused)
    assert "Tell me" not in str(refused)
    # A log prints causes too.
    assert refused.__cause__ is None
    assert refused.__suppress_context__


@both
def test_the_key_is_shown_to_the_server_and_nowhere_else(api: Api) -> None:
    async def case() -> str:
        async with ModelServer(sends(*events_of(api, "Hi."))) as server:
            model = api.model(server.base_url)
            _ = [part async for part in model.stream(PROMPT)]
            await model.close()
            return server.asked[0].headers["authorization"]

    assert run(case()) == f"Bearer {KEY}"
    assert KEY not in repr(Account(KEY))


@both
def test_a_server_that_is_not_there_may_be_tried_again(api: Api) -> None:
    async def case() -> SpeechError:
        async with ModelServer() as server:
            pass
        with pytest.raises(SpeechError) as raised:
            _ = [part async for part in api.model(server.base_url).stream(PROMPT)]
        return raised.value

    refused = run(case())
    assert "could not be reached" in str(refused)
    assert refused.retryable


@both
def test_a_server_that_is_silent_is_not_waited_for_without_end(api: Api) -> None:
    async def hang(exchange: Exchange) -> None:
        await exchange.gone()

    async def case() -> SpeechError:
        async with ModelServer(hang) as server:
            account = Account(None, server.base_url, read_timeout_ms=20)
            model = type(api.model(None))("m-1", OpenAIClient(account))
            with pytest.raises(SpeechError) as raised:
                _ = [part async for part in model.stream(PROMPT)]
            await model.close()
            return raised.value

    refused = run(case())
    assert "did not answer in time" in str(refused)
    assert refused.retryable


@both
@pytest.mark.parametrize("event", ['{"type": "response.', "null", "[1]", "5", "[DONE"])
def test_what_is_not_an_event_is_an_error(api: Api, event: str) -> None:
    refused, _ = run(failed(api, sends(event)))
    assert "the model's server" in str(refused)


@both
def test_an_error_in_the_middle_is_told_by_its_code(api: Api) -> None:
    refused, _ = run(failed(api, sends('{"error": {"message": "secret", "code": "overloaded"}}')))
    assert str(refused) == "the model failed (overloaded)"
    assert (refused.status, refused.retryable) == ("overloaded", True)


def test_openai_is_known_by_its_name() -> None:
    assert Account(KEY).is_openai
    assert Account(KEY, "https://api.openai.com/v1").is_openai
    assert Account(KEY, "https://eu.api.openai.com/v1").is_openai
    assert not Account(KEY, "https://api.openai.com.example.net/v1").is_openai
    assert not Account(KEY, "http://127.0.0.1:11434/v1").is_openai


def test_openai_without_a_key_is_not_asked() -> None:
    with pytest.raises(SpeechError, match=r"openai\.apiKey is not set"):
        run(OpenAIClient(Account(None)).connected())


def test_other_servers_may_want_no_key() -> None:
    async def case() -> str:
        client = OpenAIClient(Account(None, "http://127.0.0.1:1/v1"))
        key = (await client.connected()).api_key
        await client.close()
        return key

    assert run(case())


def test_it_is_loaded_once_and_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    load = openai_client._load

    def noting(account: Account) -> Any:
        threads.append(threading.current_thread())
        return load(account)

    monkeypatch.setattr(openai_client, "_load", noting)

    async def case() -> None:
        client = OpenAIClient(Account(KEY))
        await client.prepare()
        await client.prepare()
        assert await client.connected() is await client.connected()
        await client.close()

    run(case())
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_one_that_was_closed_is_not_opened_again() -> None:
    async def case() -> None:
        client = OpenAIClient(Account(KEY))
        await client.prepare()
        await client.close()
        await client.close()
        with pytest.raises(SpeechError, match="was closed"):
            await client.connected()

    run(case())


def test_what_to_install_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(DependencyMissing, match=r"pip install 'voicecall\[openai\]'"):
        run(OpenAIClient(Account(KEY)).prepare())


def test_nothing_is_taken_from_the_environment_but_what_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "another")

    async def case() -> tuple[str, str]:
        client = OpenAIClient(Account(KEY))
        connected = await client.connected()
        found = str(connected.base_url), connected.api_key
        await client.close()
        return found

    assert run(case()) == (f"{openai_client.OPENAI_URL}/", KEY)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("overloaded", "the model failed (overloaded)"),
        ("not a name", "the model failed"),
        (5, "the model failed"),
    ],
)
def test_a_failure_is_told_by_a_name_if_it_has_one(code: object, text: str) -> None:
    assert str(failure(code)) == text


def test_a_text_that_is_none_is_an_error() -> None:
    class Event:
        delta = 5

    with pytest.raises(SpeechError, match="has no delta"):
        text_of(Event(), "delta")
    with pytest.raises(SpeechError, match="has no text"):
        text_of(Event(), "text")
