"""How a subscriber takes part in a chain: its options, as users give them and as the bus keeps them.

Owns the values and what refuses them; what they do is in ``_chain/``.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypedDict, final, get_args

from plugbus._errors.base import close_names
from plugbus.errors import SubscriptionError
from plugbus.retry import Retry

__all__ = (
    "ABSENT",
    "AnswerOptions",
    "BackgroundOverflow",
    "BindOptions",
    "Breaker",
    "Kind",
    "ListenOptions",
    "ObserveOptions",
    "Options",
    "Reference",
    "RunIn",
    "Target",
)

Kind: TypeAlias = Literal["listener", "handler", "observer"]
RunIn: TypeAlias = Literal["loop", "thread", "caller", "process", "interpreter"]
Target: TypeAlias = type | str
Reference: TypeAlias = str | Callable[..., Any]
BackgroundOverflow: TypeAlias = Literal["wait", "drop_oldest", "drop_newest", "error"]
ErrorPolicy: TypeAlias = Literal["raise", "skip", "log"]


class _Absent:
    """The key of a subscription that does not filter by key; ``None`` is a value."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
OUTSIDE: Final = ("process", "interpreter")
"""Where nothing of this interpreter is at hand."""
FIRST_WITH_INTERPRETERS: Final = (3, 14)


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Breaker:
    """Stop calling a subscriber that fails again and again, and try it again later.

    Args:
        failures: Failures in a row that open it; refusals are none.
        cooldown_seconds: How long it stays open before one call tries again, in seconds.

    Raises:
        ValueError: If a number is not above zero.

    Example:
        >>> Breaker(failures=3, cooldown_seconds=10)
        Breaker(failures=3, cooldown_seconds=10)
    """

    failures: int = 5
    cooldown_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not (self.failures >= 1 and self.cooldown_seconds > 0):
            raise ValueError(f"{self}: failures must be at least 1 and cooldown_seconds above zero")


class BindOptions(TypedDict, total=False):
    """What ``Owner.bind`` takes; see there."""

    run_in: RunIn | None
    timeout_seconds: float | None
    name: str | None
    breaker: Breaker | None


class AnswerOptions(BindOptions, total=False):
    """What ``answers`` and ``EventBus.answer`` take; see there."""

    key: object


class _Ordered(AnswerOptions, total=False):
    priority: int
    before: Sequence[Reference]
    after: Sequence[Reference]
    where: Callable[[Any], bool] | None


class ListenOptions(_Ordered, total=False):
    """What ``listens`` and ``EventBus.listen`` take; see there."""

    on_error: Literal["raise", "skip"] | None


class ObserveOptions(_Ordered, total=False):
    """What ``observes`` and ``EventBus.observe`` take; see there."""

    on_error: Literal["log", "raise"] | None
    inside: bool
    background: bool
    retry: Retry | None
    overflow: BackgroundOverflow | None
    max_queue: int | None
    concurrency: int | None


