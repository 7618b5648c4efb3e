"""The container as a type checker sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Generic, Protocol, TypeVar, assert_type

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
