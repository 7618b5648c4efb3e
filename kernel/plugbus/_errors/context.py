"""What is wrong with who acts."""

from __future__ import annotations

from plugbus._errors.base import PlugbusError


class ContextLeakError(PlugbusError):
    """An async generator yielded inside ``acting_as``, so that its consumer would act as somebody else.

    Args:
        generator: Qualified name of the generator function.

    Example:
        >>> print(ContextLeakError("rows"))
        the async generator 'rows' yielded inside acting_as(...), and its principal is not that of its consumer.
        Hint: End the block before each yield, or make a context manager of it with contextlib.asynccontextmanager.
    """

    def __init__(self, generator: str) -> None:
        super().__init__(generator)
        self.generator = generator

    def _parts(self) -> tuple[str, str]:
        what = f"the async generator {self.generator!r} yielded inside acting_as(...)"
        hint = "End the block before each yield, or make a context manager of it with contextlib.asynccontextmanager."
        return f"{what}, and its principal is not that of its consumer.", hint
