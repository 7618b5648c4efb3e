"""Who acts: a value that says what it may do, and travels."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugbus import Carried, Principal

SEGMENT = st.sampled_from(["orders", "stock", "read", "write", "a:b", "*", "**"])
SCOPES = st.lists(SEGMENT, min_size=1, max_size=3).map(".".join)
CLAIMS = st.dictionaries(st.text(max_size=3), st.one_of(st.text(max_size=3), st.lists(st.integers())), max_size=2)
PRINCIPALS = st.builds(Principal, st.text(max_size=5), st.lists(SCOPES, max_size=3), CLAIMS)


@pytest.mark.parametrize(
    ("scope", "asked", "may"),
    [
        ("orders.read", "orders.read", True),
        ("orders.read", "orders.write", False),
        ("orders.read", "orders", False),
        ("orders.*", "orders.read", True),
        ("orders.*", "orders", False),
        ("orders.*", "orders.items.read", False),
        ("orders.**", "orders.items.read", True),
        ("**", "anything.at.all", True),
        ("orders.*", "orders.**", False),
        ("orders.**", "orders.*", True),
        ("orders:*", "orders:read", False),
        ("orders:read", "orders:read", True),
    ],
)
def test_may_goes_by_name_and_by_pattern(scope: str, asked: str, *, may: bool) -> None:
    """``*`` is one whole segment, ``**`` one or more, as in patterns of wire names."""
    assert Principal("ann", [scope]).may(asked) is may


def test_nobody_may_anything_without_a_scope() -> None:
    assert not Principal("ann").may("orders.read")


@given(principal=PRINCIPALS)
def test_a_principal_may_what_its_scopes_say(principal: Principal) -> None:
    assert all(principal.may(scope) for scope in principal.scopes)


@given(principal=PRINCIPALS, correlation_id=st.none() | st.text(), cause=st.none() | st.text())
def test_what_travels_is_plain_data(principal: Principal, correlation_id: str | None, cause: str | None) -> None:
    """It survives JSON, pickle and a set."""
    carried = Carried(principal, correlation_id, cause)

    assert Carried.from_dict(json.loads(json.dumps(carried.to_dict()))) == carried
    assert pickle.loads(pickle.dumps(carried)) == carried
    assert {principal: 1}[Principal.from_dict(principal.to_dict())] == 1


def test_what_travels_may_be_a_part_of_it() -> None:
    """A message from somebody else need not say who acts."""
    assert Carried.from_dict({"correlation_id": "7f"}) == Carried(None, "7f", None)


def test_a_principal_is_frozen() -> None:
    """Whoever is handed one can not become another."""
    ann = Principal("ann", ["orders.read"], {"level": 1})

    with pytest.raises(AttributeError, match="frozen"):
        ann.scopes = frozenset({"**"})  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del ann.id
    with pytest.raises(TypeError):
        ann.claims["level"] = 2  # type: ignore[index]
    assert (ann.scopes, ann.claims) == ({"orders.read"}, {"level": 1})


def test_principals_differ_by_what_is_known_of_them() -> None:
    assert Principal("ann", (), {"level": 1}) != Principal("ann", (), {"level": 2})
    assert Principal("ann") != "ann"


def test_text_is_no_list_of_scopes() -> None:
    """``scopes="orders"`` would be six scopes of one letter."""
    with pytest.raises(TypeError, match="list of scopes"):
        Principal("ann", "orders")


def test_claims_do_not_show_in_logs() -> None:
    """A principal is printed in many places, and its claims may be personal."""
    assert repr(Principal("ann", ["b", "a"], {"email": "ann@example.org"})) == "Principal('ann', ['a', 'b'])"
