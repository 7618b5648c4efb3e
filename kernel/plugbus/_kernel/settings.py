"""A plugin's settings: the sources one over the other, validated as a whole, each problem with its key and source.

Owns laying them over one another; a value is never printed, because it may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar, final

from pydantic import BaseModel, ValidationError

from plugbus._kernel.hiding import Hiding
from plugbus._kernel.sources import LEVELS, SettingsSource, alternatives, from_environment, unknown_key, variable_name
from plugbus.errors import Problem, SettingsError

__all__ = ("Draft", "Origins", "Validated", "changed_keys", "field_names", "leaves", "validate_settings")

M = TypeVar("M", bound=BaseModel)

Path: TypeAlias = tuple[str, ...]
Origins: TypeAlias = dict[Path, str]

DEFAULT: Final = "default"
REQUIRED: Final = "is required and nobody gives it"


class _Values(dict[str, Any]):
    """Values that a traceback with local variables does not print."""

    def __repr__(self) -> str:
        return f"<values of {sorted(map(str, self))}>"


@final
@dataclass(frozen=True, slots=True)
class Validated:
    """Settings, and where each key comes from; keys that are not there have their default."""

    settings: BaseModel = field(repr=False)
    origins: Mapping[Path, str]


@final
class Draft:
    """The settings of one plugin before they are validated.

    Attributes:
        plugin_id: Whose they are.
        model: The schema, if one is known.
        sources: The sources, the weakest first.
    """

    __slots__ = ("model", "plugin_id", "sources")

    def __init__(self, plugin_id: str, model: type[BaseModel] | None, sources: Sequence[SettingsSource]) -> None:
        self.plugin_id, self.model, self.sources = plugin_id, model, tuple(sources)

    def over(self, added: SettingsSource) -> Draft:
        """Return the same with one more source, over all that are not stronger."""
        strength = LEVELS.index(added.level)
        weaker = sum(LEVELS.index(source.level) <= strength for source in self.sources)
        return Draft(self.plugin_id, self.model, (*self.sources[:weaker], added, *self.sources[weaker:]))

    def values(self) -> Mapping[str, Any]:
        """Return what the sources say together, not validated."""
        return _merged(self.model, self.sources)[0]

    def origins(self) -> Origins:
        """Return the source of each key that has one, and of each table."""
        return _merged(self.model, self.sources)[1]

    def shown(self) -> dict[str, str]:
        """Return the source of each key, as ``mail.port``; ``default`` where there is none."""
        origins = self.origins()
        found = {path: origin for path, origin in origins.items() if not any(_below(path, origins))}
        for path in () if self.model is None else _fields(self.model, origins):
            found.setdefault(path, DEFAULT)
        return dict(sorted((".".join(map(str, path)), origin) for path, origin in found.items()))

    def validated(self, model: type[BaseModel]) -> Validated:
        """Validate the whole; as ``validate_settings``."""
        return validate_settings(self.plugin_id, model, self.sources)


def _below(path: Path, paths: Iterable[Path]) -> Iterator[Path]:
    return (other for other in paths if len(other) > len(path) and other[: len(path)] == path)


def _fields(model: Any, origins: Mapping[Path, str], path: Path = ()) -> Iterator[Path]:
    """Yield the fields of a model, and those of a model within it where some of them are set one by one."""
    for name, found in model.model_fields.items():
        inner = [each for each in alternatives(found.annotation) if hasattr(each, "model_fields")]
        if not any(_below((*path, name), origins)):
            yield (*path, name)
        elif inner:
            yield from _fields(inner[0], origins, (*path, name))


def validate_settings(plugin_id: str, model: type[M], sources: Sequence[SettingsSource]) -> Validated:
    """Lay the sources one over the other and validate the whole.

    Args:
        plugin_id: For messages.
        model: The schema.
        sources: The weakest first.

    Raises:
        SettingsError: If keys are unknown or values wrong; each with its key and its source.
    """
    merged, origins, problems = _merged(model, sources)
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


def _merged(model: type[BaseModel] | None, sources: Sequence[SettingsSource]) -> tuple[_Values, Origins, list[Problem]]:
    merged, origins = _Values(), Origins()
    problems: list[Problem] = []
    names = {} if model is None else field_names(model)
    for source in sources:
        if source.prefix:
            for keys, variable, value in from_environment(model, source, problems):
                _lay(merged, _nest(keys, value), origins, variable)
        else:
            problems.extend(_unknown(model, source.values, source.origin))
            _lay(merged, {names.get(key, key): value for key, value in source.values.items()}, origins, source.origin)
    return merged, origins, problems


def _lay(below: dict[str, Any], above: Mapping[str, Any], origins: Origins, origin: str, *path: str) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping):
            inner = below.get(key)
            below[key] = _Values(inner) if isinstance(inner, Mapping) else _Values()
            _lay(below[key], value, origins, origin, *path, key)
        else:
            below[key] = value
            for hidden in tuple(_below((*path, key), origins)):
                del origins[hidden]
        origins[(*path, key)] = origin


def _nest(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def _unknown(model: Any, values: Mapping[str, Any], origin: str, path: Path = ()) -> Iterator[Problem]:
    """Find keys that the model does not have, where it does not say itself what becomes of them."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or model.model_config.get("extra") is not None:
        return
    names = field_names(model)
    for key, value in values.items():
        if key not in names:
            yield unknown_key(".".join(map(str, (*path, key))), model, origin)
        elif isinstance(value, Mapping):
            for candidate in alternatives(model.model_fields[names[key]].annotation):
                yield from _unknown(candidate, value, origin, (*path, key))


def field_names(model: type[BaseModel]) -> dict[str, str]:
    """Return the field that each name and alias means."""
    names = {name: name for name in model.model_fields}
    for name, found in model.model_fields.items():
        names |= {alias: name for alias in (found.alias, found.validation_alias) if isinstance(alias, str)}
    return names


def _told(plugin_id: str, error: ValidationError, origins: Mapping[Path, str], hiding: Hiding) -> Iterable[Problem]:
    for item in error.errors(include_url=False, include_context=False):
        path = tuple(map(str, item["loc"]))
        key = ".".join(path) or "settings"
        if item["type"] == "missing":
            where = f"plugins.{plugin_id}.{key} or {variable_name(plugin_id, *path)}"
            yield Problem(key, REQUIRED, f"set {where}")
            continue
        origin = next((origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins), "")
        yield Problem(key, hiding.told(item), f"from {origin}" if origin else "")


def leaves(values: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield each key with its value, as a path into nested tables."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def changed_keys(old: BaseModel | None, new: BaseModel, path: Path = ()) -> Iterator[str]:
    """Yield the keys in which two settings differ, as ``mail.port``."""
    for name in {**dict(old or ()), **dict(new)}:
        before, after = getattr(old, name, None), getattr(new, name, None)
        if isinstance(before, BaseModel) and isinstance(after, BaseModel) and type(before) is type(after):
            yield from changed_keys(before, after, (*path, name))
        elif before != after:
            yield ".".join((*path, name))
