"""The runner of the documentation's Python blocks."""

from __future__ import annotations

from tests.pages import python_of

PAGE = """# A page

```python
first = 1
```

```console
$ not python
```

1. In a list:

   ```python
   second = first + 1
   ```
"""


def test_blocks_keep_their_lines_and_lose_their_indentation() -> None:
    """A traceback points at the line of the page."""
    lines = python_of(PAGE).split("\n")

    assert (lines[3], lines[13]) == ("first = 1", "second = first + 1")
    assert [line for line in lines if line] == ["first = 1", "second = first + 1"]


def test_blocks_run_together() -> None:
    """A block may use what those above it made."""
    names: dict[str, object] = {}

    exec(python_of(PAGE), names)

    assert names["second"] == 2
