"""Kernels for tests: strict about what subscribers do, with fakes for services, and loud about what did not boot."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self, final

from plugbus.clock import Clock
from plugbus.kernel import Kernel


@final
class KernelFactory:
    """Makes kernels as tests want them; the fixture ``kernel_factory`` is one.

    Each kernel is made with ``checked=True``, and every plugin in the list must boot, unless said otherwise.
    Close it to take back the overrides.

    Example:
        >>> import anyio
        >>> from plugbus import Plugin
        >>> class Mailer:
        ...     def send(self, text: str) -> str:
        ...         return f"sent {text}"
        >>> class FakeMailer(Mailer):
        ...     def send(self, text: str) -> str:
        ...         return f"noted {text}"
        >>> class Shop(Plugin):
        ...     def __init__(self, mailer: Mailer) -> None:
        ...         self.mailer = mailer
        >>> async def main() -> None:
        ...     with KernelFactory() as kernels:
        ...         async with kernels(Shop, overrides={Mailer: FakeMailer()}) as kernel:
        ...             print(kernel.plugins["shop"].instance.mailer.send("tea"))
        >>> anyio.run(main)
        noted tea
    """

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __call__(
        self,
        *plugins: object,
        overrides: Mapping[Any, object] | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> Kernel:
        """Make a kernel, not yet started: ``async with`` it, or ``with kernel.portal()``.

        Args:
            *plugins: What ``Kernel(plugins=[...])`` takes.
            overrides: What stands in for services, by type: an object, or a factory (a function, not a class).
            clock: What stands in for the clock; a :class:`FakeClock` for instance.
            **options: Further options of ``Kernel``; ``required=()`` lets plugins fail.

        Raises:
            KernelStartError: When it is started, if a plugin does not boot.
        """
        options.setdefault("checked", True)
        kernel = Kernel(plugins, **options)
        if "required" not in options:
            kernel._runtime.requires_all = True  # noqa: SLF001 - the test kit belongs to the kernel
        if clock is not None:
            kernel.services.value(Clock, clock, names=("clock",))
        for type_, replacement in (overrides or {}).items():
            self._stack.enter_context(kernel.services.override(type_, replacement))
        return kernel

    def close(self) -> None:
        """Take the overrides back."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
