"""Every mix of colours, in every world, gives the result and the order of a 20-line interpreter."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, note, settings
from hypothesis import strategies as st
from tests.bus.tools import EVERY_WORLD, Ask, Boom, Ping, World, failures, marks, plugin

from plugbus import EventBus, Listener, NoHandlerError, Refused, Veto, replace

pytestmark = marks

ACTS = (
    "pass", "pass", "pass", "short", "replace", "twice", "retry", "fail before", "fail after",
    "flaky before", "flaky after", "swallow", "mask", "veto", "veto after",
)  # fmt: skip
COLOURS = ("sync", "async", "sync class", "async class", "both")


@dataclass(frozen=True)
class Step:
    """One listener: what it does, its colour, its policy, its plugin."""

    act: str
    colour: str = "sync"
    lenient: bool = False
    plugin: int = 0


@dataclass(frozen=True)
class Bottom:
    """The handler or one observer."""

    act: str = "pass"
    asynchronous: bool = False
    inside: bool = False
    raises: bool = False
    caller: bool = False
    plugin: int = 0


@dataclass(frozen=True)
class Chain:
    request: bool
    listeners: tuple[Step, ...] = ()
    handler: Bottom | None = None
    observers: tuple[Bottom, ...] = ()


@dataclass
class Run:
    """What one run left behind: the trace, the failed observers, how often each flaky one was asked."""

    trace: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)

    def first_time(self, name: str) -> bool:
        self.asked[name] = self.asked.get(name, 0) + 1
        return self.asked[name] == 1


# ------------------------------------------------------------------- what subscribers do, in any colour


def listening(name: str, act: str, run: Run, message: Any) -> Generator[Any, Any, Any]:
    """A listener's body; ``yield`` calls next_fn."""
    run.trace.append(f">{name} {'.'.join(message.trail)}")
    if act == "short":
        return mark(name, message)
    if act == "veto":
        raise Veto(name)
    if act == "fail before" or (act == "flaky before" and run.first_time(name)):
        raise Boom(name)
    try:
        result = yield replace(message, trail=(*message.trail, name)) if act == "replace" else message
        if act == "twice":
            result = yield message
    except (Boom, ExceptionGroup, NoHandlerError):
        if act == "mask":
            raise Boom(f"{name} masked") from None
        if act == "swallow":
            return mark(name, message)
        if act != "retry":
            raise
        result = yield message
    if act == "veto after":
        raise Veto(name)
    if act == "fail after" or (act == "flaky after" and run.first_time(name)):
        raise Boom(name)
    run.trace.append(f"<{name}")
    return mark(name, result)


def mark(name: str, result: Any) -> Any:
    """The result as *name* changed it: an event, or the str that answers the request."""
    if isinstance(result, str):
        return f"{result}<{name}"
    if isinstance(result, Ask):
        return f"answer of {name}"
    return replace(result, trail=(*result.trail, f"<{name}"))


def bottom(name: str, what: Bottom, run: Run, message: Any) -> Any:
    """A handler's or an observer's body."""
    run.trace.append(f"{name} {'.'.join(message.trail)}")
    if what.act == "fail" or (what.act == "flaky" and run.first_time(name)):
        raise Boom(name)
    if what.act == "veto":
        raise Veto(name)
    return f"answer of {name} to {'.'.join(message.trail)}"


def drive(steps: Generator[Any, Any, Any], next_fn: Callable[[Any], Any]) -> Any:
    try:
        wanted = next(steps)
        while True:
            try:
                result = next_fn(wanted)
            except Exception as error:
                wanted = steps.throw(error)
            else:
                wanted = steps.send(result)
    except StopIteration as stop:
        return stop.value


async def adrive(steps: Generator[Any, Any, Any], next_fn: Callable[[Any], Any]) -> Any:
    try:
        wanted = next(steps)
        while True:
            try:
                result = await next_fn(wanted)
            except Exception as error:
                wanted = steps.throw(error)
            else:
                wanted = steps.send(result)
    except StopIteration as stop:
        return stop.value


# --------------------------------------------------------------------------------------- the interpreter


