"""Server-sent events out of bytes: as the specification says, and never more than one event held."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugbus_adapters.http._client_frames import Frame, FrameError, Frames


def fed(*chunks: bytes, max_bytes: int = 1000) -> list[Frame]:
    frames = Frames(max_bytes)
    return [frame for chunk in chunks for frame in frames.feed(chunk)]


def test_an_event_ends_with_an_empty_line() -> None:
    assert fed(b"id: 7\nevent: a\ndata: x\ndata:y\nother: z\n\ndata: not yet\n") == [Frame("a", "x\ny", "7")]


def test_an_id_stays_until_there_is_another() -> None:
    assert fed(b"id: 7\ndata: x\n\ndata: y\n\n") == [Frame("message", "x", "7"), Frame("message", "y", "7")]


def test_an_id_alone_is_a_place() -> None:
    """So a reader can resume that has heard nothing yet."""
    assert fed(b"id: 7\n\nid: 7\n\n") == [Frame("place", "", "7")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_all_line_ends_are_line_ends(end: bytes) -> None:
    text = b"\xef\xbb\xbfid: 1" + end + b"data: x" + end + end + b": last"

    assert fed(text) == fed(*(bytes([byte]) for byte in text)) == [Frame("message", "x", "1")]


@given(st.data())
def test_how_it_is_cut_makes_no_difference(data: st.DataObject) -> None:
    lines = st.sampled_from([b"data: \xc3\xa9", b"data", b"id: 1", b"id: 2", b"event: e", b": c", b"", b"", b"x: y"])
    text = b"".join(
        line + data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"])) for line in data.draw(st.lists(lines, max_size=12))
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    end = b": end\n"  # a CR at the very end may be half of a line end until something follows

    assert fed(*parts, end) == fed(text, end)


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_whatever_comes_is_events_or_an_error(chunks: list[bytes]) -> None:
    try:
        found = fed(*chunks, max_bytes=64)
    except FrameError:
        return
    assert all(len(frame.data) <= 64 and re.fullmatch("[!-~]*", frame.id) for frame in found)


@pytest.mark.parametrize(
    "chunks", [[b"x" * 101], [b"data: " + b"x" * 99], [b"data: x\n"] * 20, [b"data: x\r"] * 20, [b": " + b"x" * 50] * 3]
)
def test_an_event_over_its_bound_is_refused(chunks: list[bytes]) -> None:
    """One line without an end, or many lines without an empty one: held is at most the bound."""
    with pytest.raises(FrameError, match="longer than 100 bytes"):
        fed(*chunks, max_bytes=100)


def test_many_events_in_one_chunk_are_within_the_bound() -> None:
    assert len(fed(b"data: x\n\n" * 1000, max_bytes=100)) == 1000


@pytest.mark.parametrize(
    "wrong", [b"id: a b\n\n", b"id: \xc3\xa9\n\n", b"id: " + b"1" * 257 + b"\n\n", b"data: \xff\n\n"]
)
def test_what_could_not_go_back_in_a_header_is_refused(wrong: bytes) -> None:
    with pytest.raises(FrameError):
        fed(wrong + b"\n\n")


def test_signs_of_life_are_counted() -> None:
    frames = Frames(100)
    assert not next(iter(frames.feed(b"id: 1\n\n"))).data
    assert frames.alive == 0
    assert list(frames.feed(b":\n\n")) == []
    assert frames.alive == 1
