from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import orjson
import pytest
import telnyx

from voicecall.simulator.exchange import telnyx_refusals as refusals

if TYPE_CHECKING:
    from voicecall.simulator.exchange.telnyx_refusals import Refused

pytestmark = pytest.mark.unit

EVERY = [
    (refusals.unauthenticated(), telnyx.AuthenticationError, "10009"),
    (refusals.no_such_resource(), telnyx.NotFoundError, "10005"),
    (refusals.too_many_requests(5, 1), telnyx.RateLimitError, "10011"),
    (refusals.broken(502), telnyx.InternalServerError, "10007"),
    (refusals.broken(503, 10016), telnyx.InternalServerError, "10016"),
    (refusals.not_json(), telnyx.BadRequestError, "10015"),
    (refusals.missing("to"), telnyx.UnprocessableEntityError, "10004"),
    (refusals.invalid("to", "No."), telnyx.UnprocessableEntityError, "10015"),
    (refusals.unknown_connection(), telnyx.UnprocessableEntityError, "10015"),
    (refusals.not_e164("to"), telnyx.UnprocessableEntityError, "10016"),
    (refusals.not_enumerated("stop", ["b", "a"]), telnyx.UnprocessableEntityError, "10032"),
    (refusals.out_of_range("size", 1, 2), telnyx.UnprocessableEntityError, "10033"),
    (refusals.invalid_call(), telnyx.UnprocessableEntityError, "90015"),
    (refusals.already_ended(), telnyx.UnprocessableEntityError, "90018"),
    (refusals.not_possible("No."), telnyx.UnprocessableEntityError, "90033"),
    (refusals.not_answered(), telnyx.UnprocessableEntityError, "90034"),
    (refusals.already_streaming(), telnyx.UnprocessableEntityError, "90045"),
    (refusals.already_transcribing(), telnyx.UnprocessableEntityError, "90054"),
]


@pytest.mark.parametrize(("refused", "kind", "code"), EVERY, ids=str)
def test_the_vendors_package_takes_a_refusal_for_what_it_is(
    refused: Refused, kind: type[telnyx.APIStatusError], code: str
) -> None:
    answer = refused.answer()
    client = telnyx.Telnyx(
        api_key="KEY",
        max_retries=0,
        http_client=httpx.Client(
            transport=httpx.MockTransport(
                lambda _: httpx.Response(answer.status, content=answer.body, headers=answer.headers)
            )
        ),
    )
    with client, pytest.raises(kind) as caught:
        client.calls.retrieve_status("v3:call")
    assert type(caught.value) is kind
    error = orjson.loads(answer.body)["errors"][0]
    assert error["code"] == code
    assert error["title"]
    assert error["detail"]


def test_a_refusal_points_at_the_field_that_is_wrong() -> None:
    error = orjson.loads(refusals.not_enumerated("stop", ["b", "a"]).answer().body)["errors"][0]
    assert error["source"] == {"pointer": "/stop"}
    assert error["detail"] == "The value must be one of: a, b."
