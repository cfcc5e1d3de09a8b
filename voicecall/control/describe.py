"""The RPC interface described for machines, generated from the table that answers requests.

Source: the OpenRPC specification 1.3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from voicecall._version import __version__
from voicecall.control import methods
from voicecall.control.methods import Method
from voicecall.control.schemas import schema_of
from voicecall.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.control.examples import Example
    from voicecall.control.params import Given, Param
    from voicecall.control.services import Calls

OPENRPC: Final = "1.3.2"
DISCOVER: Final = "rpc.discover"
"""The method whose result is the description."""

_ABOUT: Final = (
    "Phone calls for software. JSON-RPC 2.0 over POST /rpc, and over a WebSocket at /rpc/ws, where "
    "every change comes as a notification `voicecall.event`; both need the header "
    "`Authorization: Bearer <rpc.token>`. Parameters are given by name. The `data` of an error "
    "holds `code`, a stable name, and `callId` where a call is concerned; of remote services also "
    "`status` and `retryable`."
)


def document() -> dict[str, Any]:
    """The description of every method in `METHODS`, as an OpenRPC document."""
    named: dict[str, Any] = {}
    described = [_method(name, method, named) for name, method in METHODS.items()]
    return {
        "openrpc": OPENRPC,
        "info": {
            "title": "voicecall",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT"},
        },
        "methods": described,
        "components": {"schemas": named, "errors": _errors()},
    }


def _method(name: str, method: Method, named: dict[str, Any]) -> dict[str, Any]:
    optional = [_param(each, required=False) for each in method.optional]
    described = {
        "name": name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": [*(_param(each, required=True) for each in method.required), *optional],
        "result": {"name": "result", "schema": schema_of(method.result, named)},
        "errors": [{"$ref": f"#/components/errors/{each}"} for each in (*method.errors, "failed")],
        "examples": [_example(each) for each in method.examples],
    }
    return {**described, "deprecated": True} if method.deprecated else described


def _param(param: Param, *, required: bool) -> dict[str, Any]:
    return {
        "name": param.name,
        "description": param.description,
        "required": required,
        "schema": param.schema(required=required),
    }


def _example(example: Example) -> dict[str, Any]:
    return {
        "name": example.name,
        "params": [{"name": name, "value": value} for name, value in example.params.items()],
        "result": {"name": "result", "value": example.result},
    }


def _errors() -> dict[str, Any]:
    return {
        fault.name: {
            "code": fault.number,
            "message": fault.meaning,
            "data": {"code": fault.name},
        }
        for fault in FAULTS.values()
    }


async def _discover(calls: Calls, given: Given) -> Mapping[str, Any]:
    del calls, given
    return document()


METHODS: Mapping[str, Method] = {
    **methods.METHODS,
    DISCOVER: Method(
        run=_discover,
        summary="This description.",
        result=dict[str, Any],
        errors=(),
    ),
}
"""Every method by name, the one that describes them among them."""
