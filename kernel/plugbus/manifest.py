"""What a plugin says about itself, before any of its code runs.

Owns the manifest's fields and their checks, and where a manifest is written down; who needs whom is resolved elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self, TypeAlias, final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from plugbus.errors import EventTypeError, ManifestError
from plugbus.registry import is_pattern

__all__ = ("Manifest", "Requirement", "plugin_key", "read_requirement")

ID_PATTERN: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
FILE_NAMES: Final = ("manifest.toml", "manifest.json")
_REQUIREMENT: Final = re.compile(r"(?P<id>[A-Za-z0-9_-]+)\s*(?P<versions>.*)", re.DOTALL)


def plugin_key(plugin_id: str) -> str:
    """Return what two spellings of one plugin id have in common: ``-`` and ``_`` are the same.

    Example:
        >>> plugin_key("order-mail") == plugin_key("order_mail")
        True
    """
    return plugin_id.replace("-", "_")


def check_id(text: str) -> str:
    """Return a plugin id as it is.

    Raises:
        ValueError: If it is none; ids become folder names and environment variables, so little is allowed.
    """
    if not ID_PATTERN.fullmatch(text):
        raise ValueError(f"{text!r} is not a plugin id: a lower-case letter, then up to 63 of a-z, 0-9, '-' and '_'")
    return text


@final
class Requirement(NamedTuple):
    """One entry of ``requires`` or ``optional``: an id, or the name of a provided service, and a version range.

    Attributes:
        id: What is needed.
        versions: The PEP 440 range; empty when any version will do.

    Example:
        >>> needed = read_requirement("catalog>=1.0,<2")
        >>> needed.id, needed.met_by("1.4"), needed.met_by("2.0")
        ('catalog', True, False)
    """

    id: str
    versions: SpecifierSet

    @property
    def key(self) -> str:
        """The id in its common spelling."""
        return plugin_key(self.id)

    def met_by(self, version: str) -> bool:
        """Tell whether a version is in the range; a pre-release counts where its number does."""
        return not self.versions or self.versions.contains(version, prereleases=True)

    def __str__(self) -> str:
        return f"{self.id}{self.versions}"


@lru_cache(maxsize=4096)
def read_requirement(text: str) -> Requirement:
    """Read a requirement such as ``"catalog>=1.0"``.

    Raises:
        ValueError: If it has no plugin id, or its range is not one of PEP 440.
    """
    found = _REQUIREMENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a requirement; write an id and a version range, like 'catalog>=1.0'")
    try:
        return Requirement(check_id(found["id"]), SpecifierSet(found["versions"]))
    except InvalidSpecifier:
        raise ValueError(f"{text!r}: {found['versions']!r} is not a version range of PEP 440") from None


def _requirements(texts: Sequence[str]) -> tuple[str, ...]:
    return _each(texts, read_requirement)


def _version(text: str) -> str:
    try:
        Version(text)
    except InvalidVersion:
        raise ValueError(f"{text!r} is not a version of PEP 440") from None
    return text


def _range(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError(f"{text!r} is not a version range of PEP 440") from None
    return text


def _patterns(texts: Sequence[str]) -> tuple[str, ...]:
    return _each(texts, is_pattern)


def _each(texts: Sequence[str], check: Callable[[str], object]) -> tuple[str, ...]:
    problems: list[str] = []
    for text in texts:
        try:
            check(text)
        except (ValueError, EventTypeError) as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(texts)


_Id: TypeAlias = Annotated[str, AfterValidator(check_id)]
_Names: TypeAlias = Annotated[Sequence[str], AfterValidator(tuple)]
Patterns: TypeAlias = Annotated[Sequence[str], AfterValidator(_patterns)]
_Requirements: TypeAlias = Annotated[Sequence[str], AfterValidator(_requirements)]


class Manifest(BaseModel):
    """What a plugin is called, needs, provides and is allowed to do.

    Written as a class attribute, as a module's ``manifest``, or as ``manifest.toml`` or ``manifest.json`` beside it.

    Args:
        id: Its name for machines: a lower-case letter, then up to 63 of a-z, 0-9, ``-`` and ``_`` (both the same).
        name: Its name for people; the id unless given.
        version: Its version (PEP 440).
        description: One sentence for people.
        author: Who wrote it.
        license: Under which licence.
        requires: Ids of plugins, or names of provided services, each with a version range, that it cannot boot without.
        optional: The same for those that boot before it if they are there.
        provides: Names that others may require; what ``@provides`` provides needs no entry.
        publishes: Wire names or patterns of the events it may emit and the requests it may call; ``None`` when it
            does not say, and then it is not limited.
        subscribes: The same for what it may listen to, observe and answer; what the kernel tells, everybody may hear.
        permissions: The same for permissions that services are tied to.
        tags: Words to find it by.
        urls: Links by their name.
        extra: Whatever else its author wants to keep here.
        plugbus: The versions of plugbus it works with (PEP 440).

    Raises:
        ManifestError: If fields cannot be used; it lists all of them.

    Example:
        >>> manifest = Manifest(id="products", version="1.2.0", requires=["catalog>=1.0"])
        >>> manifest.key, [str(needed) for needed in manifest.needs]
        ('products', ['catalog>=1.0'])
        >>> Manifest(id="../shop", version="one")
        Traceback (most recent call last):
        plugbus.errors.ManifestError: plugin '../shop': its manifest cannot be used: ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: _Id
    name: str = ""
    version: Annotated[str, AfterValidator(_version)] = "0"
    description: str = ""
    author: str = ""
    license: str = ""
    requires: _Requirements = ()
    optional: _Requirements = ()
    provides: _Names = ()
    publishes: Patterns | None = None
    subscribes: Patterns | None = None
    permissions: Patterns | None = None
    tags: _Names = ()
    urls: Mapping[str, str] = {}
    extra: Mapping[str, Any] = {}
    plugbus: Annotated[str, AfterValidator(_range)] = ""

    @model_validator(mode="wrap")
    @classmethod
    def _all_problems_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            known = data.get("id") if isinstance(data, Mapping) else None
            raise ManifestError(str(known or "?"), tuple(map(_told, error.errors()))) from None

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name or self.id

    @cached_property
    def key(self) -> str:
        """Its id in the common spelling; equal for ids that mean the same plugin."""
        return plugin_key(self.id)

    @cached_property
    def needs(self) -> tuple[Requirement, ...]:
        """What it requires, read."""
        return tuple(map(read_requirement, self.requires))

    @cached_property
    def supported(self) -> SpecifierSet:
        """The versions of plugbus it works with, read."""
        return SpecifierSet(self.plugbus)

    @cached_property
    def wishes(self) -> tuple[Requirement, ...]:
        """What it likes to have booted before it, read."""
        return tuple(map(read_requirement, self.optional))

    @classmethod
    def read(cls, path: str | Path) -> Manifest:
        """Read a manifest from a file, by its ending as TOML or JSON.

        Args:
            path: ``manifest.toml`` or ``manifest.json``.

        Raises:
            ManifestError: If the file cannot be read, or fields in it cannot be used.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     file = Path(folder, "manifest.toml")
            ...     _ = file.write_text('id = "shop"')
            ...     Manifest.read(file).id
            'shop'
        """
        import tomllib  # only for those who have such a file

        file = Path(path)
        try:
            text = file.read_text("utf-8")
            data = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        except (OSError, ValueError) as error:
            raise ManifestError(str(file), (f"{type(error).__name__}: {error}",)) from error
        try:
            return cls.model_validate(data)
        except ManifestError as error:
            raise ManifestError(str(file), error.problems) from None

    @classmethod
    def beside(cls, folder: Path) -> Manifest | None:
        """Read the manifest in a folder, if there is one."""
        found = next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)
        return None if found is None else cls.read(found)


def _told(problem: Mapping[str, Any]) -> str:
    where = ".".join(map(str, problem["loc"]))
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
