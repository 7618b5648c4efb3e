"""A plugin's settings: the sources one over the other, validated as a whole, each problem with its key and source.

Owns laying them over one another; a value is never printed, because it may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, final

from pydantic import BaseModel, ValidationError
from typing_extensions import is_typeddict

from plugbus._kernel.hiding import Hiding
from plugbus._kernel.sources import (
    LEVELS,
    SettingsSource,
    alternatives,
    from_environment,
    nest,
    unknown_key,
    variable_name,
)
from plugbus.errors import Problem, SettingsError

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
        keys = {_key_of(self.model, path): None for path in origins}
        found = {path: origins[path] for path in keys if not any(_below(path, keys))}
        for path in () if self.model is None else _fields(self.model, keys):
            found.setdefault(path, DEFAULT)
        return dict(sorted((".".join(map(str, path)), origin) for path, origin in found.items()))

    def validated(self, model: type[M]) -> M:
        """Lay the sources one over the other and validate the whole.

        Raises:
            SettingsError: If keys are unknown or values wrong; each with its key and its source.
        """
        merged, origins, problems = _merged(model, self.sources)
        try:
            settings = model.model_validate(merged, by_alias=True, by_name=True)
        except ValidationError as error:
            problems.extend(_told(self.plugin_id, error, origins, Hiding(model, merged)))
        except Exception as error:  # noqa: BLE001 - of a validator of the plugin's; its text may hold any value
            problem = f"a validator raised {type(error).__name__}"
            problems.append(Problem("settings", problem, "raise ValueError or use assert, which pydantic collects"))
        else:
            if not problems:
                return settings
        raise SettingsError(self.plugin_id, problems) from None


def _below(path: Path, paths: Iterable[Path]) -> Iterator[Path]:
    return (other for other in paths if len(other) > len(path) and other[: len(path)] == path)


def _within(model: Any, key: str) -> tuple[bool, Any]:
    """Tell whether a table is laid key by key there, and the model of its keys; a plain mapping is one value."""
    found = model.model_fields.get(field_names(model).get(key, key)) if model is not None else None
    for each in alternatives(found.annotation) if found is not None else ():
        if hasattr(each, "model_fields"):
            return True, each
        if is_dataclass(each) or is_typeddict(each):
            return True, None
    return model is None, None


def _key_of(model: Any, path: Path) -> Path:
    """Return the key of the settings that a path is in: none goes into a plain mapping."""
    for index, part in enumerate(path):
        by_key, model = _within(model, part)
        if not by_key:
            return path[: index + 1]
    return path


def _fields(model: Any, origins: Iterable[Path], path: Path = ()) -> Iterator[Path]:
    """Yield the fields of a model, and those of a model within it where some of them are set one by one."""
    for name, found in model.model_fields.items():
        inner = [each for each in alternatives(found.annotation) if hasattr(each, "model_fields")]
        if not any(_below((*path, name), origins)):
            yield (*path, name)
        elif inner:
            yield from _fields(inner[0], origins, (*path, name))


def _merged(model: type[BaseModel] | None, sources: Sequence[SettingsSource]) -> tuple[_Values, Origins, list[Problem]]:
    merged, origins = _Values(), Origins()
    problems: list[Problem] = []
    names = {} if model is None else field_names(model)
    for source in sources:
        if source.prefix:
            for keys, variable, value in from_environment(model, source, problems):
                _Layer(origins, variable, len(keys) - 1).lay(merged, nest(keys, value), model)
        else:
            problems.extend(_unknown(model, source.values, source.origin))
            named = {names.get(key, key): value for key, value in source.values.items()}
            _Layer(origins, source.origin, source.through).lay(merged, named, model)
    return merged, origins, problems


@final
class _Layer(NamedTuple):
    """One source, to be laid over those below it."""

    origins: Origins
    origin: str
    through: int

    def lay(self, below: dict[str, Any], above: Mapping[str, Any], model: Any, *path: str) -> None:
        """Lay a table over another; one that a path goes through, or that has a model, key by key."""
        for key, value in above.items():
            by_key, inner = _within(model, key)
            if isinstance(value, Mapping) and (by_key or len(path) < self.through):
                found = below.get(key)
                below[key] = _Values(found) if isinstance(found, Mapping) else _Values()
                self.lay(below[key], value, inner, *path, key)
            else:
                below[key] = _Values(value) if isinstance(value, Mapping) else value
                for hidden in tuple(_below((*path, key), self.origins)):
                    del self.origins[hidden]
            self.origins[(*path, key)] = self.origin


def merged_tables(below: Mapping[str, Any], above: Mapping[str, Any], model: Any, absent: object) -> dict[str, Any]:
    """Return a table laid over another by the same rule; a value that is *absent* takes out what is there."""
    result = dict(below)
    for key, value in above.items():
        by_key, inner = _within(model, key)
        if value is absent:
            result.pop(key, None)
        elif isinstance(value, Mapping) and by_key:
            found = result.get(key)
            result[key] = merged_tables(found if isinstance(found, Mapping) else {}, value, inner, absent)
        else:
            result[key] = value
    return result


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
