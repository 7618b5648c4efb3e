"""Reading deliveries: no line is lost, whatever is in the file."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from hub_host.reading import InputError, check_inputs, read_lines, total_bytes
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def written(tmp_path: Path):
    def write(data: bytes, name: str = "in.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def test_a_line_knows_where_it_is(written) -> None:
    """Numbers count blank lines, as an editor does; blank lines are no deliveries."""
    path = written(b'{"event": "ping"}\n\n  \r\n{"event": "push"}\r\n')

    lines = list(read_lines(path))

    assert [(line.number, line.delivery) for line in lines] == [(1, {"event": "ping"}), (4, {"event": "push"})]
    assert lines[1].where == f"{path}:4"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b'{"event": "push", "payl', "not JSON: EOF"),
        (b'{"event": "push"} {', "not JSON: trailing"),
        (b'["event"]', "list instead of"),
        (b"7", "int instead of"),
        (b'{"event": "\xff"}', "not JSON"),
        (b'{"size": NaN}', "not JSON"),
        (b"[" * 100_000, "not JSON: recursion limit"),
        (b'{"size": ' + b"9" * 5000 + b"}", "not JSON: number out of range"),
        (b"\x7fELF\x02", "not JSON"),
    ],
)
def test_what_is_no_json_object_is_told_and_the_rest_goes_on(written, raw: bytes, problem: str) -> None:
    """One bad line costs one line."""
    lines = list(read_lines(written(raw + b'\n{"event": "ping"}\n')))

    assert lines[0].delivery is None
    assert problem in lines[0].problem
    assert "line 1" not in lines[0].problem, "the parser's idea of a line number would mislead"
    assert lines[1].delivery == {"event": "ping"}


def test_a_huge_line_is_passed_over_without_being_held(written) -> None:
    """Its end is found, its length is told, and the next line is read."""
    huge = b'{"event": "' + b"x" * 5000 + b'"}\n'

    lines = list(read_lines(written(huge + b'{"event": "ping"}\n' + huge.rstrip()), max_line_bytes=100))

    assert [line.problem for line in lines] == ["longer than 100 bytes", "", "longer than 100 bytes"]
    assert [line.size for line in lines] == [len(huge), 18, len(huge) - 1]


@pytest.mark.parametrize("size", [99, 100, 101])
def test_the_limit_is_the_longest_line_that_is_read(written, size: int) -> None:
    """With its line break or without."""
    line = json.dumps({"e": "x" * (size - 9)}).encode()
    assert len(line) == size

    (read,) = read_lines(written(line), max_line_bytes=100)

    assert (read.problem == "") == (size <= 100)


def test_a_byte_order_mark_is_no_part_of_the_first_line(written) -> None:
    """Some editors write one."""
    (line,) = read_lines(written(b'\xef\xbb\xbf{"event": "ping"}'))

    assert line.delivery == {"event": "ping"}


@given(chunks=st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_give_one_line_each(tmp_path_factory, chunks: list[bytes]) -> None:
    """What is not blank is read once, in order, and reading never raises."""
    data = b"\n".join(chunks)
    path = tmp_path_factory.mktemp("fuzz") / "in.jsonl"
    path.write_bytes(data)

    lines = list(read_lines(path, max_line_bytes=20))

    assert [line.number for line in lines] == [
        number for number, raw in enumerate(data.split(b"\n"), 1) if raw.strip() or len(raw) >= 20
    ]
    assert all((line.delivery is None) != (line.problem == "") for line in lines)


def test_each_input_that_cannot_be_read_is_named(written, tmp_path: Path) -> None:
    """All of them at once, before anything starts."""
    bad = [tmp_path / "absent.jsonl", tmp_path, written(b"", "empty.jsonl"), written(b"MZ\x90\0\x03\0", "tool.exe")]

    with pytest.raises(InputError) as caught:
        check_inputs([written(b"{}", "good.jsonl"), *bad])

    assert str(caught.value).splitlines() == [
        f"{bad[0]}: there is no such file",
        f"{bad[1]}: is a directory; give a file of JSON lines",
        f"{bad[2]}: is empty; there is nothing to deliver",
        f"{bad[3]}: is binary data, not JSON lines",
    ]


def test_a_path_that_no_file_can_have_is_an_input_error() -> None:
    """A NUL in it raises another kind of error in the standard library."""
    with pytest.raises(InputError, match="null"):
        check_inputs([Path("a\0b")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """Its size is not known, and checking must not take bytes out of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b'{"event": "ping"}\n',))
    writer.start()

    check_inputs([pipe])
    (line,) = read_lines(pipe)

    writer.join()
    assert (line.delivery, total_bytes([pipe])) == ({"event": "ping"}, None)


def test_sizes_add_up(written) -> None:
    """For the progress bar."""
    assert total_bytes([written(b"12345"), written(b"123", "b")]) == 8
