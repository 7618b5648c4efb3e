"""The logger that plugins ask for: structlog's, bound with the plugin's id.

How lines look and where they go is the host's choice (``structlog.configure``); nothing is configured here.
It is imported with the first logger, since a bus that nothing fails on needs none, and it costs as much as all else.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Protocol, Self, cast

from plugbus._context import HERE

__all__ = ("Logger", "plugin_logger", "text_of")


class Logger(Protocol):
    """What a plugin logs with; ask for it as ``log: Logger``, or by the name ``log`` or ``logger``.

    Each method takes what happened in a few words, and the facts as keyword arguments.

    Example:
        >>> import structlog.testing
        >>> with structlog.testing.capture_logs() as lines:
        ...     plugin_logger("shop").info("order placed", order_id=7)
        >>> lines
        [{'plugin': 'shop', 'order_id': 7, 'event': 'order placed', 'log_level': 'info'}]
    """

    def bind(self, **facts: Any) -> Self:
        """Return a logger that adds these facts to each line."""
        ...

    def debug(self, event: str, /, *args: Any, **facts: Any) -> Any:
        """Log what helps whoever looks for a mistake."""

    def info(self, event: str, /, *args: Any, **facts: Any) -> Any:
        """Log what happened in the normal course of things."""

    def warning(self, event: str, /, *args: Any, **facts: Any) -> Any:
        """Log what somebody should look at some day."""

    def error(self, event: str, /, *args: Any, **facts: Any) -> Any:
        """Log what went wrong."""

    def exception(self, event: str, /, *args: Any, **facts: Any) -> Any:
        """Log what went wrong, with the traceback of the error being handled."""

    def critical(self, event: str, /, *args: Any, **facts: Any) -> Any:
        """Log what keeps the service from working."""


def plugin_logger(plugin_id: str) -> Logger:
    """Return the logger of one plugin.

    Args:
        plugin_id: Its id, which each line carries as ``plugin``; within an emit that has a context, it carries
            ``event_type`` and ``correlation_id`` too, and ``trace_id`` where it belongs to a trace.

    Example:
        >>> hasattr(plugin_logger("shop"), "bind")
        True
    """
    return named_logger(f"plugbus.{plugin_id}", plugin=plugin_id)


def named_logger(name: str, **facts: Any) -> Logger:
    """Return a logger of ours; within an emit that has a context, each line says of which."""
    import structlog

    logger = structlog.wrap_logger(None, logger_factory_args=(name,), context_class=_Facts, **facts)
    return cast("Logger", logger)


class _Facts(dict[str, Any]):
    """What is bound to a logger. It is copied for each line that is written, and for no other."""

    def copy(self) -> dict[str, Any]:
        here = HERE.get()
        return {**self} if here is None else {**here.told(), **self}


def log_failure(
    plugin_id: str, what: str, error: BaseException, *, hide: Callable[[str], str] = str, **facts: Any
) -> None:
    """Log an error with its traceback, but without the values of variables, which may be secret.

    Args:
        plugin_id: Whose it is.
        what: What failed.
        error: The error.
        hide: Crosses secrets out of its text.
        facts: What else to say.
    """
    told = hide("".join(traceback.format_exception(error)))
    plugin_logger(plugin_id).error(what, error=hide(text_of(error)), exception=told, **facts)


def text_of(error: BaseException) -> str:
    """Return the type and message of an error, also of one that cannot print itself."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - whatever its __str__ does
        return f"{type(error).__name__}, which cannot print itself"
