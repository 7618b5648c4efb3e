"""Each error says what, where and what to do, keeps its facts, and pickles."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import plugbus.errors
from plugbus.errors import (
    BackgroundFullError,
    BreakerOpenError,
    ChainContractError,
    ConfigureError,
    Conflict,
    ContextLeakError,
    CursorError,
    CursorExpiredError,
    DuplicateHandlerError,
    DuplicateNameError,
    EmitCancelled,
    EmitLoopError,
    EventDataError,
    EventTypeError,
    Forbidden,
    Invalid,
    KernelStartError,
    ListenerTimeoutError,
    ManifestError,
    NoHandlerError,
    NoPrincipalError,
    NotDeliveredError,
    NotFound,
    NotSettledError,
    OrderCycleError,
    PermissionDeniedError,
    PlugbusError,
    PluginBootError,
    PluginError,
    PluginGoneError,
    PluginInUseError,
    PluginLoadError,
    PluginNotFoundError,
    PluginStuckError,
    PluginTimeoutError,
    Problem,
    Refused,
    ReloadError,
    ServiceError,
    SettingsError,
    StreamOverflowError,
    SubscriptionError,
    SyncEmitError,
    Unavailable,
    UnknownEventError,
    Veto,
    WiringError,
    WorkerProcessError,
)

MISSING = Problem("Audit(db)", "no service provides Database", "register one")

# error, its facts, and what its text has to tell: what happened, where, what to do
CASES: list[tuple[BaseException, dict[str, Any], tuple[str, ...]]] = [
    (PlugbusError("the disk is full"), {}, ("the disk is full",)),
    (
        Refused("closed", code="night", retry_after_seconds=60),
        {"reason": "closed", "code": "night", "problems": (), "retry_after_seconds": 60},
        ("closed", "try again after 60 s"),
    ),
    (Veto("over the limit"), {"code": "veto"}, ("over the limit",)),
    (Forbidden("needs orders.write"), {"code": "forbidden"}, ("needs orders.write",)),
    (NotFound("no order 7"), {"code": "not_found"}, ("no order 7",)),
    (Conflict("changed meanwhile"), {"code": "conflict"}, ("changed meanwhile",)),
    (
        Invalid("not valid", problems=[MISSING]),
        {"code": "invalid", "problems": (MISSING,)},
        ("not valid", "- Audit(db)", "(register one)"),
    ),
    (
        Unavailable("down", retry_after_seconds=1.5),
        {"code": "unavailable", "retry_after_seconds": 1.5},
        ("down", "after 1.5 s"),
    ),
    (
        NoHandlerError("orders.place", "berlin"),
        {"event": "orders.place", "key": "berlin"},
        ("'orders.place' has no handler", "for key 'berlin'", "bus.answer()"),
    ),
    (
        DuplicateHandlerError("orders.place", "a", "b", key=7),
        {"event": "orders.place", "first": "a", "second": "b", "key": 7},
        ("'orders.place' for key 7", "by 'a' already; 'b'", "keep one of them"),
    ),
    (
        DuplicateNameError("order.placed", "a.X", "b.X"),
        {"name": "order.placed", "first": "a.X", "second": "b.X"},
        ("'order.placed' belongs to a.X", "b.X cannot", "another name="),
    ),
    (
        UnknownEventError("order.placd", ("order.placed", "order.paid")),
        {"name": "order.placd", "nearest": ("order.placed", "order.paid")},
        ("'order.placd'", "did you mean 'order.placed' or 'order.paid'?"),
    ),
    (
        EventTypeError("orders.place", "is a request; use bus.call()"),
        {"event": "orders.place", "problem": "is a request; use bus.call()"},
        ("'orders.place' is a request", "use bus.call()"),
    ),
    (
        EventDataError("order.placed", ("totl: no such field", "shop: not a text")),
        {"event": "order.placed", "problems": ("totl: no such field", "shop: not a text")},
        ("does not fit event 'order.placed'", "- totl: no such field", "- shop: not a text", "by its name"),
    ),
    (
        SubscriptionError("audit", "takes 1 parameter", "add next_fn"),
        {"subscriber": "audit", "problem": "takes 1 parameter", "hint": "add next_fn"},
        ("'audit' cannot be registered", "takes 1 parameter", "Hint: add next_fn"),
    ),
    (
        OrderCycleError("order.placed", ("a", "b")),
        {"event": "order.placed", "cycle": ("a", "b")},
        ("'order.placed' is a circle", "'a' -> 'b' -> 'a'", "before=/after="),
    ),
    (
        ChainContractError("order.placed", "audit", "shop", "returned None"),
        {"event": "order.placed", "subscriber": "audit", "plugin": "shop", "problem": "returned None"},
        ("'audit' of plugin 'shop'", "on event 'order.placed'", "returned None"),
    ),
    (EmitLoopError(("a", "b")), {"loop": ("a", "b")}, ("'a' -> 'b' -> 'a'", "stop when there is nothing left")),
    (
        NoPrincipalError("shop.pay", "Principal"),
        {"where": "shop.pay", "wanted": "Principal"},
        ("shop.pay asks for a Principal, and nobody acts", "with acting_as(principal)"),
    ),
    (
        ContextLeakError("rows"),
        {"generator": "rows"},
        ("async generator 'rows' yielded inside acting_as", "asynccontextmanager"),
    ),
    (
        SyncEmitError("order.placed", "notify"),
        {"event": "order.placed", "subscriber": "notify"},
        ("'order.placed' needs the event loop for 'notify'", "nothing ran", "await bus.aemit"),
    ),
    (
        ListenerTimeoutError("order.placed", "notify", "mail", 2.0),
        {"event": "order.placed", "subscriber": "notify", "plugin": "mail", "seconds": 2.0},
        ("'notify' of plugin 'mail' was still running after 2 s", "'order.placed'", "timeout_seconds="),
    ),
    (
        BreakerOpenError("notify", "mail", 12.5),
        {"subscriber": "notify", "plugin": "mail", "retry_after_seconds": 12.5},
        ("breaker of 'notify' of plugin 'mail' is open", "in 12.5 s"),
    ),
    (
        WorkerProcessError("order.placed", "draw", "invoices", -9),
        {"event": "order.placed", "subscriber": "draw", "plugin": "invoices", "exit_status": -9},
        ("'draw' of plugin 'invoices' lost its worker process", "SIGKILL (exit status -9)", "out of memory"),
    ),
    (
        CursorError("yesterday"),
        {"cursor": "yesterday"},
        ("'yesterday' is no cursor of an event log", "as it was received"),
    ),
    (
        CursorExpiredError("00c0ffee-1", "retention", "00c0ffee-9"),
        {"cursor": "00c0ffee-1", "reason": "retention", "newest": "00c0ffee-9"},
        ("cannot go on after cursor '00c0ffee-1': retention", "read on from '00c0ffee-9'"),
    ),
    (
        StreamOverflowError("order.*", 10),
        {"events": "order.*", "max_buffer": 10},
        ("'order.*' fell more than 10 events behind", "max_buffer="),
    ),
    (
        BackgroundFullError("order.placed", "notify", "mail", 10, "it cannot wait"),
        {
            "event": "order.placed",
            "subscriber": "notify",
            "plugin": "mail",
            "max_queue": 10,
            "reason": "it cannot wait",
        },
        ("'notify' of plugin 'mail'", "10 events", "'order.placed'", "it cannot wait", "max_queue="),
    ),
    (
        NotDeliveredError("order.placed", "notify", "mail", "it was dropped"),
        {"event": "order.placed", "subscriber": "notify", "plugin": "mail", "reason": "it was dropped"},
        ("'notify' of plugin 'mail'", "'order.placed'", "it was dropped", "drain_seconds"),
    ),
    (
        NotSettledError(5.0, ("notify of mail: 2 waiting, 0 running",)),
        {"seconds": 5.0, "unsettled": ("notify of mail: 2 waiting, 0 running",)},
        ("after 5 s", "notify of mail: 2 waiting", "advance()"),
    ),
    (
        PermissionDeniedError("shop", "publish", "user.deleted"),
        {"plugin": "shop", "action": "publish", "what": "user.deleted"},
        ("'shop' may not publish 'user.deleted'", "publishes=[...]"),
    ),
    (WiringError([MISSING]), {"problems": (MISSING,)}, ("has 1 problem;", "- Audit(db)", "(register one)")),
    (
        ServiceError("Database", "its factory is async", "use aget()"),
        {"service": "Database", "problem": "its factory is async", "hint": "use aget()"},
        ("service Database: its factory is async", "Hint: use aget()"),
    ),
    (
        KernelStartError([MISSING, MISSING]),
        {"problems": (MISSING, MISSING)},
        ("did not start", "2 problems:", "- Audit(db)", "(register one)"),
    ),
    (PluginError("shop", "is ill"), {"plugin": "shop", "reason": "is ill"}, ("plugin 'shop': is ill",)),
    (
        ManifestError("shop", ("version: bad",)),
        {"plugin": "shop", "problems": ("version: bad",)},
        ("'shop'", "- version: bad", "correct these fields"),
    ),
    (PluginLoadError("shop", "no module"), {"reason": "no module"}, ("'shop': no module", "import it by hand")),
    (PluginBootError("shop", "on_boot raised"), {"plugin": "shop"}, ("'shop': on_boot raised", "the cause")),
    (
        PluginTimeoutError("shop", "on_boot", 30.0),
        {"plugin": "shop", "phase": "on_boot", "seconds": 30.0},
        ("'shop': on_boot was still running after 30 s", "Tasks.start"),
    ),
    (
        PluginGoneError("shop", "its bus"),
        {"plugin": "shop", "what": "its bus"},
        ("'shop': its bus was used after", "PluginUnloaded"),
    ),
    (
        PluginStuckError("shop", 4, 5),
        {"plugin": "shop", "abandoned": 4, "limit": 5},
        ("'shop': 4 threads overran", "limit 5", "time limit of their own"),
    ),
    (
        PluginInUseError("catalog", ("shop", "admin")),
        {"plugin": "catalog", "dependents": ("shop", "admin")},
        ("'catalog': is needed by 'shop', 'admin'", "cascade=True"),
    ),
    (
        PluginNotFoundError("shpo", ("shop",)),
        {"plugin": "shpo", "nearest": ("shop",)},
        ("'shpo': is not known", "did you mean 'shop'?"),
    ),
    (
        ConfigureError("shop", "on_settings raised OSError: no route"),
        {"plugin": "shop", "left": ()},
        ("'shop': on_settings raised OSError: no route", "old settings are in force again", "the notes say where"),
    ),
    (
        ReloadError("shop", "mail", "on_boot raised OSError: no route"),
        {"plugin": "shop", "culprit": "mail"},
        ("'shop'", "'mail', which needs it: on_boot raised OSError: no route", "reload again"),
    ),
    (
        SettingsError("shop", [Problem("max_items", "'x' is no number")]),
        {"plugin": "shop", "problems": (Problem("max_items", "'x' is no number"),)},
        ("'shop': its settings", "- max_items: 'x' is no number", "where it comes from"),
    ),
    (EmitCancelled("order.placed"), {"event": "order.placed"}, ("'order.placed' was cancelled", "let this pass")),
]

each_error = pytest.mark.parametrize(
    ("error", "facts", "told"), CASES, ids=[type(error).__name__ for error, _, _ in CASES]
)


@each_error
def test_message_says_what_where_and_what_to_do(
    error: BaseException, facts: dict[str, Any], told: tuple[str, ...]
) -> None:
    """The text holds each phrase that its reader needs."""
    assert [phrase for phrase in told if phrase not in str(error)] == []


@each_error
def test_facts_are_attributes(error: BaseException, facts: dict[str, Any], told: tuple[str, ...]) -> None:
    """Code reads attributes and never parses the text."""
    assert {name: getattr(error, name) for name in facts} == facts


@each_error
@pytest.mark.parametrize(
    "again",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deepcopy"],
)
def test_error_survives(
    error: BaseException, facts: dict[str, Any], told: tuple[str, ...], again: Callable[[BaseException], BaseException]
) -> None:
    """Pickled or copied, an error is of its class, with its text, arguments and attributes."""
    copied = again(error)

    assert type(copied) is type(error)
    assert (str(copied), copied.args, vars(copied)) == (str(error), error.args, vars(error))


def test_every_public_error_has_a_case() -> None:
    """A new error cannot be forgotten here."""
    assert {type(error).__name__ for error, _, _ in CASES} | {"Problem"} == set(plugbus.errors.__all__)


def test_tree_in_the_docstring_names_every_error() -> None:
    """The drawing on top of the module is complete."""
    tree = plugbus.errors.__doc__ or ""

    assert [name for name in plugbus.errors.__all__ if f" {name} " not in tree.replace("\n", " \n")] == []


def test_all_but_the_cancellation_are_plugbus_errors() -> None:
    """One except clause catches every error, and no cancellation."""
    outside = {type(error) for error, _, _ in CASES if not isinstance(error, PlugbusError)}

    assert outside == {EmitCancelled}
    assert not issubclass(EmitCancelled, Exception)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (NoHandlerError("x"), LookupError),
        (UnknownEventError("x"), LookupError),
        (PluginNotFoundError("x"), KeyError),
        (EventTypeError("x", "y"), TypeError),
        (SubscriptionError("x", "y"), TypeError),
        (EventDataError("x", ()), ValueError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_error_is_also_a_builtin_one(error: PlugbusError, base: type[Exception]) -> None:
    """Callers who know only Python's own errors can catch these."""
    assert isinstance(error, base)


