"""How Sphinx builds these pages: ``make docs``, where a warning or a dead link is an error."""

from __future__ import annotations

import ast
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

import plugbus
from plugbus_adapters import http

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "plugbus"
author = "The plugbus authors"
release = version = version_of("plugbus")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "alabaster"
html_theme_options = {"description": "An event-bus middleware microkernel", "page_width": "1100px"}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "exclude-members": "model_config, __init__, __new__"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes as fields, no targets: one that is named "type" would be meant by every type[...]

nitpicky = True
# What stands in signatures and is documented elsewhere: other people's projects, and type variables.
_STDLIB = (
    "asyncio|collections|concurrent|contextlib|dataclasses|datetime|decimal|enum|logging|os|pathlib|random|types|typing"
)
_THEIRS = "anyio|httpx2|packaging|pluggy|pydantic|pydantic_core|starlette|structlog|trio|typing_extensions"
_SHORT = (
    "Any|BlockingPortal|Annotated|Awaitable|BaseModel|Callable|CollectorRegistry|Coroutine|Iterable|Iterator|Mapping"
    "|Path|Self|TaskGroup"
)
nitpick_ignore_regex = [
    ("py:.*", rf"({_STDLIB}|{_THEIRS})\b.*"),
    ("py:.*", rf"({_SHORT})"),
    ("py:.*", r"(.*\.)?_?[A-Z][a-z]?(_co|_contra)?"),
]


def _names_of_ours() -> frozenset[str]:
    """Every name at the top of a module of ours, public or not."""
    found: set[str] = set()
    root = Path(__file__).parent.parent
    for path in [*(root / "kernel/plugbus").rglob("*.py"), *(root / "adapters/plugbus_adapters/http").rglob("*.py")]:
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            found.update(getattr(target, "name", getattr(target, "id", "")) for target in targets)
    return frozenset(found)


_OURS = _names_of_ours()


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Lead every mention of a public name to its one path, and print our private types as plain text."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in _OURS:
        return None
    package = next((package for package in (plugbus, http) if name in package.__all__), None)
    if package is None:
        return content
    python = env.get_domain("py")
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", f"{package.__name__}.{name}", node, content)


def _no_type_before_a_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:  # noqa: ARG001, PLR0917
    """Undo that napoleon takes "Whether it hears: ..." for a type and a text; our types stand in the signature."""
    if what in {"attribute", "data", "property"}:
        for number, line in enumerate(lines):
            if line.startswith(":type: "):
                lines[0] = f"{line.removeprefix(':type: ')}: {lines[0]}"
                del lines[number]
                return


def _no_fields_of_tuples(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:  # noqa: ARG001, FBT001, PLR0917
    """Leave the fields of a named tuple to its docstring, which has them already, and says more."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", _no_fields_of_tuples)
    app.connect("autodoc-process-docstring", _no_type_before_a_colon, priority=600)  # napoleon comes at 500
    app.connect("missing-reference", _resolve)
