"""What calls without a media stream are to hear next, spoken by Plivo itself.

Plivo speaks what its next request for instructions is answered with. So a prompt waits here until
Plivo asks, and is settled when Plivo asks again because it has said it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict


class Prompt:
    """Something to say on one call. To be made in an event loop.

    Args:
        text: what to say.

    Attributes:
        id: names it in URLs.
        text: what to say.
        outcome: True once it was said to its end, False when it was cut short.
    """

    def __init__(self, text: str) -> None:
        self.id = uuid.uuid4().hex
        self.text = text
        self.outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def settle(self, *, completed: bool) -> None:
        """Say how it ended; only the first word counts."""
        if not self.outcome.done():
            self.outcome.set_result(completed)


class Prompts:
    """The prompt of each call, one at a time: a newer one cuts the older one short.

    Calls are named by the id that the rest of voicecall knows as the carrier's.

    Overflow: the oldest prompt is cut short.

    Args:
        capacity: of how many calls.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()

    def __len__(self) -> int:
        return len(self._prompts)

    def put(self, provider_call_id: str, text: str) -> Prompt:
        """Have `text` said next on the call."""
        self.cut(provider_call_id)
        prompt = self._prompts[provider_call_id] = Prompt(text)
        if len(self._prompts) > self._capacity:
            _, oldest = self._prompts.popitem(last=False)
            oldest.settle(completed=False)
        return prompt

    def next(self, provider_call_id: str) -> Prompt | None:
        """What is to be said on the call, if anything."""
        return self._prompts.get(provider_call_id)

    def spoken(self, provider_call_id: str, prompt_id: str) -> None:
        """Plivo has said the prompt; anything but the call's present one is ignored."""
        prompt = self._prompts.get(provider_call_id)
        if prompt is not None and prompt.id == prompt_id:
            del self._prompts[provider_call_id]
            prompt.settle(completed=True)

    def cut(self, provider_call_id: str) -> None:
        """Nothing more is to be said on the call."""
        prompt = self._prompts.pop(provider_call_id, None)
        if prompt is not None:
            prompt.settle(completed=False)
