"""How Sphinx builds these pages: ``make docs``, where a warning or a dead link is an error."""

from __future__ import annotations

from importlib.metadata import version as version_of

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

nitpicky = True
# What stands in signatures and is documented elsewhere: other people's projects, and type variables.
_STDLIB = "asyncio|collections|concurrent|contextlib|dataclasses|datetime|decimal|enum|logging|pathlib|types|typing"
_THEIRS = "anyio|packaging|pluggy|pydantic|pydantic_core|structlog|trio|typing_extensions"
_SHORT = "Any|Annotated|Awaitable|BaseModel|Callable|Coroutine|Iterable|Iterator|Mapping|Path|Self"
nitpick_ignore_regex = [
    ("py:.*", rf"({_STDLIB}|{_THEIRS})\b.*"),
    ("py:.*", rf"({_SHORT})"),
    ("py:.*", r"(.*\.)?_?[A-Z][a-z]?(_co|_contra)?"),
]
