"""What has been built for one lifetime: the app's, one owner's; and who waits for what is being built.

A store per lifetime, so that a further scope is one more store. Each service is built once at a time, whoever
asks: tasks of any event loop, and threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import anyio
import anyio.lowlevel

from plugbus._services.closing import Exit
from plugbus._services.providers import Provider
from plugbus._threads import call_soon
from plugbus.errors import ServiceError

if TYPE_CHECKING:
    from plugbus._services.homes import Home
    from plugbus.owner import Owner


ABSENT: Final = object()


@final
class Claim:
    """One build under way.

    Attributes:
        thread: The thread, or the thread of the loop, that builds.
    """

    __slots__ = ("_done", "_error", "_lock", "_waiters", "thread")

    def __init__(self, lock: threading.Lock) -> None:
        self.thread = threading.get_ident()
        self._done = False
        self._error: Exception | None = None
        self._waiters: list[Callable[[], object]] = []
        self._lock = lock

    def wait(self) -> None:
        """Wait in a thread until the build has ended."""
        ended = threading.Event()
        if self._told(ended.set):
            ended.wait()

    async def wait_async(self) -> None:
        """Wait in a task until the build has ended, in whatever thread or loop."""
        ended = anyio.Event()
        if self._told(partial(call_soon, anyio.lowlevel.current_token(), ended.set)):
            await ended.wait()

    def _told(self, waiter: Callable[[], object]) -> bool:
        with self._lock:
            if not self._done:
                self._waiters.append(waiter)
            return not self._done

    def raise_error(self) -> None:
        """Share the failure of the one who built with those who waited."""
        if self._error is not None:
            raise self._error

    def end(self, error: Exception | None) -> None:
        """Let go whoever waits; an error is theirs too, a cancellation is not."""
        with self._lock:
            self._done, self._error = True, error
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter()


@final
class Store:
    """The services of one lifetime.

    Attributes:
        owner: Whose they are, or None for the app's.
        home: Where the sync ones of a unit of work are built; None for others, built where they are asked for.
        instances: What has been built, by provider.
        exits: Clean-up that is due, in the order of building.
    """

    __slots__ = ("_claims", "_lock", "closed", "exits", "home", "instances", "owner")

    def __init__(self, owner: Owner | None = None, home: Home | None = None) -> None:
        self.owner, self.home = owner, home
        self.instances: dict[Provider, Any] = {}
        self.exits: dict[Provider, Exit] = {}
        self.closed = False
        self._claims: dict[Provider, Claim] = {}
        self._lock = threading.Lock()

    def claim(self, provider: Provider) -> tuple[Any, Claim | None, bool]:
        """Return the instance, or the build that it takes, and whether the caller is to do it.

        Raises:
            ServiceError: If store or provider were closed meanwhile.
        """
        with self._lock:
            instance = self.instances.get(provider, ABSENT)
            if instance is not ABSENT:
                return instance, None, False
            self._refuse_late(provider)
            claim = self._claims.get(provider)
            if claim is not None:
                return ABSENT, claim, False
            claim = self._claims[provider] = Claim(self._lock)
            return ABSENT, claim, True

    def keep(self, provider: Provider, instance: object, exit_: Exit | None) -> None:
        """Take in what was built.

        Raises:
            ServiceError: If store or provider were closed meanwhile; the instance is the caller's to clean up.
        """
        with self._lock:
            if self.home is None:  # a unit of work that is under way keeps what it has, until its end
                provider.stores.add(self)  # before the look, so that whoever closes the provider finds it here
            try:
                self._refuse_late(provider)
            except ServiceError:
                provider.stores.discard(self)
                raise
            self.instances[provider] = instance
            if exit_ is not None:
                exit_.home = self.home
                self.exits[provider] = exit_

    def end(self, provider: Provider, error: Exception | None) -> None:
        """Note that the caller's build has ended."""
        with self._lock:
            claim = self._claims.pop(provider)
        claim.end(error)

    def remove(self, provider: Provider) -> list[Exit]:
        """Let go of one service; its clean-up is the caller's to do."""
        with self._lock:
            provider.stores.discard(self)
            self.instances.pop(provider, None)
            exit_ = self.exits.pop(provider, None)
            return [] if exit_ is None else [exit_]

    def close(self) -> list[Exit]:
        """Let go of all, and take in no more; the clean-up is the caller's to do."""
        with self._lock:
            self.closed = True
            exits = list(self.exits.values())
            for provider in self.instances:
                provider.stores.discard(self)
            self.instances.clear()
            self.exits.clear()
            return exits

    def _refuse_late(self, provider: Provider) -> None:
        if self.closed or provider.closed:
            gone = "its registration was taken out" if provider.closed else "the container is closed"
            if self.owner is not None and not provider.closed:
                gone = f"{self.owner.id!r}, for whom it would be built, has left"
            elif self.home is not None and not provider.closed:
                gone = "the unit of work is over, or this part of it has failed"
            raise ServiceError(provider.label, gone, "ask for services before they are closed, and keep what you got")


@final
class Stores:
    """The stores of all lifetimes, or those beneath one override."""

    __slots__ = ("_by_owner", "_closed", "_lock")

    def __init__(self) -> None:
        self._by_owner: dict[Owner | None, Store] = {}
        self._closed = False
        self._lock = threading.Lock()

    def of(self, owner: Owner | None) -> tuple[Store, bool]:
        """Return one owner's store (None: the app's), and whether it is new."""
        store = self._by_owner.get(owner)
        if store is not None:
            return store, False
        with self._lock:
            new = owner not in self._by_owner
            store = self._by_owner.setdefault(owner, Store(owner))
            store.closed = self._closed
            return store, new

    def drop(self, owner: Owner | None) -> list[Exit]:
        """Close and forget one owner's store."""
        with self._lock:
            store = self._by_owner.pop(owner, None)
        return [] if store is None else store.close()

    def close(self) -> list[Exit]:
        """Close all of them, and take in no more."""
        with self._lock:
            self._closed = True
            stores = tuple(self._by_owner.values())
        return [exit_ for store in stores for exit_ in store.close()]
