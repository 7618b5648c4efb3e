"""JSON from outside: what is odd in it is an error with a place, never one of the interpreter's own."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugbus_adapters.http._json import parse_json

NUMBERS = st.integers(-(10**90), 10**90) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)  # fmt: skip


def parse(text: bytes) -> Any:
    return parse_json(text, max_depth=64, max_digits=100)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{} x",
        b"{'a': 1}",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000,
        b"[" * 65 + b"]" * 65,
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e400",
        b"[-1E+0400]",
        b'{"a": [{"b": 1e999}]}',
        b"9" * 101,
        b"[-" + b"9" * 101 + b"]",
        b"9" * 100_000,
        b"1" + b"0" * 400 + b".0",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"a\x00b"',
        b'"a\nb"',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
    ],
    ids=lambda text: f"{text[:12]!r} {len(text)}",
)
def test_what_is_odd_is_refused_quickly(text: bytes) -> None:
    """A ValueError, which the edge answers with 400; with nothing of the text in it."""
    started = time.process_time()

    with pytest.raises(ValueError) as caught:
        parse(text)

    assert type(caught.value) is ValueError
    assert time.process_time() - started < 0.5
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"9" * 100, 10**100 - 1),
        (b"-" + b"9" * 100, 1 - 10**100),
        (b'"' + b"9" * 1000 + b'"', "9" * 1000),
        (b'"1e400"', "1e400"),
        (b"1e200", 1e200),
        (b"1e-400", 0.0),
        (b'"\\u0000"', "\0"),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"[[[[[[[["', "[[[[[[[["),
    ],
    ids=lambda part: repr(part)[:14],
)
def test_what_only_looks_odd_is_taken(text: bytes, value: object) -> None:
    assert parse(text) == value


def test_depth_is_what_stands_within_each_other() -> None:
    """Many lists beside each other are not deep, and neither are brackets in a text."""
    assert parse(b"[" * 64 + b"]" * 64) is not None
    assert len(parse(b"[" + b",".join([b'[["]]]]"]]'] * 1000) + b"]")) == 1000


@given(PLAIN)
def test_plain_data_comes_back(value: object) -> None:
    """Whatever was written as JSON and is not too deep is read as it was meant."""
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=60) | st.text('[]{}",:019.eE+-naNfIty\\ u', max_size=60).map(str.encode))
def test_any_bytes_are_json_or_a_value_error(text: bytes) -> None:
    """Never a RecursionError, an OverflowError, a UnicodeError; and nothing comes out that JSON cannot say."""
    try:
        value = parse(text)
    except UnicodeError:
        raise
    except ValueError:
        return
    assert json.loads(text) == value
    json.dumps(value, allow_nan=False).encode()


@given(depth=st.integers(0, 12), limit=st.integers(1, 12), wide=st.booleans())
def test_exactly_those_that_are_too_deep_are_refused(depth: int, limit: int, wide: bool) -> None:
    text = b"1"
    for level in range(depth):
        inner = b"[%s,%s]" % (b"[]" if wide and level < depth - 1 and level else b"0", text)
        text = inner if level % 2 else b'{"a": %s}' % text

    try:
        parse_json(text, max_depth=limit, max_digits=10)
        refused = False
    except ValueError:
        refused = True

    assert refused is (depth > limit)
