"""Injection: what a callable wants is found by type, else by name, and everything that is wrong is said at once."""

from __future__ import annotations

import functools
import typing
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Annotated, Any, ForwardRef, Generic, NewType, Optional, Protocol, Self, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from plugbus.errors import PluginGoneError, Problem, ServiceError, WiringError
from plugbus.owner import Owner
from plugbus.services import Inject, Named, Parameter, Services

if TYPE_CHECKING:
    from somewhere_else import Hidden  # type: ignore[import-not-found]

T = TypeVar("T")


class Database:
    def __init__(self, url: str = "real") -> None:
        self.url = url


class Cache: ...


class Mail(Protocol):
    def send(self, to: str) -> str: ...


class Post:
    def send(self, to: str) -> str:
        return f"sent to {to}"


class Repository(Generic[T]):
    def __init__(self, db: Database) -> None:
        self.db = db


UserId = NewType("UserId", int)
Store = TypeAliasType("Store", Database)


@pytest.fixture
def services() -> Services:
    services = Services()
    services.value(Database, Database())
    services.value(Database, Database("copy"), name="replica")
    services.value(Cache, Cache(), names=("cache", "lru"))
    services.value(Mail, Post())
    services.value(int, 7, name="count")
    services.value(UserId, UserId(1))
    services.factory(Repository[int], Repository)
    return services


def problems_of(error: pytest.ExceptionInfo[WiringError]) -> str:
    return "\n".join(map(str, error.value.problems))


# -- what is found


def by_class(db: Database) -> str:
    return db.url


def by_name_in_annotation(db: Annotated[Database, Named("replica")]) -> str:
    return db.url


def by_protocol(mail: Mail) -> str:
    return mail.send("ann")


def by_generic(repository: Repository[int]) -> str:
    return repository.db.url


def by_new_type(user: UserId) -> int:
    return user


def by_alias(db: Store) -> str:
    return db.url


def by_parameter_name(count) -> int:
    return count


def by_parameter_name_any(count: Any) -> int:
    return count


def by_keyword(*, db: Database) -> str:
    return db.url


def by_mark(db: Annotated[Database, Inject]) -> str:
    return db.url


def by_mark_object(db: Annotated[Database, Inject()]) -> str:
    return db.url


def by_string_in_string(db: "Database") -> str:  # noqa: UP037 -- twice a string, which is the point
    return db.url


def optional_there(db: Database | None) -> str:
    return db.url if db else "none"


def optional_named(db: Annotated[Database | None, Named("replica")]) -> str:
    return db.url if db else "none"


def optional_missing(text: str | None) -> object:
    return text


def default_there(db: Database = None) -> str:  # type: ignore[assignment]
    return db.url


def default_missing(text: str = "default") -> str:
    return text


