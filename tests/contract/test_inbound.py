"""What holds for calls that come to us, whoever the carrier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.contract.mock import MockExchange
from tests.contract.people import Person
from tests.contract.site import EVERY_WAY, THEM, US, Site, Way, contract, site, words
from tests.hosting import until
from voicecall.call.record import CallState, Direction
from voicecall.simulator.exchange.plivo import PlivoExchange
from voicecall.simulator.exchange.plivo_line import PlivoLine
from voicecall.simulator.exchange.telnyx import TelnyxExchange

if TYPE_CHECKING:
    from voicecall.simulator.exchange import Line

pytestmark = pytest.mark.socket

ANSWERS = {"Are you open?": ("Until six.",)}
OPEN: dict[str, Any] = {"inboundPolicy": "open", "inboundGreeting": "Welcome."}
# Twilio does not say who hung up.
CALLER_HUNG_UP = {"twilio": CallState.COMPLETED}


@contract()
async def test_who_calls_is_greeted_and_answered(way: Way) -> None:
    person = Person("Are you open?", stays=0.05)
    async with site(way, person, answers=ANSWERS, **OPEN) as it:
        await it.be_called()
        record = await it.taken_on()
        await it.over(record)
        assert person.heard == ["Welcome.", "Until six."]
        assert words(record) == ["Welcome.", "Are you open?", "Until six."]
        assert record.direction is Direction.INBOUND
        assert (record.from_number, record.to_number) == (THEM, US)
        assert record.provider_call_id == it.line.provider_call_id
        assert record.end_reason is CALLER_HUNG_UP.get(way.carrier, CallState.HANGUP_USER)
        assert it.line.reason == "party"


@contract()
async def test_a_number_has_a_greeting_of_its_own(way: Way) -> None:
    numbers = {US: {"inboundGreeting": "Sales desk."}}
    person = Person(stays=0.05)
    async with site(way, person, numbers=numbers, **OPEN) as it:
        await it.be_called()
        await it.over(await it.taken_on())
        assert person.heard == ["Sales desk."]


@contract()
async def test_a_caller_on_the_list_is_let_in(way: Way) -> None:
    settings: dict[str, Any] = {**OPEN, "inboundPolicy": "allowlist", "allowFrom": [THEM]}
    async with site(way, Person(), **settings) as it:
        await it.be_called()
        record = await it.taken_on()
        await it.transcript(record, "Welcome.")
        await it.server.manager.end(record.call_id)
        await it.over(record)
        assert it.line.reason == "api"


async def refused(it: Site, line: Line) -> None:
    await until(line.ended.is_set)
    assert line.reason != "party"
    assert it.person.heard == []
    assert it.server.manager.live_count == 0
    assert await it.rpc("status", sid=line.provider_call_id) == {"found": False}
    assert await it.server.manager.recent() == []
    # Ending it is asked for once; where the webhook's answer was faster, there is nothing to end.
    about = [each for each in it.exchange.requests if line.provider_call_id in each[1]]
    assert len([status for _, _, status in about if status < 300]) <= 1


@contract()
async def test_nobody_is_let_in_unless_configured(way: Way) -> None:
    async with site(way, Person()) as it:
        await refused(it, await it.be_called())


@contract()
async def test_a_caller_who_is_not_on_the_list_is_hung_up_once(way: Way) -> None:
    settings: dict[str, Any] = {"inboundPolicy": "allowlist", "allowFrom": [US]}
    async with site(way, Person(), **settings) as it:
        await refused(it, await it.be_called())


@contract()
async def test_a_caller_too_many_is_hung_up_and_the_slot_comes_back(way: Way) -> None:
    async with site(way, Person(), maxConcurrentCalls=1, **OPEN) as it:
        await it.be_called()
        record = await it.taken_on()
        second = await it.be_called()
        await until(second.ended.is_set)
        assert await it.rpc("status", sid=second.provider_call_id) == {"found": False}
        assert not record.state.terminal
        await it.server.manager.end(record.call_id)
        await until(lambda: not it.server.manager.live_count)
        await it.be_called()
        assert (await it.taken_on()).call_id != record.call_id


# --- calls placed by somebody else on our side -----------------------------------------------


def names(line: Line) -> set[str]:
    """What the carrier calls a call; Plivo's also go by the request they were placed with."""
    request = {line.request_uuid} if isinstance(line, PlivoLine) else set()
    return {line.provider_call_id} | request


async def place_at_the_carrier(it: Site) -> None:
    """Place a call past the server, with its webhook."""
    exchange, url = it.exchange, it.webhook_url
    it.placed += 1
    if isinstance(exchange, MockExchange):
        exchange.dials += 1
        await exchange.call_in(US, THEM, url, direction="outbound")
        return
    async with httpx.AsyncClient(base_url=exchange.base_url, trust_env=False) as client:
        answer = await _place(client, exchange, url)
    assert answer.is_success, answer.text


async def _place(client: httpx.AsyncClient, exchange: Any, url: str) -> httpx.Response:
    match exchange:
        case TelnyxExchange():
            request = {"connection_id": exchange.connection_id, "from": US, "to": THEM}
            bearer = {"Authorization": f"Bearer {exchange.api_key}"}
            return await client.post(
                "/v2/calls", json={**request, "webhook_url": url}, headers=bearer
            )
        case PlivoExchange():
            request = {"from": US, "to": THEM, "answer_url": url, "hangup_url": url}
            basic = (exchange.auth_id, exchange.auth_token)
            path = f"/v1/Account/{exchange.auth_id}/Call/"
            return await client.post(path, json=request, auth=basic)
        case _:
            form = {"From": US, "To": THEM, "Url": url, "StatusCallback": url}
            basic = (exchange.account_sid, exchange.auth_token)
            path = f"/2010-04-01/Accounts/{exchange.account_sid}/Calls.json"
            return await client.post(path, data=form, auth=basic)


@contract(EVERY_WAY)
async def test_a_call_that_somebody_else_placed_is_taken_on_as_outbound(way: Way) -> None:
    person = Person("Are you open?", stays=0.05)
    async with site(way, person, answers=ANSWERS) as it:
        await place_at_the_carrier(it)
        record = await it.taken_on()
        assert record.direction is Direction.OUTBOUND
        assert (record.from_number, record.to_number) == (US, THEM)
        await until(lambda: record.answered_at is not None)
        assert record.provider_call_id in names(it.line)
        await until(lambda: record.state in {CallState.ACTIVE, CallState.LISTENING})
        await it.server.manager.speak(record.call_id, "This is voicecall.")
        await it.over(record)
        assert person.heard == ["This is voicecall.", "Until six."]
        assert words(record) == ["This is voicecall.", "Are you open?", "Until six."]
