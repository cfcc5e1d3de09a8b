"""Calls of a running server, from another process: over RPC, with the server's own errors."""

from __future__ import annotations

from voicecall.client.client import Client
from voicecall.client.events import Events
from voicecall.client.sync import SyncClient, SyncEvents

__all__ = ["Client", "Events", "SyncClient", "SyncEvents"]