@final
class Options(NamedTuple):
    """How a subscriber takes part; see ``EventBus.listen`` for the meaning of each."""

    priority: int = 100
    before: tuple[Reference, ...] = ()
    after: tuple[Reference, ...] = ()
    where: Callable[[Any], bool] | None = None
    key: object = ABSENT
    run_in: RunIn | None = None
    timeout_seconds: float | None = None
    on_error: ErrorPolicy | None = None
    name: str | None = None
    breaker: Breaker | None = None
    inside: bool = False
    background: bool = False
    retry: Retry | None = None
    overflow: BackgroundOverflow | None = None
    max_queue: int | None = None
    concurrency: int | None = None

    @classmethod
    def of(cls, **options: Any) -> Options:
        """Build from keyword arguments, a lone reference as well as a sequence of them.

        Raises:
            SubscriptionError: If there is no such option.
        """
        for unknown in set(options) - set(cls._fields):
            near = close_names(unknown, cls._fields)
            hint = f"Did you mean {near[0]}=?" if near else f"There are {', '.join(cls._fields)}."
            raise SubscriptionError("a subscriber", f"there is no option {unknown!r}", hint)
        before, after = _references(options.get("before", ())), _references(options.get("after", ()))
        return cls(**{**options, "before": before, "after": after})

    def check(self, subscriber: str, kind: Kind) -> None:
        """Refuse what cannot work.

        Raises:
            SubscriptionError: If a value is wrong, or does not go with this kind of subscriber.
        """
        self._check_filters(subscriber)
        if not isinstance(self.priority, (int, float)) or self.priority != self.priority:
            raise SubscriptionError(subscriber, f"priority={self.priority!r} is no number", "Lower is further out.")
        policies = {"listener": ("raise", "skip"), "handler": ("raise",), "observer": ("log", "raise")}[kind]
        if self.on_error is not None and self.on_error not in policies:
            raise SubscriptionError(
                subscriber, f"on_error={self.on_error!r} does not go with {_article(kind)}", f"Use one of {policies}."
            )
        self._check_place(subscriber, kind)
        if self.timeout_seconds is not None and not self.timeout_seconds > 0:
            raise SubscriptionError(subscriber, f"timeout_seconds={self.timeout_seconds!r} is not above zero")
        self._check_background(subscriber)

    def _check_place(self, subscriber: str, kind: Kind) -> None:
        if self.run_in not in (None, *get_args(RunIn)):
            places = ", ".join(map(repr, get_args(RunIn)))
            raise SubscriptionError(subscriber, f"run_in={self.run_in!r} is not known", f"There are {places}.")
        if self.run_in in ("caller", "interpreter") and self.timeout_seconds is not None:
            hint = "Use run_in='thread', or 'process', which can be ended."
            raise SubscriptionError(subscriber, f"run_in={self.run_in!r} cannot be given a time limit", hint)
        if self.run_in in OUTSIDE and kind == "listener":
            problem = f"run_in={self.run_in!r} is for handlers and observers; a listener's next_fn stays here"
            raise SubscriptionError(subscriber, problem, "Use run_in='thread'.")
        if self.run_in == "interpreter" and sys.version_info < FIRST_WITH_INTERPRETERS:
            problem = f"run_in='interpreter' needs Python 3.14, and this is {sys.version_info[0]}.{sys.version_info[1]}"
            raise SubscriptionError(subscriber, problem, "Use run_in='process'.")

    def _check_background(self, subscriber: str) -> None:
        given = [name for name in ("retry", "overflow", "max_queue", "concurrency") if getattr(self, name) is not None]
        if given and not self.background:
            raise SubscriptionError(subscriber, f"{given[0]}= goes with background=True", "Add that, or take it out.")
        if self.background and (self.inside or self.on_error == "raise"):
            which = "inside=True" if self.inside else "on_error='raise'"
            raise SubscriptionError(subscriber, f"the emitter waits for {which}, and not for background=True")
        if self.overflow not in (None, *get_args(BackgroundOverflow)):
            known = ", ".join(map(repr, get_args(BackgroundOverflow)))
            raise SubscriptionError(subscriber, f"overflow={self.overflow!r} is not known", f"Use one of {known}.")
        for name in ("max_queue", "concurrency"):
            number = getattr(self, name)
            if number is not None and not (isinstance(number, int) and number >= 1):
                raise SubscriptionError(subscriber, f"{name}={number!r} is no number of at least 1")
        if not (self.retry is None or isinstance(self.retry, Retry)):
            raise SubscriptionError(subscriber, f"retry={self.retry!r} is no Retry", "Use Retry(attempts=...).")

    def _check_filters(self, subscriber: str) -> None:
        if not isinstance(self.key, Hashable):
            raise SubscriptionError(subscriber, f"key={self.key!r} cannot be hashed, so no event can have it")
        if self.where is not None and not callable(self.where):
            raise SubscriptionError(
                subscriber, f"where={self.where!r} is not callable", "Pass a function of the event."
            )
        if self.where is not None and not _takes_one(self.where):
            raise SubscriptionError(subscriber, "where= takes another number of parameters than the event alone")
        if self.name is not None and not self.name.strip():
            raise SubscriptionError(subscriber, "its name is empty")


def _references(given: Reference | Sequence[Reference]) -> tuple[Reference, ...]:
    return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)


def _takes_one(where: Callable[[Any], bool]) -> bool:
    try:
        inspect.signature(where).bind(None)
    except TypeError:
        return False
    except ValueError:  # some builtins do not say what they take
        return True
    return True


def _article(kind: Kind) -> str:
    return f"an {kind}" if kind == "observer" else f"a {kind}"
