"""What cannot work is refused when it is registered, and leaves nothing behind."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable
from typing import Annotated, Any

import anyio
import pytest
from tests.bus.tools import Ask, Keyed, Ping, Pong, SubPing, marks, noting, plugin, tracer

from plugbus import (
    Event,
    EventBus,
    EventTypeError,
    Listener,
    Owner,
    PlugbusError,
    PluginGoneError,
    Request,
    SubscriptionError,
    answers,
    declarations,
    listens,
    observes,
)

pytestmark = marks


def good_listener(event, next_fn):
    return next_fn(event)


async def good_async_listener(event, next_fn):
    return await next_fn(event)


def good(event):
    return None


class NoMethods(Listener[Ping]):
    """Neither handle nor ahandle."""


class NotAListener:
    """No Listener and not callable."""


class ColoursSwapped(Listener[Ping]):
    async def handle(self, event, next_fn):
        return await next_fn(event)


def annotated_listener(event: Pong, next_fn):
    return next_fn(event)


def annotated_observer(event: Pong) -> None:
    pass


def annotated_handler(request: Ping) -> str:
    return ""


def wrong_result(request: Ask) -> int:
    return 5


def needs_a_service(event: Ping, thing: NotAListener) -> None:
    pass


BROKEN: list[tuple[str, Callable[[EventBus], Any]]] = [
    ("listener without parameters", lambda bus: bus.listen(Ping, lambda: None)),
    ("listener of one parameter", lambda bus: bus.listen(Ping, lambda event: event)),
    ("observer without parameters", lambda bus: bus.observe(Ping, lambda: None)),
    ("observer with a keyword-only parameter", lambda bus: bus.observe(Ping, lambda *, event: None)),
    ("handler without parameters", lambda bus: bus.answer(Ask, lambda: "")),
    ("annotation of another event, listener", lambda bus: bus.listen(Ping, annotated_listener)),
    ("annotation of another event, observer", lambda bus: bus.observe(Ping, annotated_observer)),
    ("annotation of another event, handler", lambda bus: bus.answer(Ask, annotated_handler)),
    ("annotation of another result", lambda bus: bus.answer(Ask, wrong_result)),
    ("parameter that nobody provides", lambda bus: bus.observe(Ping, needs_a_service)),
    ("handler for an event", lambda bus: bus.answer(Ping, good)),
    ("handler for every event", lambda bus: bus.answer(Event, good)),
    ("handler for a pattern", lambda bus: bus.answer("tools.*", good)),
    ("listener class without handle", lambda bus: bus.listen(Ping, NoMethods)),
    ("listener object without handle", lambda bus: bus.listen(Ping, NoMethods())),
    ("async handle", lambda bus: bus.listen(Ping, ColoursSwapped())),
    ("no callable, listener", lambda bus: bus.listen(Ping, NotAListener())),
    ("no callable, observer", lambda bus: bus.observe(Ping, 5)),
    ("no callable, handler", lambda bus: bus.answer(Ask, "text")),
    ("no event type", lambda bus: bus.listen(5, good_listener)),
    ("an event instead of its type", lambda bus: bus.observe(Ping(), good)),
    ("no event at all", lambda bus: bus.observe([], good)),
    ("an empty name", lambda bus: bus.observe("", good)),
    ("a broken pattern", lambda bus: bus.observe("order.*placed", good)),
    ("a pattern with empty segments", lambda bus: bus.observe("order..placed", good)),
    ("on_error unknown, listener", lambda bus: bus.listen(Ping, good_listener, on_error="ignore")),
    ("on_error log, listener", lambda bus: bus.listen(Ping, good_listener, on_error="log")),
    ("on_error skip, observer", lambda bus: bus.observe(Ping, good, on_error="skip")),
    ("run_in unknown", lambda bus: bus.observe(Ping, good, run_in="moon")),
    ("run_in loop, sync", lambda bus: bus.observe(Ping, good, run_in="loop")),
    ("run_in thread, async", lambda bus: bus.listen(Ping, good_async_listener, run_in="thread")),
    ("timeout zero", lambda bus: bus.observe(Ping, good, timeout_seconds=0)),
    ("timeout negative", lambda bus: bus.observe(Ping, good, timeout_seconds=-1)),
    ("timeout NaN", lambda bus: bus.observe(Ping, good, timeout_seconds=math.nan)),
    ("where not callable", lambda bus: bus.observe(Ping, good, where=5)),
    ("where without parameters", lambda bus: bus.observe(Ping, good, where=lambda: True)),
    ("key without a key field", lambda bus: bus.observe(Ping, good, key="x")),
    ("option unknown", lambda bus: bus.observe(Ping, good, prioritty=5)),
    ("empty subscriber name", lambda bus: bus.observe(Ping, good, name="")),
]


def test_the_good_ones_are_good(bus: EventBus) -> None:
    """The control: what the broken ones break works when it is whole."""
    bus.listen(Ping, good_listener)
    bus.listen(Ping, good_async_listener)
    bus.observe(Ping, good, on_error="log", run_in="thread", timeout_seconds=math.inf)
    bus.answer(Ask, good)

    assert len(bus.subscriptions()) == 4


@pytest.mark.parametrize("register", [case for _, case in BROKEN], ids=[name for name, _ in BROKEN])
def test_what_cannot_work_is_refused_and_leaves_nothing_behind(
    bus: EventBus, register: Callable[[EventBus], Any]
) -> None:
    trace: list[str] = []
    bus.observe(Ping, noting("before", trace))
    before = [kind.name for kind in bus.types()]

    with pytest.raises(TypeError) as caught:
        register(bus)

    assert str(caught.value)
    assert [sub.kind for sub in bus.subscriptions()] == ["observer"]
    assert [kind.name for kind in bus.types()] == before
    bus.emit(Ping())
    assert trace == ["before"]


def test_a_refusal_names_the_subscriber_and_says_what_to_do(bus: EventBus) -> None:
    def audit(event):
        return event

    with pytest.raises(SubscriptionError) as caught:
        bus.listen(Ping, audit)

    assert "audit" in caught.value.subscriber
    assert caught.value.problem
    assert "next_fn" in str(caught.value)


@pytest.mark.parametrize("how", ["listen", "observe"])
def test_of_a_list_all_or_nothing_is_registered(bus: EventBus, how: str) -> None:
    """The second of three cannot be keyed: none of them hears anything."""
    trace: list[str] = []
    subscriber = tracer("x", trace) if how == "listen" else noting("x", trace)

    with pytest.raises(SubscriptionError):
        getattr(bus, how)([Keyed, Ping, SubPing], subscriber, key="berlin")

    bus.emit(Keyed())
    assert trace == []
    assert list(bus.subscriptions()) == []


def test_an_annotation_of_a_base_class_fits(bus: EventBus) -> None:
    def base(event: Event) -> None:
        pass

    def anything(event: object) -> None:
        pass

    def any_(event: Any) -> None:
        pass

    def union(event: Ping | Pong) -> None:
        pass

    def annotated(event: Annotated[Ping, "note"]) -> None:
        pass

    for fn in (base, anything, any_, union, annotated):
        bus.observe(Ping, fn)

    bus.emit(Ping())
    assert len(bus.subscriptions()) == 5


def test_an_annotation_of_a_subclass_does_not_fit(bus: EventBus) -> None:
    """It would get every Ping, also those that are no SubPing."""

    def sub(event: SubPing) -> None:
        pass

    with pytest.raises(SubscriptionError):
        bus.observe(Ping, sub)


def test_the_annotation_must_fit_each_event_of_a_list(bus: EventBus) -> None:
    def ping(event: Ping) -> None:
        pass

    with pytest.raises(SubscriptionError):
        bus.observe([Ping, Pong], ping)

    bus.observe([Ping, SubPing], ping)


def test_a_parameter_with_a_default_may_stay_unfilled(bus: EventBus) -> None:
    seen: list[object] = []

    def observer(event: Ping, thing: NotAListener | None = None, *args: object, **options: object) -> None:
        seen.append((event, thing, args, options))

    bus.observe(Ping, observer)
    bus.emit(Ping())

    assert seen == [(Ping(), None, (), {})]


def test_a_callable_of_any_parameters_fits(bus: EventBus) -> None:
    seen: list[object] = []

    bus.observe(Ping, lambda *args: seen.append(args))
    bus.emit(Ping())

    assert seen == [(Ping(),)]


def test_built_in_callables_fit(bus: EventBus) -> None:
    """``list.append`` and friends have a signature or none at all; they take one argument."""
    seen: list[object] = []
    by_type: dict[object, object] = {}

    bus.observe(Ping, seen.append)
    bus.observe(Ping, functools.partial(by_type.__setitem__, "last"))
    bus.emit(Ping())

    assert seen == [Ping()]
    assert by_type == {"last": Ping()}


# --------------------------------------------------------------------------------------------- subscriptions


def test_a_subscription_closes_by_method_call_and_context_manager(bus: EventBus) -> None:
    trace: list[str] = []
    one = bus.observe(Ping, noting("one", trace))
    two = bus.observe(Ping, noting("two", trace))
    with bus.observe(Ping, noting("three", trace)) as three:
        bus.emit(Ping())
    one.close()
    two()

    bus.emit(Ping())

    assert trace == ["one", "two", "three"]
    assert [sub.closed for sub in (one, two, three)] == [True] * 3
    assert list(bus.subscriptions()) == []


def test_closing_twice_is_fine(bus: EventBus) -> None:
    sub = bus.observe(Ping, good)

    sub.close()
    sub.close()
    sub()

    assert sub.closed


def test_an_error_in_the_with_block_closes_too(bus: EventBus) -> None:
    with pytest.raises(ZeroDivisionError), bus.observe(Ping, good):
        raise ZeroDivisionError

    assert list(bus.subscriptions()) == []


def test_subscribing_twice_calls_twice(bus: EventBus) -> None:
    trace: list[str] = []
    fn, observer = tracer("l", trace), noting("o", trace)
    bus.listen(Ping, fn)
    bus.listen(Ping, fn)
    bus.observe(Ping, observer)
    second = bus.observe(Ping, observer)

    bus.emit(Ping())
    assert trace == [">l", ">l", "<l", "<l", "o", "o"]

    trace.clear()
    second.close()
    bus.emit(Ping())
    assert trace == [">l", ">l", "<l", "<l", "o"]


def test_a_list_of_events_is_one_subscription(bus: EventBus) -> None:
    seen: list[object] = []
    sub = bus.observe([Ping, Pong], seen.append)

    bus.emit(Ping())
    bus.emit(Pong())
    assert seen == [Ping(), Pong()]
    assert len(bus.subscriptions()) == 1

    sub.close()
    bus.emit(Ping())
    bus.emit(Pong())
    assert len(seen) == 2


def test_an_event_that_a_list_names_twice_is_heard_once(bus: EventBus) -> None:
    seen: list[object] = []
    bus.observe([Ping, Event, SubPing, "tools.*"], seen.append)

    bus.emit(Ping())

    assert len(seen) == 1


def test_subscriptions_tell_what_they_are(bus: EventBus) -> None:
    _, shop = plugin(bus, "shop")
    shop.listen(Ping, good_listener, name="audit", priority=7)
    bus.answer(Ask, good)
    bus.observe([Ping, Pong], good)

    audit, handler, observer = bus.subscriptions()

    assert (audit.kind, audit.plugin, audit.closed, audit.active) == ("listener", "shop", False, True)
    assert audit.name.rpartition(".")[2] == "audit"
    assert (handler.kind, handler.plugin) == ("handler", "host")
    assert observer.kind == "observer"
    assert len(observer.events) == 2


# -------------------------------------------------------------------------------------------------- names


def test_a_name_is_unique_per_owner(bus: EventBus) -> None:
    _, shop = plugin(bus, "shop")
    bus.observe(Ping, good, name="audit")
    shop.observe(Ping, good, name="audit")

    with pytest.raises(SubscriptionError, match="audit"):
        bus.observe(Pong, good, name="audit")

    assert len(bus.subscriptions()) == 2


def test_a_closed_subscription_gives_its_name_back(bus: EventBus) -> None:
    bus.observe(Ping, good, name="audit").close()

    bus.observe(Ping, good, name="audit")


def test_automatic_names_come_from_the_callable_and_get_a_suffix(bus: EventBus) -> None:
    names = [bus.observe(Ping, good).name for _ in range(3)]

    assert all("good" in name for name in names)
    assert len(set(names)) == 3


def test_every_callable_has_an_automatic_name(bus: EventBus) -> None:
    class Quiet:
        def __call__(self, event) -> None: ...

    for fn in (Quiet(), functools.partial(good), lambda event: None, [].append, Quiet().__call__):
        assert bus.observe(Ping, fn).name


# --------------------------------------------------------------------------------------------- decorators


@listens(Ping, priority=5, name="decorated-listener")
def decorated_listener(event: Ping, next_fn) -> Ping:
    return next_fn(event)


@answers(Ask)
def decorated_handler(request: Ask) -> str:
    return "decorated"


@observes([Ping, Pong], where=lambda event: event.number > 0)
async def decorated_observer(event: Ping | Pong) -> None:
    SEEN.append(event)


@observes(Ping)
@observes(Pong, name="second")
def decorated_twice(event: object) -> None:
    SEEN.append("twice")


SEEN: list[object] = []


def test_decorators_return_the_function_unchanged() -> None:
    def listener(event, next_fn): ...

    def plain(event): ...

    assert listens(Ping)(listener) is listener
    assert answers(Ask)(plain) is plain
    assert observes(Ping)(plain) is plain
    assert decorated_handler(Ask()) == "decorated"


def test_declarations_come_in_the_order_of_definition() -> None:
    class Shop:
        @observes(Pong)
        def later_in_the_alphabet(self, event: Pong) -> None: ...

        @listens(Ping)
        def b(self, event: Ping, next_fn) -> Ping: ...

        def undecorated(self) -> None: ...

        @answers(Ask)
        async def a(self, request: Ask) -> str: ...

    found = declarations(Shop())

    assert [declaration.kind for declaration in found] == ["observer", "listener", "handler"]


def test_declarations_of_a_subclass_include_the_inherited_ones_once() -> None:
    class Base:
        @observes(Ping)
        def one(self, event: Ping) -> None: ...

        @observes(Ping)
        def overridden(self, event: Ping) -> None: ...

    class Sub(Base):
        @observes(Pong)
        def overridden(self, event: Pong) -> None: ...

        @observes(Pong)
        def two(self, event: Pong) -> None: ...

    assert len(declarations(Sub())) == 3


def test_declarations_are_subscribed_as_they_say(bus: EventBus) -> None:
    SEEN.clear()
    module = types.ModuleType(__name__)
    for fn in (decorated_listener, decorated_handler, decorated_observer, decorated_twice):
        setattr(module, fn.__name__, fn)

    subs = [bus.subscribe(declaration) for declaration in declarations(module)]

    assert sorted(sub.kind for sub in subs) == ["handler", "listener", "observer", "observer", "observer"]
    bus.emit(Ping(number=1))
    bus.emit(Pong(number=0))
    assert [Ping(number=1), "twice", "twice"] == SEEN
    assert bus.call(Ask()) == "decorated"


def test_what_a_module_only_imported_is_not_declared_by_it() -> None:
    module = types.ModuleType("another_module")
    module.imported = decorated_listener

    assert list(declarations(module)) == []


def test_bound_methods_are_called_on_their_object(bus: EventBus) -> None:
    class Shop:
        def __init__(self) -> None:
            self.seen: list[object] = []

        @observes(Ping)
        def note(self, event: Ping) -> None:
            self.seen.append(event)

    one, two = Shop(), Shop()
    for shop in (one, two):
        for declaration in declarations(shop):
            bus.subscribe(declaration)

    bus.emit(Ping())

    assert one.seen == two.seen == [Ping()]


def test_looking_for_declarations_triggers_no_property() -> None:
    class Shop:
        @property
        def trap(self) -> object:
            raise AssertionError("a property was read")

        @observes(Ping)
        def note(self, event: Ping) -> None: ...

    assert len(declarations(Shop())) == 1


@pytest.mark.parametrize(
    "decorate",
    [
        lambda: listens(Ping)(lambda event: event),
        lambda: observes(Ping, on_error="skip")(good),
        lambda: observes(Ping, timeout_seconds=-1)(good),
        lambda: answers(Ping)(good),
    ],
    ids=["parameters", "policy", "time", "event"],
)
def test_what_a_decorator_can_never_mean_is_refused_by_it_or_when_subscribed(
    bus: EventBus, decorate: Callable[[], Any]
) -> None:
    with pytest.raises(TypeError):
        module = types.ModuleType(__name__)
        module.fn = decorate()
        for declaration in declarations(module):
            bus.subscribe(declaration)

    assert list(bus.subscriptions()) == []


# ------------------------------------------------------------------------------------------------ owners


def test_an_owners_subscriptions_hear_nothing_before_it_is_active(bus: EventBus) -> None:
    trace: list[str] = []
    owner = Owner("shop")
    shop = bus.view(owner)
    shop.listen(Ping, tracer("listener", trace))
    shop.observe(Ping, noting("observer", trace))
    shop.answer(Ask, lambda request: "shop")

    bus.emit(Ping())
    assert trace == []
    with pytest.raises(LookupError):
        bus.call(Ask())

    bus.activate(owner)
    bus.emit(Ping())
    assert trace == [">listener", "<listener", "observer"]
    assert bus.call(Ask()) == "shop"

    bus.retire(owner)
    bus.emit(Ping())
    assert len(trace) == 3


def test_what_a_view_registers_leaves_with_its_owner(bus: EventBus) -> None:
    class Own(Event, name="registration.own"):
        pass

    trace: list[str] = []
    owner, shop = plugin(bus, "shop")
    shop.observe(Ping, noting("shop", trace))
    shop.listen(Ping, tracer("shop", trace))
    shop.answer(Ask, lambda request: "shop")
    shop.declare(Own)
    bus.observe(Ping, noting("host", trace))
    assert len(owner.owns) >= 3
    assert bus.type_named("registration.own") is not None

    assert anyio.run(owner.aclose) == []

    bus.emit(Ping())
    assert trace == ["host"]
    assert [sub.plugin for sub in bus.subscriptions()] == ["host"]
    assert bus.type_named("registration.own") is None
    assert owner.owns == ()


def test_a_closed_subscription_leaves_its_owners_record(bus: EventBus) -> None:
    owner, shop = plugin(bus, "shop")
    before = owner.owns

    for _ in range(100):
        shop.observe(Ping, good).close()

    assert owner.owns == before


def test_a_view_whose_owner_is_gone_is_closed(bus: EventBus) -> None:
    owner, shop = plugin(bus, "shop")
    anyio.run(owner.aclose)
    assert owner.gone

    for use in (
        lambda: shop.observe(Ping, good),
        lambda: shop.listen(Ping, good_listener),
        lambda: shop.answer(Ask, good),
        lambda: shop.emit(Ping()),
    ):
        with pytest.raises(PluginGoneError) as caught:
            use()
        assert caught.value.plugin == "shop"


def test_a_view_emits_on_the_same_chains(bus: EventBus) -> None:
    trace: list[str] = []
    _, shop = plugin(bus, "shop")
    _, billing = plugin(bus, "billing")
    billing.observe(Ping, noting("billing", trace))

    shop.emit(Ping())

    assert trace == ["billing"]


def test_what_the_host_registers_belongs_to_the_host(bus: EventBus) -> None:
    sub = bus.observe(Ping, good)

    assert sub.plugin == "host"


def test_errors_of_registering_are_errors_of_plugbus() -> None:
    assert issubclass(SubscriptionError, PlugbusError)
    assert issubclass(EventTypeError, PlugbusError)


def test_a_request_that_is_answered_with_anything_takes_any_annotation() -> None:
    """``Any`` is a class since Python 3.11, and nothing is a subclass of it."""

    class Whatever(Request[Any]): ...

    def answer(request: Whatever) -> int:
        return 1

    bus = EventBus()
    bus.answer(Whatever, answer)

    assert bus.call(Whatever()) == 1
