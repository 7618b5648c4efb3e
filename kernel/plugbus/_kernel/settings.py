"""A plugin's settings: the sources one over the other, validated as a whole, each problem with its key and source.

Owns the order of the sources; a value is never printed, because it may be a secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar, final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from plugbus._errors.base import close_names
from plugbus._kernel.config import Config
from plugbus._kernel.hiding import Hiding
from plugbus.errors import Problem, SettingsError
from plugbus.manifest import plugin_key

__all__ = ("SettingsSource", "Validated", "settings_sources", "validate_settings", "variable_name")

M = TypeVar("M", bound=BaseModel)


@final
@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Values from one place.

    Attributes:
        origin: Where they come from, for messages.
        values: The values by key, nested like the model; of the environment, text by variable name.
        prefix: What the names of its variables begin with, if this is the environment.
    """

    origin: str
    values: Mapping[str, Any]
    prefix: str = ""

    def __repr__(self) -> str:
        return f"SettingsSource({self.origin!r}, keys={sorted(self.values)})"


@final
@dataclass(frozen=True, slots=True)
class Validated:
    """Settings, and where each key comes from; keys that are not there have their default."""

    settings: BaseModel
    origins: Mapping[tuple[str, ...], str]


def variable_name(plugin_id: str, *keys: str) -> str:
    """Return the environment variable for a key of a plugin's settings."""
    return "__".join((f"PLUGBUS_{plugin_key(plugin_id)}", *keys)).upper()


def settings_sources(plugin_id: str, config: Config, environ: Mapping[str, str]) -> tuple[SettingsSource, ...]:
    """Return the sources of a plugin's settings, the weakest first: file, environment, argument."""
    prefix = variable_name(plugin_id, "")
    found = {name: text for name, text in environ.items() if name.startswith(prefix)}
    table = config.plugins.get(plugin_key(plugin_id), {})
    environment = SettingsSource("environment", found, prefix)
    stated = SettingsSource(config.origin, table)
    ordered = (stated, environment) if config.is_file else (environment, stated)
    return tuple(source for source in ordered if source.values)


def validate_settings(plugin_id: str, model: type[M], sources: Sequence[SettingsSource]) -> Validated:
    """Lay the sources one over the other and validate the whole.

    Args:
        plugin_id: For messages.
        model: The schema.
        sources: The weakest first.

    Raises:
        SettingsError: If keys are unknown or values wrong; each with its key and its source.
    """
    merged: dict[str, Any] = {}
    origins: Origins = {}
    problems: list[Problem] = []
    names = _names(model)
    for source in sources:
        values = source.values
        if source.prefix:
            for keys, variable, value in _from_environment(model, source, problems):
                _lay(merged, _nest(keys, value), origins, variable)
        else:
            problems.extend(_unknown(model, values, source.origin))
            _lay(merged, {names.get(key, key): value for key, value in values.items()}, origins, source.origin)
    try:
        settings = model.model_validate(merged, by_alias=True, by_name=True)
    except ValidationError as error:
        problems.extend(_told(plugin_id, error, origins, Hiding(model, merged)))
    except Exception as error:  # noqa: BLE001 - of a validator of the plugin's; its text may hold any value
        problem = f"a validator raised {type(error).__name__}"
        problems.append(Problem("settings", problem, "raise ValueError or use assert, which pydantic collects"))
    else:
        if not problems:
            return Validated(settings, origins)
    raise SettingsError(plugin_id, problems) from None


Origins: TypeAlias = dict[tuple[str, ...], str]


def _lay(below: dict[str, Any], above: Mapping[str, Any], origins: Origins, origin: str, *path: str) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping):
            inner = below.get(key)
            below[key] = dict(inner) if isinstance(inner, Mapping) else {}
            _lay(below[key], value, origins, origin, *path, key)
        else:
            below[key] = value
        origins[(*path, key)] = origin


def _nest(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def _from_environment(
    model: type[BaseModel], source: SettingsSource, problems: list[Problem]
) -> Iterator[tuple[list[str], str, Any]]:
    """Yield the keys that each variable means, its name and its value."""
    for variable, text in source.values.items():
        keys: list[str] = []
        inner: Any = model
        for part in variable.removeprefix(source.prefix).split("__"):
            found = _field(inner, part)
            if found is None:
                problems.append(_unknown_key(".".join((*keys, part.lower())), inner, variable))
                break
            keys.append(found[0])
            inner = found[1]
        else:
            yield keys, variable, _decoded(text, inner)


def _field(model: Any, part: str) -> tuple[str, Any] | None:
    """Find a field by its name in capitals; below a mapping any name will do."""
    for candidate in _alternatives(model):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            for name, field in candidate.model_fields.items():
                if name.upper() == part.upper():
                    return name, field.annotation
            if candidate.model_config.get("extra") == "allow":
                return part.lower(), Any
        elif get_origin(candidate) is dict or candidate is dict:
            return part.lower(), (get_args(candidate) or (str, Any))[1]
    return None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation itself."""
    members = get_args(annotation)
    return members if members and get_origin(annotation) not in _CONTAINERS else (annotation,)


_CONTAINERS: Final = frozenset({list, dict, set, frozenset, tuple})


def _decoded(text: str, annotation: Any) -> Any:
    """Read lists, mappings and models as JSON; pydantic reads everything else from text."""
    if text[:1] not in {"[", "{"} or not any(_is_nested(candidate) for candidate in _alternatives(annotation)):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_nested(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return origin is Any or not isinstance(origin, type) or issubclass(origin, (*_CONTAINERS, BaseModel))


def _unknown(model: Any, values: Mapping[str, Any], origin: str, path: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Find keys that the model does not have, where it does not say itself what becomes of them."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or model.model_config.get("extra") is not None:
        return
    names = _names(model)
    for key, value in values.items():
        if key not in names:
            yield _unknown_key(".".join((*path, key)), model, origin)
        elif isinstance(value, Mapping):
            for candidate in _alternatives(model.model_fields[names[key]].annotation):
                yield from _unknown(candidate, value, origin, (*path, key))


def _names(model: type[BaseModel]) -> dict[str, str]:
    """Return the field that each name and alias means."""
    names = {name: name for name in model.model_fields}
    for name, field in model.model_fields.items():
        names |= {alias: name for alias in (field.alias, field.validation_alias) if isinstance(alias, str)}
    return names


def _unknown_key(key: str, model: Any, origin: str) -> Problem:
    names = list(getattr(model, "model_fields", ()))
    nearest = close_names(key.rpartition(".")[2], names)
    known = f"did you mean {' or '.join(nearest)}?" if nearest else f"known are {names}"
    return Problem(key, f"there is no such setting; {known}", f"from {origin}")


def _told(
    plugin_id: str, error: ValidationError, origins: Mapping[tuple[str, ...], str], hiding: Hiding
) -> Iterable[Problem]:
    for item in error.errors(include_url=False, include_context=False):
        path = tuple(map(str, item["loc"]))
        key = ".".join(path) or "settings"
        if item["type"] == "missing":
            where = f"plugins.{plugin_id}.{key} or {variable_name(plugin_id, *path)}"
            yield Problem(key, "is required and nobody gives it", f"set {where}")
            continue
        origin = next((origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins), "")
        yield Problem(key, hiding.told(item), f"from {origin}" if origin else "")