def default_missing_by_name(nowhere="default") -> str:
    return nowhere


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (by_class, "real"),
        (by_name_in_annotation, "copy"),
        (by_protocol, "sent to ann"),
        (by_generic, "real"),
        (by_new_type, 1),
        (by_alias, "real"),
        (by_parameter_name, 7),
        (by_parameter_name_any, 7),
        (by_keyword, "real"),
        (by_mark, "real"),
        (by_mark_object, "real"),
        (by_string_in_string, "real"),
        (optional_there, "real"),
        (optional_named, "copy"),
        (optional_missing, None),
        (default_there, "real"),
        (default_missing, "default"),
        (default_missing_by_name, "default"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_parameter_is_found(services: Services, call: Callable[..., Any], result: object) -> None:
    assert services.inject(call)() == result


def test_every_name_of_a_service_finds_it(services: Services) -> None:
    assert services.inject(lambda cache, lru: cache is lru)()


def test_the_only_one_of_its_type_is_found_without_its_name(services: Services) -> None:
    """``factory(Database, ..., name="db")`` is enough for ``db: Database``."""
    assert services.inject(lambda: None)() is None

    def wants(count: int) -> int:
        return count

    assert services.inject(wants)() == 7


def test_a_service_without_a_name_goes_before_those_with_one(services: Services) -> None:
    assert services.get(Database).url == "real"


def test_a_registered_type_is_found_as_itself_alone(services: Services) -> None:
    """A subclass of it, or a base class, is another service."""

    class Special(Database): ...

    with pytest.raises(WiringError, match="nothing provides Special"):
        services.get(Special)


def test_an_unresolvable_annotation_falls_back_to_its_name(services: Services) -> None:
    """And the other parameters are resolved as ever."""

    def wants(count: Hidden, db: Database) -> object:
        return count, db.url

    assert services.inject(wants)() == (7, "real")


@pytest.mark.parametrize("annotation", ["Hidden | None", "None | Hidden", "Optional[Hidden]"])
def test_an_unresolvable_annotation_may_be_optional(services: Services, annotation: str) -> None:
    def wants(nowhere) -> object:
        return nowhere

    wants.__annotations__["nowhere"] = annotation

    assert services.inject(wants)() is None


@pytest.mark.parametrize(
    "annotation", [Annotated[Database, [1]], ForwardRef("Hidden.x"), Annotated["Hidden", 1], "1 +"], ids=str
)
def test_an_odd_annotation_breaks_nothing(services: Services, annotation: object) -> None:
    """It falls back to the name where it says nothing."""

    def wants(db) -> object:
        return db

    wants.__annotations__["db"] = annotation
    services.value(str, "by name", name="db")

    assert services.inject(wants)() in ("by name", services.get(Database))


def test_an_annotation_that_cannot_be_a_key_falls_back_to_the_name(services: Services) -> None:
    def wants(count) -> object:
        return count

    wants.__annotations__["count"] = typing.Literal[[1]]  # unhashable

    assert services.inject(wants)() == 7


def test_a_union_of_several_types_is_a_type_of_its_own(services: Services) -> None:
    services.value(int | str, "either")

    def wants(either: int | str) -> object:
        return either

    def may_want(either: int | str | None) -> object:
        return either

    assert (services.inject(wants)(), services.inject(may_want)()) == ("either", "either")


def test_forward_references_inside_an_annotation_are_resolved(services: Services) -> None:
    def wants(db) -> str:
        return db.url

    wants.__annotations__["db"] = Optional["Database"]

    assert services.inject(wants)() == "real"


# -- what is injected


class Settings(BaseModel):
    size: int = 0


class Base:
    Settings: type[BaseModel] | None = None

    def list(self) -> None: ...


class Products(Base):
    class Settings(BaseModel):
        size: int = 1

    def __init__(self, settings: Settings, db: Database) -> None:
        self.settings, self.db = settings, db

    def boot(self, settings: Settings, numbers: list[int]) -> tuple[int, list[int]]:
        return settings.size, numbers

    @classmethod
    def make(cls, settings: Settings) -> int:
        return settings.size

    @staticmethod
    def help(db: Database) -> str:
        return db.url


class SpecialProducts(Products):
    class Settings(Products.Settings):
        size: int = 2


class PlainProducts(Base):
    def __init__(self, settings: Settings, other: Settings | None) -> None:
        self.settings = settings


def test_a_nested_class_is_found_in_the_class_that_nests_it(services: Services) -> None:
    services.value(Products.Settings, Products.Settings())

    assert services.inject(Products)().settings.size == 1


def test_a_derived_class_may_nest_its_own(services: Services) -> None:
    """The constructor that it inherits then means the derived one."""
    services.value(Products.Settings, Products.Settings())
    services.value(SpecialProducts.Settings, SpecialProducts.Settings())

    assert services.inject(SpecialProducts)().settings.size == 2
    assert services.inject(Products)().settings.size == 1


def test_what_a_base_class_leaves_empty_is_found_in_the_module(services: Services) -> None:
    services.value(Settings, Settings())

    assert services.inject(PlainProducts)().settings.size == 0


def test_a_method_named_like_a_type_hides_nothing(services: Services) -> None:
    """``def list(self)`` in the class, ``list[int]`` in an annotation."""
    products = Products(Products.Settings(), Database())
    services.value(Products.Settings, Products.Settings())
    services.value(list[int], [1, 2])

    assert services.inject(products.boot)() == (1, [1, 2])


def test_class_and_static_methods_are_injected(services: Services) -> None:
    services.value(Products.Settings, Products.Settings())

    assert services.inject(Products.make)() == 1
    assert services.inject(Products.help)() == "real"


@dataclass
class Job:
    db: Database
    retries: int = 3


class CallableJob:
    def __call__(self, db: Database) -> str:
        return db.url


class Model(BaseModel):
    text: str = "default"


class MadeElsewhere:
    def __new__(cls, db: Database) -> Self:
        made = super().__new__(cls)
        made.url = db.url  # type: ignore[attr-defined]
        return made


class Counting(type):
    def __call__(cls, *args: object, **kwargs: object) -> object:
        return super().__call__(*args, **kwargs)


class Counted(metaclass=Counting):
    def __init__(self, db: Database) -> None:
        self.db = db


def test_a_dataclass_is_injected(services: Services) -> None:
    job = services.inject(Job)()

    assert (job.db.url, job.retries) == ("real", 7)


def test_a_callable_object_is_injected(services: Services) -> None:
    assert services.inject(CallableJob())() == "real"


def test_a_class_with_its_own_new_is_injected(services: Services) -> None:
    assert services.inject(MadeElsewhere)().url == "real"  # type: ignore[attr-defined]


def test_a_class_with_a_metaclass_is_injected(services: Services) -> None:
    assert services.inject(Counted)().db.url == "real"


def test_a_model_keeps_its_defaults(services: Services) -> None:
    assert services.inject(Model)().text == "default"


def test_a_class_without_a_constructor_wants_nothing(services: Services) -> None:
    assert services.inject(Cache) is Cache


def test_an_abstract_class_or_protocol_with_a_constructor_is_analysed() -> None:
    class Abstract(ABC, Generic[T]):
        def __init__(self, db: Database) -> None: ...

    class Fulfilled(Mail): ...

    assert [parameter.name for parameter in Services().parameters(Abstract)] == ["db"]
    assert Services().parameters(Fulfilled) == ()


def test_a_decorated_function_is_injected_as_what_it_wraps(services: Services) -> None:
    def shouting(call: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(call)
        def shout(*args: object, **kwargs: object) -> str:
            return call(*args, **kwargs).upper()

        return shout

    services.inject(by_class)  # its analysis is kept on it, and must not be taken for the wrapper's

    assert services.inject(shouting(by_class))() == "REAL"


def test_a_decorated_method_is_injected_as_what_it_wraps(services: Services) -> None:
    class Plugin:
        @functools.cache  # noqa: B019
        def cached(self, db: Database) -> str:
            return db.url

        @functools.wraps(by_class)
        def wrapped(self, **services: Any) -> str:
            return str(services)

    assert services.inject(Plugin().wrapped)() == "{}"


def test_a_function_with_its_own_signature_is_believed(services: Services) -> None:
    import inspect

    def anything(**kwargs: Any) -> Any:
        return kwargs["count"]

    anything.__signature__ = inspect.signature(by_parameter_name)  # type: ignore[attr-defined]

    assert services.inject(anything)() == 7


def test_what_a_partial_binds_is_not_injected(services: Services) -> None:
    def wants(event: str, first: str, db: Database, count, last: str = "-") -> object:
        return event, first, db.url, count, last

    assert services.inject(functools.partial(wants, "e", "f"))() == ("e", "f", "real", 7, "-")
    assert services.inject(functools.partial(wants, first="f", count=1), given=1)("e") == ("e", "f", "real", 1, "-")


def test_builtins_without_a_signature_want_nothing(services: Services) -> None:
    assert services.inject(dict) is dict
    assert services.inject(print) is not None
    assert services.parameters(max) == ()


def test_a_builtin_method_is_looked_at(services: Services) -> None:
    assert [parameter.name for parameter in services.parameters([].append)] == ["object"]
    assert [parameter.name for parameter in services.parameters(str.upper)] == ["self"]


def test_what_the_caller_gives_is_not_injected(services: Services) -> None:
    def handle(event: Database, next_fn: Cache, mail: Mail, *, db: Database) -> object:
        return event, next_fn, mail.send("bob"), db.url

    bound = services.inject(handle, given=2)

    assert bound(1, 2) == (1, 2, "sent to bob", "real")  # type: ignore[arg-type]


def test_more_may_be_given_than_there_is() -> None:
    """``*args`` takes the rest; parameters that only a name fills are not given."""

    def handle(*args: object, db: Database) -> None: ...

    assert [parameter.name for parameter in Services().parameters(handle, given=2)] == ["db"]


def test_nothing_to_inject_leaves_the_function_as_it_is(services: Services) -> None:
    def handle(event: str, missing: bytes = b"") -> None: ...

    assert services.inject(handle, given=1) is handle
    assert services.inject(by_class, given=1) is by_class


async def _asynchronous(db: Database) -> str:
    return db.url


@pytest.mark.anyio
async def test_an_async_function_stays_async(services: Services) -> None:
    import inspect

    bound = services.inject(_asynchronous)

    assert inspect.iscoroutinefunction(bound)
    assert await bound() == "real"


def test_a_parameter_that_only_a_position_fills_is_a_problem(services: Services) -> None:
    def handle(event: str, db: Database, /) -> None: ...

    with pytest.raises(WiringError, match="positional-only"):
        services.inject(handle, given=1)


def test_a_positional_only_parameter_with_a_default_keeps_it(services: Services) -> None:
    def handle(db: Database = Database("default"), /) -> str:  # noqa: B008
        return db.url

    assert services.inject(handle)() == "default"


def test_two_overloads_of_one_name_in_a_class_are_analysed_apart() -> None:
    """What is kept on the class belongs to one function of it."""

    class Plugin:
        def first(self, db: Database) -> None: ...
        def second(self, cache: Cache) -> None: ...

    plugin, services = Plugin(), Services()

    for _ in range(2):
        assert [p.name for p in services.parameters(plugin.first)] == ["db"]
        assert [p.name for p in services.parameters(plugin.second)] == ["cache"]


def test_analysis_is_kept_on_the_callable() -> None:
    """The second time costs a look-up; nothing of ours keeps an unloaded plugin alive."""

    def wants(db: Database) -> None: ...

    services = Services()

    assert services.parameters(wants) is services.parameters(wants)
    assert services.parameters(Products) is services.parameters(Products)


def test_an_unresolved_annotation_is_tried_again(services: Services) -> None:
    """Its module may not have been loaded to the end."""
    names: dict[str, Any] = {}
    exec("def wants(db: Later): return db", names)
    wants = names["wants"]
    assert services.parameters(wants)[0].unresolved == "Later"

    names["Later"] = Database

    assert services.inject(wants)().url == "real"


def test_a_factory_is_looked_at_again_until_all_is_resolved(services: Services) -> None:
    names: dict[str, Any] = {}
    exec("def make(db: Later): return [db]", names)
    services.factory(list, names["make"])
    with pytest.raises(WiringError, match="'Later' cannot be resolved"):
        services.get(list)

    names["Later"] = Database

    assert services.get(list)[0].url == "real"


def test_a_class_that_cannot_be_written_to_is_analysed_each_time(services: Services) -> None:
    class Closed(type):
        def __setattr__(cls, name: str, value: object) -> None:
            raise AttributeError(name)

    class Sealed(metaclass=Closed):
        def __init__(self, db: Database) -> None:
            self.db = db

    assert services.inject(Sealed)().db.url == "real"


def test_a_function_without_a_module_is_analysed(services: Services) -> None:
    lost = FunctionType((lambda count: count).__code__, {"__builtins__": {}})

    assert services.inject(lost)() == 7


def test_a_parameter_shows_what_it_wants() -> None:
    def wants(plain, db: Annotated[Database, Named("replica")], repository: Repository[int]) -> None: ...

    assert [str(parameter) for parameter in Services().parameters(wants)] == [
        "plain",
        "db: Database named 'replica'",
        "repository: Repository[int]",
    ]
    assert repr(Parameter("x").type) == "BY_NAME"


def test_parameters_say_all_about_themselves() -> None:
    def wants(one: Hidden, /, two: Annotated[Cache | None, Inject], *, three: int = 3) -> None: ...

    one, two, three = Services().parameters(wants)

    assert (one.unresolved, one.positional_only) == ("Hidden", True)
    assert (two.type, two.optional, two.marked) == (Cache, True, True)
    assert (three.has_default, three.keyword_only) == (True, True)


# -- what is wrong


class Databse: ...


def test_everything_missing_is_said_at_once_with_the_nearest_names(services: Services) -> None:
    def wants(db: Databse, coutn, text: str) -> None: ...

    with pytest.raises(WiringError) as caught:
        services.inject(wants)

    first, second, third = map(str, caught.value.problems)
    assert "nothing provides Databse" in first
    assert "did you mean Database" in first
    assert "no service is named 'coutn'" in second
    assert "did you mean count?" in second
    assert "wants(text: str): nothing provides str" in third


def test_a_missing_name_shows_the_names_of_its_type(services: Services) -> None:
    def wants(db: Annotated[Database, Named("replcia")]) -> None: ...

    with pytest.raises(WiringError, match="did you mean Database named 'replica'"):
        services.inject(wants)


def test_an_unresolvable_annotation_without_a_service_of_its_name_says_why(services: Services) -> None:
    def wants(hidden: Hidden) -> None: ...

    with pytest.raises(WiringError, match="'Hidden' cannot be resolved") as caught:
        services.inject(wants)

    assert "TYPE_CHECKING" in problems_of(caught)


def test_a_registered_subclass_is_pointed_out() -> None:
    class Sqlite(Database): ...

    services = Services()
    services.value(Sqlite, Sqlite())

    with pytest.raises(WiringError, match="Sqlite is one: register it as Database too"):
        services.get(Database)


def test_several_of_a_type_need_a_name() -> None:
    services = Services()
    services.value(Database, Database(), name="main")
    services.value(Database, Database(), name="replica")

    with pytest.raises(WiringError, match="several services fit: Database named 'main'") as caught:
        services.inject(by_class)

    assert "Annotated" in problems_of(caught)


def test_a_name_that_two_services_have_means_neither() -> None:
    services = Services()
    services.value(int, 1, name="count")
    services.value(str, "1", name="count")

    with pytest.raises(WiringError, match="several services fit: int named 'count'"):
        services.inject(by_parameter_name)


def test_two_providers_of_one_thing_are_a_problem() -> None:
    services = Services()
    services.value(Database, Database())
    services.factory(Database, Database)

    (problem,) = services.check([("", by_class, 0, None)])

    assert (problem.where, "provided 2 times" in problem.message) == ("Database", True)
    assert "the value Database, test_injection.Database" in problem.message.replace("tests.", "")
    with pytest.raises(WiringError, match="take all but one away"):
        services.inject(by_class)


def test_check_sees_every_provider_and_every_target() -> None:
    """All at once, and nothing is built."""
    built: list[str] = []

    def make_cache(db: Database) -> Cache:
        built.append("cache")
        return Cache()

    services = Services()
    services.factory(Cache, make_cache)
    services.factory(int, lambda mail: 7)

    problems = services.check([("plugin 'shop'", by_protocol, 0, None), ("", by_generic, 0, None)])

    assert [problem.where.rpartition(".")[2] for problem in problems] == [
        "make_cache(db: Database)",
        "<lambda>(mail)",
        "plugin 'shop'(mail: Mail)",
        "by_generic(repository: Repository[int])",
    ]
    assert built == []


def test_a_sound_graph_has_no_problems(services: Services) -> None:
    assert services.check([("", by_generic, 0, None), ("", by_protocol, 0, Owner("shop"))]) == []


class Hen: ...


class Egg: ...


def test_a_circle_is_shown_and_not_followed() -> None:
    services = Services()

    def lay(hen: Hen) -> Egg:
        return Egg()

    def hatch(egg: Egg) -> Hen:
        return Hen()

    services.factory(Hen, hatch)
    services.factory(Egg, lay)

    (problem,) = services.check()
    assert "Hen -> Egg -> Hen" in problem.message
    with pytest.raises(WiringError, match="Egg -> Hen -> Egg"):
        services.get(Egg)


def test_a_service_that_needs_itself_is_a_circle() -> None:
    services = Services()
    services.factory(Hen, lambda hen: hen, name="hen")

    assert "Hen named 'hen' -> Hen named 'hen'" in services.check()[0].message


def test_what_lives_for_a_plugin_cannot_be_asked_for_by_the_app() -> None:
    services = Services()

    def make_database(cache: Cache) -> Database:
        return Database()

    services.factory(Cache, Cache, scope="plugin")
    services.factory(Database, make_database)

    (problem,) = services.check()
    assert "Database lives as long as the app, and asks for Cache" in problem.message
    assert problem.where.endswith("make_database(cache: Cache)")


def test_what_lives_for_a_plugin_needs_one_who_asks() -> None:
    services = Services()
    services.factory(Cache, Cache, scope="plugin")

    with pytest.raises(WiringError, match="no plugin asks here"):
        services.get(Cache)


def test_a_plugins_own_service_may_use_what_is_made_for_that_plugin() -> None:
    """It leaves with the plugin, so it does not outlive it."""
    services, shop = Services(), Owner("shop")

    def make_database(cache: Cache, owner: Owner) -> Database:
        return Database(owner.id)

    services.factory(Cache, Cache, scope="plugin")
    services.view(shop).factory(Database, make_database)

    assert services.check() == []
    assert services.get(Database).url == "shop"


def test_problems_in_a_factory_are_said_once_for_all_who_ask() -> None:
    services = Services()
    services.factory(Database, lambda missing: Database(), scope="plugin")
    targets = [("", by_class, 0, Owner("shop")), ("", by_class, 0, Owner("mail"))]

    assert len(services.check(targets)) == 1


def test_problems_are_found_before_anything_is_built() -> None:
    built: list[str] = []
    services = Services()
    services.factory(Cache, lambda: built.append("cache") or Cache(), name="cache")
    services.factory(Database, lambda cache, missing: Database())

    with pytest.raises(WiringError, match="'missing'"):
        services.get(Database)

    assert built == []


# -- who asks


def test_services_and_owner_are_there_without_registering_them() -> None:
    services, shop = Services(), Owner("shop")
    view = services.view(shop)
    view.factory(list, lambda owner: [owner.id], scope="plugin")

    def by_type(mine: Services, me: Owner) -> object:
        return mine.get(list), me

    def by_name(services, owner) -> object:
        return services.get(list), owner

    assert view.inject(by_type)() == (["shop"], shop)
    assert services.inject(by_name, owner=shop)() == (["shop"], shop)


def test_nobody_has_no_owner() -> None:
    with pytest.raises(WiringError, match="'owner'"):
        Services().inject(lambda owner: owner)


def test_a_registered_service_goes_before_a_built_in_one() -> None:
    services = Services()
    services.value(str, "mine", name="owner")

    assert services.inject(lambda owner: owner)() == "mine"


def test_the_owner_of_a_container_asks_where_nobody_else_does() -> None:
    services = Services(owner=Owner("host"))
    services.factory(Cache, lambda owner: owner.id, scope="plugin")

    assert services.get(Cache) == "host"


def test_a_plugin_that_left_gets_nothing() -> None:
    shop = Owner("shop")
    services = Services()
    view = services.view(shop)
    shop.gone = True

    for ask in (
        lambda: view.get(int),
        lambda: view.value(int, 1),
        lambda: view.factory(int, int),
        lambda: services.inject(by_class, owner=shop),
    ):
        with pytest.raises(PluginGoneError, match="'shop': its services"):
            ask()


# -- laws


@st.composite
def graphs(draw: st.DrawFn) -> dict[int, set[int]]:
    """Services by number, each with the numbers that it needs; some of them are missing."""
    size = draw(st.integers(1, 12))
    needs = st.sets(st.integers(0, size + 1), max_size=4)
    return {number: draw(needs) for number in range(size)}


class Node:
    def __init__(self, number: int, needs: dict[str, Node]) -> None:
        self.number, self.needs = number, needs


def provide(services: Services, graph: dict[int, set[int]], built: list[int]) -> None:
    for number, needs in graph.items():
        names = {f"n{need}" for need in needs}
        wants, needed = ", ".join(sorted(names)), ", ".join(f"{name}={name}" for name in names)
        code = f"def make_{number}({wants}): return make({number}, dict({needed}))"

        def make(number: int, needs: dict[str, Node]) -> Node:
            built.append(number)
            return Node(number, needs)

        namespace: dict[str, Any] = {"make": make}
        exec(code, namespace)
        services.factory(Node, namespace[f"make_{number}"], name=f"n{number}")


def cyclic(graph: dict[int, set[int]]) -> set[int]:
    """The nodes from which one comes back to them."""

    def reach(start: int) -> set[int]:
        seen: set[int] = set()
        left = list(graph.get(start, ()))
        while left:
            node = left.pop()
            if node not in seen:
                seen.add(node)
                left += graph.get(node, ())
        return seen

    return {node for node in graph if node in reach(node)}


@given(graph=graphs())
def test_check_finds_every_missing_service_and_every_circle(graph: dict[int, set[int]]) -> None:
    """One problem per missing parameter; each circle of the graph is on one of the paths shown."""
    services = Services()
    provide(services, graph, [])

    problems = services.check()

    missing = [problem for problem in problems if "is named" in problem.message]
    circles = [problem for problem in problems if "circle" in problem.message]
    assert len(missing) == sum(need not in graph for needs in graph.values() for need in needs)
    assert len(missing) + len(circles) == len(problems)
    assert bool(circles) == bool(cyclic(graph))
    broken = {number for number in graph if all(f"'n{number}'" not in problem.message for problem in circles)}
    assert not cyclic({number: graph[number] & broken for number in broken})


@given(graph=graphs(), start=st.integers(0, 11))
def test_building_is_topological_and_once(graph: dict[int, set[int]], start: int) -> None:
    """What a service needs is built before it; each is built once; a broken graph builds nothing."""
    services = Services()
    built: list[int] = []
    provide(services, graph, built)
    wanted = start % len(graph)

    try:
        node = services.get(Node, f"n{wanted}")
    except WiringError:
        assert built == []
        return

    assert node.number == wanted
    assert len(built) == len(set(built))
    assert all(built.index(need) < built.index(number) for number in built for need in graph[number])
    assert services.get(Node, f"n{wanted}") is node


def test_problem_and_service_error_are_what_they_are() -> None:
    """The two kinds of failure: the graph is wrong, or it could not be built here."""

    async def connect() -> Database:
        return Database()

    services = Services()
    services.factory(Database, connect)

    assert isinstance(services.check([("x", by_protocol, 0, None)])[0], Problem)
    with pytest.raises(ServiceError, match="is async"):
        services.inject(by_class)
