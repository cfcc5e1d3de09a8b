"""What is being said on calls in Telnyx's own voice, and how each of it ends."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from voicecall.errors import CarrierError

MAX_PROMPTS_PER_CALL = 16
_EVENTS_REMEMBERED = 1000
_CALLS_REMEMBERED = 1000


class Prompts:
    """The prompts of each call in the order they were sent, which is the order they are said in.

    Telnyx reports the end of one without saying of which; the oldest it is. A report that is
    delivered twice counts once, and that of a text we stopped, which may come when the next one is
    being said already, counts for none.

    Overflow: a call with `MAX_PROMPTS_PER_CALL` prompts open takes no more. Of more than 1000 calls
    with a stopped text whose report is missing, the oldest is forgotten.
    """

    def __init__(self) -> None:
        self._open: dict[str, deque[asyncio.Future[bool]]] = {}
        self._reported: OrderedDict[str, None] = OrderedDict()
        self._stopped: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def add(self, provider_call_id: str) -> asyncio.Future[bool]:
        """One more prompt; the result tells whether it was said to its end.

        Raises:
            CarrierError: too many wait on this call.
        """
        prompts = self._open.setdefault(provider_call_id, deque())
        if len(prompts) >= MAX_PROMPTS_PER_CALL:
            raise CarrierError(
                f"{MAX_PROMPTS_PER_CALL} texts already wait to be said on this call; "
                "wait until some of them were",
                retryable=True,
                status="busy",
            )
        prompt: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        prompts.append(prompt)
        return prompt

    def ended(self, provider_call_id: str, event_id: str, *, completed: bool) -> None:
        """Telnyx reports that the oldest prompt of the call is over."""
        if event_id in self._reported:
            return
        self._reported[event_id] = None
        if len(self._reported) > _EVENTS_REMEMBERED:
            self._reported.popitem(last=False)
        if not completed and provider_call_id in self._stopped:
            del self._stopped[provider_call_id]
            return
        prompts = self._open.get(provider_call_id)
        if prompts and not prompts[0].done():
            prompts[0].set_result(completed)
            self.forget(provider_call_id, prompts[0])

    def forget(self, provider_call_id: str, prompt: asyncio.Future[bool]) -> None:
        """Wait for `prompt` no longer; forgetting twice does no harm."""
        prompts = self._open.get(provider_call_id)
        if prompts is None or prompt not in prompts:
            return
        prompts.remove(prompt)
        if not prompts:
            del self._open[provider_call_id]

    def stop(self, provider_call_id: str) -> None:
        """Telnyx is about to be told to stop speaking: it will report that the text was cut."""
        if provider_call_id in self._open:
            self._stopped[provider_call_id] = None
            if len(self._stopped) > _CALLS_REMEMBERED:
                self._stopped.popitem(last=False)
        self.cut(provider_call_id)

    def cut(self, provider_call_id: str) -> None:
        """Nothing that was open on the call is said any more."""
        for prompt in self._open.pop(provider_call_id, ()):
            if not prompt.done():
                prompt.set_result(False)

    def close(self) -> None:
        """Cut everything on all calls."""
        for provider_call_id in list(self._open):
            self.cut(provider_call_id)
