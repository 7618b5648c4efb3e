"""The contract of the example hub: typed events that fit what GitHub sends."""

from __future__ import annotations

import pickle
import re

import demo
import pytest
from hub_events import EVENT_TYPES, KINDS, GithubEvent, Issues, actor_of, repo_of, wire_name
from hub_host.reading import read_lines
from pydantic import ValidationError

from plugbus import EventBus, NamedEvent, event_type

needs_real = pytest.mark.skipif(not demo.REAL.exists(), reason="the real deliveries are not on this machine")
opened = EVENT_TYPES["github.issues.opened"]


def real_deliveries() -> list[tuple[str, dict[str, object]]]:
    lines = [line.delivery for line in read_lines(demo.REAL)]
    return [(delivery["event"], delivery["payload"]) for delivery in lines if delivery is not None]


def type_for(kind: str, payload: dict[str, object]) -> type[GithubEvent] | None:
    return EVENT_TYPES.get(f"github.{kind}.{payload['action']}" if "action" in payload else f"github.{kind}")


@needs_real
def test_every_real_delivery_of_a_typed_kind_fits_its_type() -> None:
    """None is refused, each has its repository, and each survives plain data and pickling."""
    deliveries = real_deliveries()
    typed = [(cls, payload) for kind, payload in deliveries if (cls := type_for(kind, payload)) is not None]

    for cls, payload in typed:
        event = cls.model_validate(payload)

        assert event.repo == payload["repository"]["full_name"]
        assert event.actor == payload["sender"]["login"]
        assert cls.model_validate(event.model_dump()) == event
        assert pickle.loads(pickle.dumps(event)) == event
    assert (len(deliveries), len(typed)) == (179, 87)


@needs_real
def test_no_action_of_a_typed_kind_is_missing_from_the_table() -> None:
    """What is carried as a NamedEvent is a kind that has no type at all."""
    known = {event_type(kind).name for kind in KINDS}

    missing = [kind for kind, payload in real_deliveries() if f"github.{kind}" in known and not type_for(kind, payload)]

    assert missing == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_type_per_action_is_a_type_of_its_kind(kind: type[GithubEvent]) -> None:
    """So that a subscription to the kind hears every action, and one by pattern too."""
    made = [EVENT_TYPES[f"{event_type(kind).name}.{action}"] for action in KINDS[kind]]

    assert all(issubclass(cls, kind) and event_type(cls).key == "repo" for cls in made)
    assert [event_type(cls).name.split(".")[2] for cls in made] == list(KINDS[kind])


def test_the_action_of_a_type_is_fixed() -> None:
    """An opened issue is not closed."""
    assert opened(repo="acme/rocket", number=1, title="x").action == "opened"
    with pytest.raises(ValidationError, match="action"):
        opened(repo="acme/rocket", number=1, title="x", action="closed")


@pytest.mark.parametrize("name", ["rocket", "acme/rocket/engine", "acme rocket/x", ""])
def test_a_repository_has_an_owner_and_a_name(name: str) -> None:
    """The key that subscriptions filter by is not just any text."""
    with pytest.raises(ValidationError, match="repository"):
        GithubEvent.model_validate({"repository": {"full_name": name}})


def test_names_are_the_same_for_typed_and_untyped_events() -> None:
    """Plugins that look at every event need not know which is which."""
    typed = opened(repo="acme/rocket", actor="mira-okon", number=1, title="x")
    payload = {"repository": {"full_name": "acme/rocket"}, "sender": {"login": "mira-okon"}}
    raw = NamedEvent("github.issues.opened", payload)
    plain = NamedEvent("github.issues.opened", typed.model_dump())

    for event in (typed, raw, plain):
        assert wire_name(event) == "github.issues.opened"
        assert (repo_of(event), actor_of(event)) == ("acme/rocket", "mira-okon")


@pytest.mark.parametrize("data", [None, [], "x", {"repository": None}, {"repository": {"full_name": 7}}, {"repo": 7}])
def test_data_without_a_repository_is_about_none(data: object) -> None:
    """Whatever shape it has."""
    assert repo_of(NamedEvent("github.odd", data)) is None


def test_a_bus_takes_all_types_at_once() -> None:
    """No two have one name, and kinds by pattern find their actions."""
    bus = EventBus()
    bus.declare(*KINDS, *EVENT_TYPES.values())
    heard: list[Issues] = []
    bus.observe("github.issues.*", heard.append)

    bus.emit(opened(repo="acme/rocket", number=1, title="x"))
    bus.emit(EVENT_TYPES["github.star.created"](repo="acme/rocket"))

    assert [wire_name(event) for event in heard] == ["github.issues.opened"]
    assert all(re.fullmatch(r"github\.[a-z_]+(\.[a-z_]+)?", name) for name in EVENT_TYPES)
