"""Simulated carriers: their REST API, webhooks, instructions and media, on this machine.

Each is an independent peer written from its carrier's documentation and shares nothing with the
adapters that talk to it. `TwilioExchange`, `TelnyxExchange` and `PlivoExchange` are in modules of
their own; here is what they have in common, and who their calls reach.
"""

from voicecall.simulator.exchange.exchange import Exchange
from voicecall.simulator.exchange.faults import Fault, Faults
from voicecall.simulator.exchange.http import (
    Dropped,
    HttpRequest,
    HttpResponse,
    HttpServer,
    Unanswered,
)
from voicecall.simulator.exchange.line import Line
from voicecall.simulator.exchange.media import connect_media
from voicecall.simulator.exchange.party import (
    EchoParty,
    Keys,
    Party,
    Pickup,
    ScriptedParty,
    SimpleParty,
)
from voicecall.simulator.exchange.webhooks import Delivery, Habits, HttpAnswer, Webhooks

__all__ = [
    "Delivery",
    "Dropped",
    "EchoParty",
    "Exchange",
    "Fault",
    "Faults",
    "Habits",
    "HttpAnswer",
    "HttpRequest",
    "HttpResponse",
    "HttpServer",
    "Keys",
    "Line",
    "Party",
    "Pickup",
    "ScriptedParty",
    "SimpleParty",
    "Unanswered",
    "Webhooks",
    "connect_media",
]
