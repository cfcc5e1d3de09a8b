"""The description of the interface is true: every method, example, result and error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from tests.control.fakes import BEARER, run, services, serving
from tests.hosting import CALLEE, Served
from tests.hosting import run as run_whole
from tests.hosting import serving as whole
from voicecall.control import examples
from voicecall.control.describe import DISCOVER, METHODS, document
from voicecall.control.schemas import REFERENCE
from voicecall.errors import VoicecallError
from voicecall.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.socket

DOCUMENT = document()
DESCRIBED = {method["name"]: method for method in DOCUMENT["methods"]}


def valid(value: object, schema: dict[str, Any]) -> None:
    """Whether a value is what a schema of the document says."""
    whole_schema = {**schema, "components": DOCUMENT["components"]}
    jsonschema.validate(value, whole_schema, cls=jsonschema.Draft202012Validator)


def all_examples() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, method in DESCRIBED.items():
        for example in method["examples"]:
            yield name, example


def test_every_method_is_described() -> None:
    assert set(DESCRIBED) == set(METHODS)
    for name, method in DESCRIBED.items():
        assert method["summary"].endswith("."), name
        assert all(param["description"].endswith(".") for param in method["params"]), name
        assert method["examples"] or name == DISCOVER


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)

    def references(part: object) -> Iterator[str]:
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            for each in part.values():
                yield from references(each)
        elif isinstance(part, list):
            for each in part:
                yield from references(each)

    found = set(references(DOCUMENT))
    assert any(each.startswith(REFERENCE) for each in found)
    for each in found:
        _, _, kind, name = each.split("/")
        assert name in DOCUMENT["components"][kind]


def test_every_error_that_is_told_is_one_of_ours_and_every_one_of_ours_is_told() -> None:
    told = DOCUMENT["components"]["errors"]
    assert set(told) == set(FAULTS)
    assert all(told[name]["code"] == FAULTS[name].number for name in told)
    assert all(issubclass(FAULTS[name].kind, VoicecallError) for name in told)


@pytest.mark.parametrize(
    ("name", "example"),
    list(all_examples()),
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_every_example_is_what_the_schemas_say(name: str, example: dict[str, Any]) -> None:
    schemas = {param["name"]: param["schema"] for param in DESCRIBED[name]["params"]}
    required = {param["name"] for param in DESCRIBED[name]["params"] if param["required"]}
    given = {param["name"]: param["value"] for param in example["params"]}
    assert required <= given.keys() <= schemas.keys()
    for param, value in given.items():
        valid(value, schemas[param])
    valid(example["result"]["value"], DESCRIBED[name]["result"]["schema"])


def test_what_real_calls_answer_is_what_the_schemas_say() -> None:
    """Every example is asked of a server with a call; ids are those of the call."""

    async def case() -> None:
        stt = {"scripted": {"transcripts": ["Until six."] * 3}}
        async with whole(stt=stt) as served:
            call_id = await served.initiate("Hello.")
            await served.connected(call_id)
            await served.listening(call_id)
            ids = {examples.CALL_ID: call_id}
            # What ends the call comes last; to end it again is a success.
            last = ("voicecall.transfer", "voicecall.end")
            order = sorted(all_examples(), key=lambda each: each[0] in last)
            for name, example in order:
                result = await answered(served, name, example, ids)
                valid(result, DESCRIBED[name]["result"]["schema"])
                if "operationId" in result:
                    ids[examples.OPERATION_ID] = result["operationId"]

    run_whole(case(), 40)


async def answered(
    served: Served, name: str, example: dict[str, Any], ids: dict[str, str]
) -> dict[str, Any]:
    asking = asyncio.create_task(asked(served, name, example, ids))
    if name == "voicecall.continue":
        await served.listening(ids[examples.CALL_ID], said=2)
        await served.hand.phones[0].say("Until six")
    answer = await asking
    assert "error" not in answer, (name, answer)
    return dict(answer["result"])


async def asked(
    served: Served, name: str, example: dict[str, Any], ids: dict[str, str]
) -> dict[str, Any]:
    params = {param["name"]: param["value"] for param in example["params"]}
    params = {key: ids.get(value, value) for key, value in params.items()}
    if params.get("to"):
        params["to"] = CALLEE
    body = {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}
    return dict((await served.http.post("/rpc", json=body)).json())


def test_it_is_served_as_a_file_and_by_its_method_to_who_has_the_token() -> None:
    async def case() -> None:
        async with serving(services()) as served:
            http = served.http
            assert (await http.get("/rpc/openrpc.json")).status_code == 401
            answer = await http.get("/rpc/openrpc.json", headers=BEARER)
            assert answer.json() == DOCUMENT
            body = {"jsonrpc": "2.0", "id": 1, "method": DISCOVER}
            answer = await http.post("/rpc", json=body, headers=BEARER)
            assert answer.json()["result"] == DOCUMENT

    run(case)