def interpret(chain: Chain, run: Run, message: Any) -> Any:
    """What design.md 4.3 promises, for sync code, in the plainest words."""

    def step(index: int, message: Any, passes: list[Any]) -> Any:
        if index == len(chain.listeners):
            return floor(message, passes)
        what, mine, last = chain.listeners[index], [], []

        def next_fn(other: Any) -> Any:
            below: list[Any] = []
            last[:] = ["running", None]
            try:
                last[:] = ["returned", step(index + 1, other, below)]
            except Exception as error:
                last[:] = ["raised", error]
                raise
            mine.extend(below)
            return last[1]

        try:
            result = drive(listening(f"l{index}", what.act, run, message), next_fn)
        except Exception as error:
            if not what.lenient or isinstance(error, Refused):
                raise
            if not (last and error is last[1]):
                run.failed.append(f"l{index}")  # what is skipped is announced
            if last and last[0] == "raised":
                raise last[1] from None
            result = last[1] if last else next_fn(message)
        passes.extend(mine)
        return result

    def floor(message: Any, passes: list[Any]) -> Any:
        result = message
        if chain.request:
            if chain.handler is None:
                raise NoHandlerError("tools.ask")
            result = bottom("handler", chain.handler, run, message)
        tell(message, inside=True)
        passes.append(message)
        return result

    def tell(message: Any, *, inside: bool) -> None:
        errors = []
        for index, what in enumerate(chain.observers):
            if (what.inside or what.raises) is inside:
                try:
                    bottom(f"o{index}", what, run, message)
                except Exception as error:
                    (errors if what.raises else run.failed).append(error if what.raises else f"o{index}")
        if errors:
            raise ExceptionGroup("observers", errors)

    passes: list[Any] = []
    result = step(0, message, passes)
    for told in passes:
        tell(told, inside=False)
    return result


# ------------------------------------------------------------------------------------------ the real bus


def subscriber(what: Step, name: str, run: Run) -> Any:
    def handle(event, next_fn):
        return drive(listening(name, what.act, run, event), next_fn)

    async def ahandle(event, next_fn):
        return await adrive(listening(name, what.act, run, event), next_fn)

    if what.colour == "sync":
        return handle
    if what.colour == "async":
        return ahandle
    members = {"sync class": (0,), "async class": (1,), "both": (0, 1)}[what.colour]

    class ByClass(Listener[Any]):
        if 0 in members:

            def handle(self, event, next_fn):
                return handle(event, next_fn)

        if 1 in members:

            async def ahandle(self, event, next_fn):
                return await ahandle(event, next_fn)

    return ByClass()


def at_the_bottom(name: str, what: Bottom, run: Run) -> Any:
    async def ahandler(message):
        return bottom(name, what, run, message)

    return ahandler if what.asynchronous else lambda message: bottom(name, what, run, message)


def build(chain: Chain, run: Run) -> EventBus:
    bus = EventBus()
    views = [bus, plugin(bus, "shop")[1]]
    kind = Ask if chain.request else Ping
    for index, what in enumerate(chain.listeners):
        views[what.plugin].listen(
            kind,
            subscriber(what, f"l{index}", run),
            name=f"l{index}",
            on_error="skip" if what.lenient else "raise",
        )
    if chain.handler is not None:
        what = chain.handler
        caller = {"run_in": "caller"} if what.caller and not what.asynchronous else {}
        views[what.plugin].answer(Ask, at_the_bottom("handler", what, run), **caller)
    for index, what in enumerate(chain.observers):
        caller = {"run_in": "caller"} if what.caller and not what.asynchronous else {}
        views[what.plugin].observe(
            kind,
            at_the_bottom(f"o{index}", what, run),
            name=f"o{index}",
            inside=what.inside or what.raises,
            on_error="raise" if what.raises else "log",
            **caller,
        )
    return bus


def outcome(send: Callable[[], Any]) -> object:
    """The result, or what identifies the error."""

    def facts(error: BaseException) -> object:
        if isinstance(error, ExceptionGroup):
            return [facts(each) for each in error.exceptions]
        return type(error).__name__, error.args[:1]

    try:
        return "result", send()
    except Exception as error:
        return "error", facts(error)


