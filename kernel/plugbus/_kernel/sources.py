"""Where a plugin's settings come from: the places, their order, and how the environment is read.

Owns one source at a time; laying them one over the other is ``settings.py``'s job. A value is never printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, final, get_args, get_origin

from pydantic import BaseModel

from plugbus._errors.base import did_you_mean
from plugbus._kernel.config import Config
from plugbus.errors import Problem
from plugbus.manifest import plugin_key

Level: TypeAlias = Literal["defaults", "file", "stored", "environment", "argument"]

LEVELS: Final[tuple[Level, ...]] = get_args(Level)
"""The weakest first."""

STORED: Final = "stored"

CONFIGURED: Final = "configure()"
"""Where settings come from that were changed at run time, until the next start reads them from where they are kept."""


@final
@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Values from one place.

    Attributes:
        origin: Where they come from, for messages.
        values: The values by key, nested like the model; of the environment, text by variable name.
        prefix: What the names of its variables begin with, if this is the environment.
        level: How strong it is; of two of one level, the later one goes over the other.
        through: How many levels of tables its values only lead through to what they say.
    """

    origin: str
    values: Mapping[str, Any] = field(repr=False)
    prefix: str = ""
    level: Level = "file"
    through: int = 0


def nest(keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Return tables within tables that lead to a value."""
    for key in reversed(keys):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def variable_name(plugin_id: str, *keys: str) -> str:
    """Return the environment variable for a key of a plugin's settings."""
    return "__".join((f"PLUGBUS_{plugin_key(plugin_id)}", *keys)).upper()


def settings_sources(
    plugin_id: str, config: Config, environ: Mapping[str, str], *stored: SettingsSource
) -> tuple[SettingsSource, ...]:
    """Return the sources of a plugin's settings, the weakest first: file, stored, environment, argument."""
    prefix = variable_name(plugin_id, "")
    found = {name: text for name, text in environ.items() if name.startswith(prefix)}
    table = config.plugins.get(plugin_key(plugin_id), {})
    stated = SettingsSource(config.origin, table, level="file" if config.is_file else "argument")
    environment = SettingsSource("environment", found, prefix, "environment")
    over = config.over.get(plugin_key(plugin_id), ())
    sources = [source for source in (stated, *stored, environment, *over) if source.values]
    return tuple(sorted(sources, key=lambda source: LEVELS.index(source.level)))


def from_environment(
    model: type[BaseModel] | None, source: SettingsSource, problems: list[Problem]
) -> Iterator[tuple[list[str], str, Any]]:
    """Yield the keys that each variable means, its name and its value; without a model, any key will do."""
    for variable, text in source.values.items():
        keys: list[str] = []
        inner: Any = dict[str, Any] if model is None else model
        for part in variable.removeprefix(source.prefix).split("__"):
            found = _field(inner, part)
            if found is None:
                problems.append(unknown_key(".".join((*keys, part.lower())), inner, variable))
                break
            keys.append(found[0])
            inner = found[1]
        else:
            yield keys, variable, _decoded(text, inner)


def _field(model: Any, part: str) -> tuple[str, Any] | None:
    """Find a field by its name in capitals; below a mapping any name will do."""
    for candidate in alternatives(model):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            for name, found in candidate.model_fields.items():
                if name.upper() == part.upper():
                    return name, found.annotation
            if candidate.model_config.get("extra") == "allow":
                return part.lower(), Any
        elif get_origin(candidate) is dict or candidate is dict or candidate is Any:
            return part.lower(), (get_args(candidate) or (str, Any))[1]
    return None


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation itself."""
    members = get_args(annotation)
    return members if members and get_origin(annotation) not in _CONTAINERS else (annotation,)


_CONTAINERS: Final = frozenset({list, dict, set, frozenset, tuple})


def _decoded(text: str, annotation: Any) -> Any:
    """Read lists, mappings and models as JSON; pydantic reads everything else from text."""
    if text[:1] not in {"[", "{"} or not any(_is_nested(candidate) for candidate in alternatives(annotation)):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_nested(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return origin is Any or not isinstance(origin, type) or issubclass(origin, (*_CONTAINERS, BaseModel))


def unknown_key(key: str, model: Any, origin: str) -> Problem:
    """Say that a model has no such key, and which it has."""
    names = list(getattr(model, "model_fields", ()))
    known = did_you_mean(key.rpartition(".")[2], names) or f"known are {names}"
    return Problem(key, f"there is no such setting; {known}", f"from {origin}")
