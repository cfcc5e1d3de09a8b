"""One connection on the media port: its upgrade, and the leg that it then carries."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from voicecall.media.admission import Refusal
from voicecall.media.leg import CLOSE_GRACE_S, STALLED_GRACE_S, TRY_AGAIN_LATER
from voicecall.media.upgrade import UpgradeError, UpgradeRequest, refusal

if TYPE_CHECKING:
    import socket

    from voicecall._codec import SocketPoller
    from voicecall.media.leg import Leg
    from voicecall.media.server import MediaServer

log = logging.getLogger("voicecall.media")

UPGRADE_TIMEOUT_S = 5.0


class MediaConnection:
    """The owner of a `MediaSocket` and, once it is open, its leg's `Socket`.

    Args:
        server: the media plane it asks for admission.
        poller: serves the connection.
        connection: does not block; belongs to the poller from now on.
        peer: the other end's address.

    Raises:
        OSError: it cannot be served.
    """

    __slots__ = ("_deadline", "_leg", "_peer", "_server", "_socket", "_stalled")

    def __init__(
        self, server: MediaServer, poller: SocketPoller, connection: socket.socket, peer: str
    ) -> None:
        self._server = server
        self._peer = peer
        self._leg: Leg | None = None
        self._stalled = False
        self._deadline: asyncio.TimerHandle | None = None
        self._socket = poller.add(connection.detach(), self)
        self._abort_in(UPGRADE_TIMEOUT_S)

    # --- told by the socket ---

    def on_request(self, head: bytes) -> None:
        """The request has come: open the WebSocket or refuse it."""
        try:
            request = UpgradeRequest.parse(head)
        except UpgradeError as error:
            self._refuse(refusal(error.status))
            return
        token = self._server.token_in(request.target)
        address = self._server.client_address(self._peer, request.headers.get("x-forwarded-for"))
        leg = (
            token
            if isinstance(token, Refusal)
            else self._server.admit(token, address, request.headers)
        )
        if isinstance(leg, Refusal):
            self._refuse(refusal(leg.status))
            return
        self._leg = leg
        self._cancel_deadline()
        self._socket.open(request.accept(), leg.stream)
        leg.opened(self)
        if token is None and not self._server.enter_pending(leg):
            leg.close(TRY_AGAIN_LATER, "Too many sockets without a token")

    def on_violation(self, code: int) -> None:
        """The peer does not keep to the protocol."""
        if self._leg is not None:
            self._server.count_refusal("protocol")
            self._leg.close(code, "Protocol violated")

    def on_stalled(self) -> None:
        """More is unsent than a peer that reads would leave."""
        self._stalled = True
        if self._leg is not None:
            self._leg.on_stalled()

    def on_failure(self, error: Exception) -> None:
        """Our own code failed while it served this connection."""
        log.error("media connection failed", exc_info=error)

    def on_disconnected(self) -> None:
        """The connection is gone."""
        self._cancel_deadline()
        if self._leg is not None:
            self._leg.on_disconnected()

    # --- told by the leg ---

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; the connection ends when the peer answers, or after a grace."""
        self._socket.close(code, reason.encode())
        self._abort_in(STALLED_GRACE_S if self._stalled else CLOSE_GRACE_S)

    def _refuse(self, response: bytes) -> None:
        self._socket.refuse(response)
        self._abort_in(CLOSE_GRACE_S)

    def _abort_in(self, delay_s: float) -> None:
        self._cancel_deadline()
        self._deadline = asyncio.get_running_loop().call_later(delay_s, self._socket.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
