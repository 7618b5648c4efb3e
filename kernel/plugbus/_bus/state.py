"""What every view of a bus holds: the shared core, whom it belongs to, and the compiled chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plugbus._chain.tables import Table
    from plugbus._core import Core
    from plugbus.owner import Owner
    from plugbus.services import Services


class BusState:
    """The attributes of a bus; the chains are the core's own dictionaries, so that an emit looks up in one step.

    So what a plugin may publish is asked for when a chain is not there yet, and never again.
    """

    __slots__ = ("_acalls", "_aemits", "_calls", "_core", "_emits", "_owner", "_services")

    def _share(self, core: Core, owner: Owner, services: Services | None) -> None:
        self._core, self._owner, self._services = core, owner, services
        with core.lock:
            core.tables.enter(self, owner)
        core.share(getattr(services, "_container", None))

    def _look_up(self, tables: Table) -> None:
        """Find the chains in this table from now on."""
        self._emits, self._aemits = tables["emit"], tables["aemit"]
        self._calls, self._acalls = tables["call"], tables["acall"]

    def _depart(self) -> None:
        """Leave with the owner: its types too; and find no chain any more, so that every emit is refused."""
        self._core.retire(self._owner)
        with self._core.lock:
            self._core.tables.depart(self)
