"""The container as a type checker sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Generic, Protocol, TypeVar, assert_type

from plugbus.scope import Scope
from plugbus.services import Registration, Services

T = TypeVar("T")


class Database: ...


class Mail(Protocol):
    def send(self, to: str) -> str: ...


class Post:
    def send(self, to: str) -> str:
        return to


class Repository(Generic[T]): ...


def open_database() -> Iterator[Database]:
    yield Database()


async def aopen_database() -> AsyncIterator[Database]:
    yield Database()


async def connect() -> Database:
    return Database()


def handle(event: str, db: Database) -> int:
    return 1


async def ahandle(event: str, db: Database) -> int:
    return 1


services = Services()


def registers() -> None:
    assert_type(services.value(Database, Database()), Registration)
    services.value(Mail, Post())

    services.factory(Database, Database)
    services.factory(Database, lambda: Database())
    services.factory(Database, open_database)
    services.factory(Database, aopen_database)
    services.factory(Database, connect)
    services.factory(Database, Database, scope="plugin")

    assert_type(services.inject(handle, given=1), Callable[..., int])
    _bound: Callable[..., Coroutine[Any, Any, int]] = services.inject(ahandle, given=1)
    assert_type(services.inject(Database), Callable[..., Database])


def gets() -> None:
    assert_type(services.get(Database), Database)
    assert_type(services.get(Mail), Mail)
    assert_type(services.get(Repository[int]), Repository[int])
    assert_type(services.get(Database | None), Database | None)
    assert_type(services.get(Database, "replica"), Database)


def refused() -> None:
    services.factory(Database, Database, scope="for ever")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    services.factory(Database, Database())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def agets() -> None:
    assert_type(await services.aget(Database), Database)
    assert_type(await services.ainject(handle), Callable[..., int])
    async with services.override(Database, object()):
        pass
    async with services as same:
        assert_type(same, Services)


async def units_of_work(services: Services) -> None:
    """What a scope hands out is typed, in both worlds."""
    services.factory(Database, open_database, scope="call")
    assert_type(services.scope({Database: Database()}), Scope)
    with services.scope() as scope:
        assert_type(scope, Scope)
        assert_type(scope.get(Database), Database)
        assert_type(scope.get(Mail), Mail)
        scope.on_success(lambda: None)
    async with services.scope() as scope:
        assert_type(await scope.aget(Repository[int]), Repository[int])
    services.factory(Database, open_database, scope="request")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
