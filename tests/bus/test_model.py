"""Subscribe, close, leave, emit and call in any order, against a model of plain lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from tests.bus.tools import noting, tracer

from plugbus import (
    DuplicateHandlerError,
    DuplicateNameError,
    Event,
    EventBus,
    NoHandlerError,
    Owner,
    Request,
    SubscriptionError,
)

ABSENT = object()


class Base(Event, name="model.base"):
    pass


class Left(Base, name="model.left", key="shop"):
    shop: str = "a"


class Right(Base, name="model.right"):
    pass


class LeftSub(Left, name="model.left.sub"):
    pass


class Question(Request[str], name="model.question", key="shop"):
    shop: str = "a"


EVENTS: list[type[Any]] = [Base, Left, Right, LeftSub]
TARGETS: dict[Any, set[type[Any]]] = {
    Base: set(EVENTS),
    Left: {Left, LeftSub},
    Right: {Right},
    LeftSub: {LeftSub},
    Event: set(EVENTS),
    object: {*EVENTS, Question},
    Question: {Question},
    "model.left": {Left},
    "model.*": {Base, Left, Right, Question},
    "model.**": {*EVENTS, Question},
}
KEYED = (Left, LeftSub, Question)
SHOPS = ["a", "b"]


@dataclass
class Entry:
    """What the model knows of one subscription."""

    number: int
    kind: str
    hears: set[type[Any]]
    priority: int
    key: Any
    owner: str
    place: tuple[float, int] = (0, 0)
    sub: Any = field(repr=False, default=None)

    def fits(self, message: Any) -> bool:
        return type(message) in self.hears and (self.key is ABSENT or self.key == getattr(message, "shop", ABSENT))


class Model(RuleBasedStateMachine):
    """The bus beside a list of entries; every emit must give the model's trace."""

    subs = Bundle("subs")

    @initialize()
    def start(self) -> None:
        self.bus = EventBus()
        self.trace: list[str] = []
        self.entries: list[Entry] = []
        self.count = 0
        self.active = {"host": True, "one": True, "two": False}
        self.owners = {name: Owner(name) for name in ("one", "two")}
        self.views = {"host": self.bus} | {name: self.bus.view(owner) for name, owner in self.owners.items()}
        self.ranks: dict[str, float] = {"one": 0.25, "two": 0.5}
        self.bus.activate(self.owners["one"])

    def add(self, kind: str, target: Any, owner: str, key: Any, priority: int, *, asynchronous: bool) -> Entry:
        self.count += 1
        targets = target if isinstance(target, list) else [target]
        entry = Entry(self.count, kind, set().union(*(TARGETS[each] for each in targets)), priority, key, owner)
        # What an owner registers before it is active counts as registered when its view was made.
        entry.place = (entry.number, 0) if self.active[owner] else (self.ranks[owner], entry.number)
        name = f"s{entry.number}"
        options: dict[str, Any] = {"name": name} | ({} if key is ABSENT else {"key": key})
        view = self.views[owner]
        if kind == "listener":
            entry.sub = view.listen(
                target, tracer(name, self.trace, asynchronous=asynchronous), priority=priority, **options
            )
        elif kind == "observer":
            fn = noting(name, self.trace, asynchronous=asynchronous)
            entry.sub = view.observe(target, fn, priority=priority, **options)
        else:
            entry.sub = view.answer(Question, lambda request: self.trace.append(name) or name, **options)
        self.entries.append(entry)
        return entry

    @rule(
        target=subs,
        kind=st.sampled_from(["listener", "observer"]),
        what=st.sampled_from([*TARGETS, [Left, Right], ["model.left", Base]]),
        owner=st.sampled_from(["host", "one", "two"]),
        priority=st.sampled_from([100, 100, 99, 101]),
        asynchronous=st.booleans(),
    )
    def subscribe(self, kind: str, what: Any, owner: str, priority: int, asynchronous: bool) -> Entry:
        return self.add(kind, what, owner, ABSENT, priority, asynchronous=asynchronous)

    @rule(
        target=subs,
        kind=st.sampled_from(["listener", "observer"]),
        what=st.sampled_from([Left, LeftSub, Question]),
        owner=st.sampled_from(["host", "one", "two"]),
        key=st.sampled_from([*SHOPS, "c", None]),
    )
    def subscribe_by_key(self, kind: str, what: Any, owner: str, key: Any) -> Entry:
        return self.add(kind, what, owner, key, 100, asynchronous=False)

    @rule(target=subs, owner=st.sampled_from(["host", "one", "two"]), key=st.sampled_from([ABSENT, *SHOPS]))
    def answer(self, owner: str, key: Any) -> Any:
        taken = any(entry.kind == "handler" and entry.key == key for entry in self.entries)
        before = len(self.bus.subscriptions())
        try:
            entry = self.add("handler", Question, owner, key, 100, asynchronous=False)
        except DuplicateHandlerError:
            assert taken
            assert len(self.bus.subscriptions()) == before
            return multiple()
        assert not taken
        return entry

    @rule(kind=st.sampled_from([Base, Right]))
    def subscribe_in_vain(self, kind: type[Any]) -> None:
        """A key for an event that has none, a name that is taken, another type of one name: refused."""
        for attempt in (
            lambda: self.bus.observe(Right, noting("x", self.trace), key="a"),
            lambda: self.bus.listen(kind, lambda event: event),
            lambda: self.bus.declare(type("Left", (Event,), {"__module__": "elsewhere"}, name="model.left")),
        ):
            try:
                self.bus.declare(Left)
                attempt()
            except (SubscriptionError, DuplicateNameError):
                continue
            raise AssertionError("it was not refused")

    @rule(entry=consumes(subs))
    def close(self, entry: Entry) -> None:
        entry.sub.close()
        if entry in self.entries:
            self.entries.remove(entry)

    @rule(name=st.sampled_from(["one", "two"]))
    def activate(self, name: str) -> None:
        self.bus.activate(self.owners[name])
        self.active[name] = True

    @rule(name=st.sampled_from(["one", "two"]))
    def leave_and_come_back(self, name: str) -> None:
        """The owner goes with all that it registered; a new one of the same id comes, inactive."""
        assert anyio.run(self.owners[name].aclose) == []
        self.entries = [entry for entry in self.entries if entry.owner != name]
        self.owners[name] = Owner(name)
        self.views[name] = self.bus.view(self.owners[name])
        self.ranks[name] = self.count + 0.5
        self.active[name] = False

    def heard(self, kind: str, message: Any) -> list[Entry]:
        found = [
            entry for entry in self.entries if entry.kind == kind and self.active[entry.owner] and entry.fits(message)
        ]
        return sorted(found, key=lambda entry: (entry.priority, entry.place))

    def expected(self, message: Any, bottom: list[str]) -> list[str]:
        listeners = [f"s{entry.number}" for entry in self.heard("listener", message)]
        observers = [f"s{entry.number}" for entry in self.heard("observer", message)]
        return [
            *[f">{name}" for name in listeners],
            *bottom,
            *[f"<{name}" for name in reversed(listeners)],
            *observers,
        ]

    @rule(kind=st.sampled_from(EVENTS), shop=st.sampled_from(["a", "b", "z"]), view=st.sampled_from(["host", "one"]))
    def emit(self, kind: type[Any], shop: str, view: str) -> None:
        message = kind(shop=shop) if kind in KEYED else kind()
        self.trace.clear()
        assert self.views[view].emit(message) is message
        assert self.trace == self.expected(message, [])

    @rule(shop=st.sampled_from(["a", "b", "z"]))
    def call(self, shop: str) -> None:
        message = Question(shop=shop)
        handlers = self.heard("handler", message)
        chosen = [entry for entry in handlers if entry.key is not ABSENT] or handlers
        self.trace.clear()
        try:
            result = self.bus.call(message)
        except NoHandlerError:
            assert not chosen
            assert self.trace == [f">s{entry.number}" for entry in self.heard("listener", message)]
        else:
            assert result == f"s{chosen[0].number}"
            assert self.trace == self.expected(message, [result])

    @invariant()
    def the_books_agree(self) -> None:
        if hasattr(self, "bus"):
            books = sorted(sub.name.rpartition(".")[2] for sub in self.bus.subscriptions())
            assert books == sorted(f"s{entry.number}" for entry in self.entries)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
