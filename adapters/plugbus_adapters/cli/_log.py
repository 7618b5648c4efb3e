"""What the kernel logs while a command runs: the command tells itself which plugins do not run, and why.

Owns structlog's configuration for as long as nobody else has one; a host that configures it gets what it asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from plugbus_adapters.cli._extending import Session

__all__ = ("calm_log", "restored_log")

_session: ContextVar[Session | None] = ContextVar("plugbus_cli_session", default=None)
_TOLD_BY_US: Final = "plugin does not run"


def calm_log() -> None:
    """Leave out what the command tells in a line of its own; the traceback of it is for ``--traceback``."""
    import structlog

    session = _session.get()
    if not (session and session.traceback) and not structlog.is_configured():
        structlog.configure(processors=[_without_told, *structlog.get_config()["processors"]])


@contextmanager
def restored_log(session: Session) -> Iterator[None]:
    """Let a session decide what is logged; structlog has its own configuration back afterwards, if it is still ours."""
    mark = _session.set(session)
    try:
        yield
    finally:
        _session.reset(mark)
        structlog = sys.modules.get("structlog")
        if structlog is not None and _without_told in structlog.get_config()["processors"]:
            structlog.reset_defaults()


def _without_told(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    import structlog

    if line.get("event") == _TOLD_BY_US:
        raise structlog.DropEvent
    return line
