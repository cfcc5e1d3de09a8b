"""A call's two names at Plivo.

Whoever places a call is given a request's id, while webhooks, sockets and REST name the call by an
id of its own. For a call to one number the two have been seen to be equal, which nothing promises.
The rest of voicecall knows a call by one id for ever: the request's for calls we placed, the call's
for others. What that means at Plivo is translated here.
"""

from __future__ import annotations

from collections import OrderedDict


class CallNames:
    """Remembers which call a request became.

    Overflow: the oldest pair is forgotten; a call lives for minutes, so it is over by then.

    Args:
        capacity: how many pairs are remembered.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._calls: OrderedDict[str, str] = OrderedDict()
        self._requests: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def learn(self, request_uuid: str, call_uuid: str) -> str:
        """Note that the request became the call; what the call is known by from now on.

        That is the request's id, unless the request became another call before: one request may
        place several calls, and each needs a name of its own.
        """
        if call_uuid in self._requests:
            return self._requests[call_uuid]
        if request_uuid in self._calls:
            return call_uuid
        self._calls[request_uuid] = call_uuid
        self._requests[call_uuid] = request_uuid
        if len(self._calls) > self._capacity:
            _, forgotten = self._calls.popitem(last=False)
            del self._requests[forgotten]
        return request_uuid

    def known_as(self, call_uuid: str) -> str:
        """What the call is known by outside of Plivo."""
        return self._requests.get(call_uuid, call_uuid)

    def call_uuid(self, provider_call_id: str) -> str:
        """What Plivo calls the call that is known as `provider_call_id`."""
        return self._calls.get(provider_call_id, provider_call_id)
