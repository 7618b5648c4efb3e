"""The context against a reference that hands everything on by hand, over random nestings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.bus.tools import SECONDS, plugin

from plugbus import Current, EventBus, Principal, Request, _early, acting_as, context, event
from plugbus._context import WANTED

PRINCIPALS = (None, Principal("ann"), Principal("bob"))


# ---------------------------------------------------------------------------------------------- programs


class Op(NamedTuple):
    """One thing to do in a subscriber, or at the top."""

    kind: str
    choice: int = 0
    below: tuple[Op, ...] = ()


ASK = Op("ask")


def programs(*kinds: str) -> st.SearchStrategy[tuple[Op, ...]]:
    """Some operations, each with some more within."""

    def grown(below: st.SearchStrategy[tuple[Op, ...]]) -> st.SearchStrategy[tuple[Op, ...]]:
        op = st.builds(Op, st.sampled_from(kinds), st.integers(0, 7), below)
        return st.lists(st.just(ASK) | op, max_size=3).map(tuple)

    return st.recursive(st.lists(st.just(ASK), max_size=1).map(tuple), grown, max_leaves=8)


# --------------------------------------------------------------------------------------------- reference


@dataclass(eq=False)
class Label:
    """An emit, as the reference knows it."""

    principal: Principal | None
    cause: Label | None
    given: str | None
    root: Label | None
    emitter: str
    active: bool = True


class Ref(NamedTuple):
    """What should be in force."""

    principal: Principal | None = None
    correlation: Label | str | None = None
    cause: Label | None = None
    emit: Label | None = None

    def acting(self, choice: int) -> Ref:
        correlation = "given" if choice % 2 else self.correlation
        return self._replace(principal=PRINCIPALS[choice % 3], correlation=correlation)

    @contextmanager
    def emitting(self, emitter: str) -> Iterator[Ref]:
        label = Label(self.principal, self.cause, None, None, emitter)
        try:
            yield Ref(self.principal, self.correlation or label, label, label)
        finally:
            label.active = False


@dataclass
class Log:
    """What was answered, beside what should have been."""

    entries: list[tuple[Current | None, Ref]] = field(default_factory=list)

    def ask(self, ref: Ref) -> None:
        running = ref.emit is not None and ref.emit.active
        self.entries.append((context.current(), ref if running else Ref()))

    def check(self) -> None:
        """Each answer is true, and each emit has one id of its own."""
        ids: dict[Label, str] = {}
        for found, ref in self.entries:
            assert (found is None) == (ref.emit is None), (found, ref)
            if found is None or ref.emit is None:
                continue
            assert found.principal == ref.principal
            assert found.emitter == ref.emit.emitter
            assert (found.cause is None) == (ref.emit.cause is None), (found, ref)
            pairs = [(ref.emit, found.id), (ref.emit.cause, found.cause), (ref.correlation, found.correlation_id)]
            for label, id in pairs:
                if isinstance(label, Label):
                    assert ids.setdefault(label, str(id)) == id
                else:
                    assert label == id
        assert len(set(ids.values())) == len(ids)


# ----------------------------------------------------------------------------------------------- running


@dataclass
class Work:
    """What a subscriber is to do."""

    stage: Stage
    below: tuple[Op, ...]
    ref: Ref


@event(name="context.sync")
class SyncWork(Work):
    pass


@event(name="context.async")
class AsyncWork(Work):
    pass


@event(name="context.loop")
class LoopWork(Work):
    """Sync, and on the loop."""


class Ask(Request[None]):
    work: Any


class SyncAsk(Ask):
    pass


class AsyncAsk(Ask):
    pass


class Stage:
    """A bus with subscribers that do what they are told, and whoever waits for the lingering ones."""

    hops = True

    def __init__(self) -> None:
        self.log = Log()
        self.bus = EventBus()
        _, self.shop = plugin(self.bus, "shop")
        self.group: Any = None
        self.token: object = None
        self.bus.observe(SyncWork, lambda work: self.run(work.below, work.ref), on_error="raise")
        self.bus.observe(LoopWork, lambda work: self.run(work.below, work.ref, on_loop=True), on_error="raise",
                         run_in="caller")  # fmt: skip
        self.bus.observe(AsyncWork, self._arun_work, on_error="raise")
        if self.hops:
            self.bus.listen([SyncWork, AsyncWork], lambda work, next_fn: next_fn(work))
        self.bus.answer(SyncAsk, lambda ask: self.run(ask.work.below, ask.work.ref))
        self.bus.answer(AsyncAsk, self._answer)

    async def _arun_work(self, work: Work) -> None:
        await self.arun(work.below, work.ref)

    async def _answer(self, ask: Ask) -> None:
        await self.arun(ask.work.below, ask.work.ref)

    def message(self, op: Op, ref: Ref, *, needs_loop: bool = True) -> Any:
        work = (self, op.below, ref)
        sync = (SyncWork(*work), SyncAsk(work=Work(*work)))
        return (*sync, AsyncWork(*work), AsyncAsk(work=Work(*work)))[op.choice % (4 if needs_loop else 2)]

    def view(self, op: Op) -> tuple[EventBus, str]:
        return (self.shop, "shop") if op.choice >= 4 else (self.bus, "host")

    def run(self, ops: tuple[Op, ...], ref: Ref, *, on_loop: bool = False) -> None:
        for op in ops:
            again: Callable[[Ref], None] = lambda ref, op=op: self.run(op.below, ref, on_loop=on_loop)  # type: ignore[misc]
            if op.kind == "ask":
                self.log.ask(ref)
            elif op.kind == "acting":
                with acting_as(PRINCIPALS[op.choice % 3], correlation_id="given" if op.choice % 2 else None):
                    again(ref.acting(op.choice))
            elif op.kind == "thread" and not on_loop:
                thread = threading.Thread(target=again, args=(Ref(),))
                thread.start()
                thread.join(SECONDS)
            else:
                bus, emitter = self.view(op)
                with ref.emitting(emitter) as inner:
                    if on_loop:
                        bus.emit(LoopWork(self, op.below, inner))
                    else:
                        message = self.message(op, inner)
                        (bus.call if isinstance(message, Request) else bus.emit)(message)

    async def arun(self, ops: tuple[Op, ...], ref: Ref) -> None:
        for op in ops:
            if op.kind == "ask":
                self.log.ask(ref)
            elif op.kind == "acting":
                with acting_as(PRINCIPALS[op.choice % 3], correlation_id="given" if op.choice % 2 else None):
                    await self.arun(op.below, ref.acting(op.choice))
            elif op.kind == "thread":
                await anyio.to_thread.run_sync(self.run, op.below, ref)
            elif op.kind == "task":
                async with anyio.create_task_group() as group:
                    for part in (op.below, (ASK, *op.below)):
                        group.start_soon(self.arun, part, ref)
            elif op.kind == "linger":
                if anyio.lowlevel.current_token() == self.token:  # or it would linger on a loop that ends with an emit
                    self.group.start_soon(self._linger, op.below, ref)
            else:
                await self._emit(op, ref)

    async def _emit(self, op: Op, ref: Ref) -> None:
        bus, emitter = self.view(op)
        with ref.emitting(emitter) as inner:
            if op.kind == "inline":
                bus.emit(LoopWork(self, op.below, inner))
                return
            message = self.message(op, inner)
            await (bus.acall if isinstance(message, Request) else bus.aemit)(message)

    async def _linger(self, ops: tuple[Op, ...], ref: Ref) -> None:
        await self.ended.wait()
        await self.arun(ops, ref)

    async def main(self, ops: tuple[Op, ...]) -> None:
        self.ended, self.token = anyio.Event(), anyio.lowlevel.current_token()
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as self.group:
                await self.arun(ops, Ref())
                self.ended.set()

    def play(self, ops: tuple[Op, ...], world: str) -> None:
        if world == "sync":
            self.run(ops, Ref())
        else:
            anyio.run(self.main, ops, backend=world)
        self.log.ask(Ref())
        self.log.check()


EVERY_WAY = ("emit", "emit", "inline", "acting", "thread", "task", "linger")
in_worlds = pytest.mark.parametrize("world", ["sync", "asyncio", "trio"])


@in_worlds
@settings(max_examples=60)
@given(ops=programs(*EVERY_WAY))
def test_every_answer_is_true(world: str, ops: tuple[Op, ...]) -> None:
    """Whoever asks, where and when: over emits, calls, threads, bridges and tasks, those that linger included."""
    WANTED.turn_on()

    Stage().play(ops, world)


class Here(Stage):
    """A stage on which everything happens on one stack: no threads, no bridges."""

    hops = False

    def message(self, op: Op, ref: Ref, *, needs_loop: bool = True) -> Any:
        if self.token is None:
            return super().message(op._replace(choice=op.choice % 2), ref)
        return super().message(op._replace(choice=2 + op.choice % 2), ref)


@in_worlds
@settings(max_examples=60)
@given(ops=programs("emit", "emit", "inline"))
@example(ops=(Op("emit", 0, (Op("emit", 2, (ASK,)), Op("emit", 1, (ASK,)), ASK)),))
@example(ops=(Op("emit", 2, (Op("emit", 0, (Op("emit", 2, (ASK,)),)), ASK, Op("emit", 5, (ASK,)))), ASK))
def test_who_asks_first_of_all_is_told_the_truth_too(world: str, ops: tuple[Op, ...]) -> None:
    """In the middle of emits that began before, of which none carries anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_early, "_found", {})  # for each example
        patch.setattr(WANTED, "on", False)
        stage = Here()
        assert not WANTED.on, "the subscribers of this module do not import current() by its name"

        stage.play(ops, world)
