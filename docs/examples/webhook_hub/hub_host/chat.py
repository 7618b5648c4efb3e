"""A chat that fails and hangs now and then, the same way each time for the same seed."""

from __future__ import annotations

import random
from collections import Counter

import anyio
from hub_events import ChatDownError

__all__ = ("FakeChat",)


class FakeChat:
    """Stands in for an outside system; whether it takes a message depends on seed, text and attempt alone.

    Args:
        seed: Chooses which attempts fail.
        failing: The share of attempts that fail, from 0 to 1.
        hanging: The share of attempts that never end, from 0 to 1.

    Example:
        >>> async def post(chat: FakeChat) -> list[str]:
        ...     await chat.send("hello")
        ...     return chat.taken
        >>> anyio.run(post, FakeChat(seed=1, failing=0, hanging=0))
        ['hello']
    """

    def __init__(self, seed: int, *, failing: float = 0.2, hanging: float = 0.03) -> None:
        self._seed, self._failing, self._hanging = seed, failing, hanging
        self._attempts: Counter[str] = Counter()
        self.taken: list[str] = []

    async def send(self, text: str) -> None:
        """Take a message, or don't.

        Raises:
            ChatDownError: For the share that fails.
        """
        self._attempts[text] += 1
        luck = random.Random(f"{self._seed}/{self._attempts[text]}/{text}").random()
        if luck < self._hanging:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        if luck < self._hanging + self._failing:
            raise ChatDownError("the chat answers 503")
        self.taken.append(text)
