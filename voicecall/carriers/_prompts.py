"""What carriers themselves say on calls without a media stream, and how each of it ends.

Twilio and Plivo say what a request of theirs for instructions is answered with, and ask again when
they have said it. So a prompt waits here until its call asks, and is over when the call asks with
the prompt's id. A call that does not ask just now has to be made to, by a request of ours.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

# A slow voice says some ten characters a second; after twice that, it has been lost.
SPEECH_S: Final = 15.0
SPEECH_S_PER_CHAR: Final = 0.2

# An answer takes as long as storing what the question reported, which is milliseconds.
_ANSWER_S = 1.0

logger = logging.getLogger("voicecall.carriers")


class Prompt:
    """Something to say on one call. To be made in an event loop.

    Args:
        text: what to say.

    Attributes:
        id: names it in the URL that the carrier asks when it has been said.
        text: what to say.
        told: set once the carrier was told to say it, or it is over.
        outcome: True once it was said to its end, False when it was cut short.
    """

    def __init__(self, text: str) -> None:
        self.id = uuid.uuid4().hex
        self.text = text
        self.told = asyncio.Event()
        self.outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def settle(self, *, completed: bool) -> None:
        """Say how it ended; only the first word counts."""
        self.told.set()
        if not self.outcome.done():
            self.outcome.set_result(completed)


Push: TypeAlias = Callable[[Prompt], Awaitable[None]]
"""Has the carrier say a prompt, or ask what to do, instead of what the call does."""


class Prompts:
    """The prompt of each call, one at a time: a newer one cuts the older one short.

    Calls are named by the id that the rest of voicecall knows as the carrier's.

    Overflow: the oldest prompt is cut short; of the oldest call that asks it is forgotten that it
    does.

    Args:
        capacity: of how many calls.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()
        self._asking: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._prompts)

    async def say(self, provider_call_id: str, text: str, push: Push) -> bool:
        """Have `text` said on the call, and wait for its end.

        A call that is asking what to do just now is told in the answer; `push` is for the others.

        Returns:
            whether it was said to its end; False, too, when the carrier never reports so.
        """
        prompt = self.put(provider_call_id, text)
        expected_s = SPEECH_S + SPEECH_S_PER_CHAR * len(text)
        try:
            if not await self._asked_for(provider_call_id, prompt):
                await push(prompt)
            done, _ = await asyncio.wait({prompt.outcome}, timeout=expected_s)
        finally:
            self._forget(provider_call_id, prompt)
        if not done:
            logger.warning("no report that a text was said", extra={"expected_s": expected_s})
        return await prompt.outcome

    def put(self, provider_call_id: str, text: str) -> Prompt:
        """Have `text` said next on the call, whenever that asks."""
        self.cut(provider_call_id)
        prompt = self._prompts[provider_call_id] = Prompt(text)
        if len(self._prompts) > self._capacity:
            _, oldest = self._prompts.popitem(last=False)
            oldest.settle(completed=False)
        return prompt

    def asks(self, provider_call_id: str) -> None:
        """The call asks what to do, and will be answered with what `next` gives."""
        self._asking[provider_call_id] = None
        if len(self._asking) > self._capacity:
            self._asking.popitem(last=False)

    def next(self, provider_call_id: str) -> Prompt | None:
        """What the call, which asks, is to say now, if anything."""
        self._asking.pop(provider_call_id, None)
        prompt = self._prompts.get(provider_call_id)
        if prompt is not None:
            prompt.told.set()
        return prompt

    def said(self, provider_call_id: str, prompt_id: str) -> None:
        """The carrier has said the prompt; anything but the call's present one is ignored."""
        prompt = self._prompts.get(provider_call_id)
        if prompt is not None and prompt.id == prompt_id:
            del self._prompts[provider_call_id]
            prompt.settle(completed=True)

    def cut(self, provider_call_id: str) -> None:
        """Nothing is said on the call any more."""
        prompt = self._prompts.pop(provider_call_id, None)
        if prompt is not None:
            prompt.settle(completed=False)

    def close(self) -> None:
        """Cut everything on all calls."""
        for provider_call_id in list(self._prompts):
            self.cut(provider_call_id)

    async def _asked_for(self, provider_call_id: str, prompt: Prompt) -> bool:
        """Whether the call is being told, without our doing."""
        if provider_call_id not in self._asking:
            return False
        try:
            async with asyncio.timeout(_ANSWER_S):
                await prompt.told.wait()
        except TimeoutError:
            # It was refused an answer, and will ask again.
            return False
        return True

    def _forget(self, provider_call_id: str, prompt: Prompt) -> None:
        if self._prompts.get(provider_call_id) is prompt:
            self.cut(provider_call_id)