def played(chain: Chain, world: World) -> tuple[object, list[str], list[str]]:
    run = Run()
    bus = build(chain, run)
    seen = failures(bus)
    send = world.call if chain.request else world.emit
    result = outcome(lambda: send(bus, Ask() if chain.request else Ping()))
    names = sorted(failure.subscriber.rpartition(".")[2] for failure in seen)
    return result, run.trace, names


# ---------------------------------------------------------------------------------------- random chains

steps = st.builds(Step, st.sampled_from(ACTS), st.sampled_from(COLOURS), st.booleans(), st.sampled_from([0, 0, 1]))
observers = st.builds(
    Bottom,
    st.sampled_from(["pass", "pass", "fail", "flaky", "veto"]),
    asynchronous=st.booleans(),
    inside=st.booleans(),
    raises=st.sampled_from([False, False, True]),
    caller=st.booleans(),
    plugin=st.sampled_from([0, 0, 1]),
)
handlers = st.builds(
    Bottom,
    st.sampled_from(["pass", "pass", "pass", "fail", "flaky", "veto"]),
    asynchronous=st.booleans(),
    caller=st.booleans(),
    plugin=st.sampled_from([0, 0, 1]),
)
listeners = st.lists(steps, max_size=6).map(tuple)
chains = st.one_of(
    st.builds(Chain, st.just(value=False), listeners, st.none(), st.lists(observers, max_size=4).map(tuple)),
    st.builds(
        Chain,
        st.just(value=True),
        listeners,
        st.one_of(handlers, handlers, st.none()),
        st.lists(observers, max_size=4).map(tuple),
    ),
)


@pytest.mark.parametrize("world", EVERY_WORLD, ids=repr)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chain=chains)
@example(chain=Chain(request=False, listeners=(Step("retry"), Step("flaky after", "async"), Step("pass"))))
@example(
    chain=Chain(
        request=False, listeners=(Step("pass", lenient=True), Step("pass", "async", lenient=True), Step("fail before"))
    )
)
@example(
    chain=Chain(
        request=True,
        listeners=(Step("twice", "async"), Step("pass"), Step("pass", "async"), Step("pass")),
        handler=Bottom(),
    )
)
def test_every_mix_of_colours_gives_the_same_result_and_order(world: World, chain: Chain) -> None:
    expected = Run()
    message = Ask() if chain.request else Ping()
    result = outcome(lambda: interpret(chain, expected, message))
    colours = {what.colour.partition(" ")[0] for what in chain.listeners}
    event("both colours" if {"sync", "async"} <= colours else "one colour")
    note(f"expected {result} with {expected.trace}")

    assert played(chain, world) == (result, expected.trace, sorted(expected.failed))


@pytest.mark.parametrize("world", EVERY_WORLD, ids=repr)
@pytest.mark.parametrize("first", ["sync", "async"])
@pytest.mark.parametrize("request_", [False, True], ids=["event", "request"])
def test_colours_may_alternate_to_any_depth(world: World, first: str, request_: bool) -> None:
    """Twelve listeners of alternating colours: neither a deadlock nor another order."""
    other = "async" if first == "sync" else "sync"
    chain = Chain(
        request_,
        tuple(Step("pass", (first, other)[n % 2], plugin=n % 3 % 2) for n in range(12)),
        Bottom(asynchronous=first == "sync") if request_ else None,
        (Bottom(asynchronous=True), Bottom(), Bottom(inside=True)),
    )
    expected = Run()
    result = outcome(lambda: interpret(chain, expected, Ask() if request_ else Ping()))

    assert played(chain, world) == (result, expected.trace, [])


def test_the_property_can_fail() -> None:
    """A negative control: an interpreter with another order is caught."""
    chain = Chain(request=False, listeners=(Step("pass"), Step("fail after", lenient=True)))
    upside_down = Chain(request=False, listeners=chain.listeners[::-1])
    expected = Run()
    result = outcome(lambda: interpret(upside_down, expected, Ping()))

    assert played(chain, EVERY_WORLD[0]) != (result, expected.trace, [])