def test_notes_survive_pickling() -> None:
    """What the bus adds to an error (event, subscriber, plugin) travels with it."""
    error = ServiceError("Database", "is closed")
    error.add_note("event 'order.placed'")

    assert pickle.loads(pickle.dumps(error)).__notes__ == ["event 'order.placed'"]


class OutOfStock(Refused):
    """A refusal whose constructor is its author's own."""

    def __init__(self, *, product: str) -> None:
        super().__init__(f"{product} is sold out", code="sold_out")
        self.product = product


def test_subclass_with_its_own_constructor_pickles() -> None:
    """An author need not know the rules of pickling."""
    again = pickle.loads(pickle.dumps(OutOfStock(product="tea")))

    assert (again.product, again.code, str(again)) == ("tea", "sold_out", "tea is sold out")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NoHandlerError("x"), "'x' has no handler."),
        (DuplicateHandlerError("x", "a", "b"), "request 'x' is answered"),
        (UnknownEventError("x"), "declare the type"),
        (PluginNotFoundError("x"), "lists those that are"),
        (PermissionDeniedError("x", "use", "database"), "permissions=[...]"),
        (WorkerProcessError("x", "draw", "y", 3), "'x': exit status 3."),
        (EmitCancelled(), "the emit was cancelled"),
        (Problem("", "no place"), "no place"),
        (Problem("here", "no hint"), "here: no hint"),
    ],
    ids=str,
)
def test_message_without_the_optional_fact(error: object, told: str) -> None:
    """What is not known leaves no gap in the sentence."""
    assert told in str(error)
    assert "None" not in str(error)
