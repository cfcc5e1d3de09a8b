"""What Twilio itself is saying on calls without a media stream, and how each of it ends."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict


class Prompt:
    """Something being said on one call. To be made in an event loop.

    Attributes:
        id: names it in the URL that Twilio asks when it has been said.
        outcome: True once it was said to its end, False when it was cut short.
    """

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def settle(self, *, completed: bool) -> None:
        """Say how it ended; only the first word counts."""
        if not self.outcome.done():
            self.outcome.set_result(completed)


class Prompts:
    """The prompt of each call, one at a time: a newer one cuts the older one short, as at Twilio.

    Overflow: the oldest prompt counts as cut short.

    Args:
        capacity: of how many calls.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()

    def __len__(self) -> int:
        return len(self._prompts)

    def begin(self, provider_call_id: str) -> Prompt:
        """A prompt that is about to be said on the call."""
        self.cut(provider_call_id)
        prompt = self._prompts[provider_call_id] = Prompt()
        if len(self._prompts) > self._capacity:
            _, oldest = self._prompts.popitem(last=False)
            oldest.settle(completed=False)
        return prompt

    def said(self, provider_call_id: str, prompt_id: str) -> None:
        """Twilio has said the prompt; anything but the call's present one is ignored."""
        prompt = self._prompts.get(provider_call_id)
        if prompt is not None and prompt.id == prompt_id:
            del self._prompts[provider_call_id]
            prompt.settle(completed=True)

    def cut(self, provider_call_id: str) -> None:
        """Nothing is being said on the call any more."""
        prompt = self._prompts.pop(provider_call_id, None)
        if prompt is not None:
            prompt.settle(completed=False)

    def close(self) -> None:
        """Cut everything on all calls."""
        for provider_call_id in list(self._prompts):
            self.cut(provider_call_id)
