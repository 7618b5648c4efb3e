"""What a plugin is, whichever of the three ways it was written.

Owns reading the declarations of a class, module or object, before any of its code runs.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, TypeAlias, final, get_args

from pydantic import BaseModel

from plugbus._annotations import UNRESOLVED, resolve, underlying
from plugbus._chain.steps import is_coroutine_callable
from plugbus._kernel.hooks import hook_attributes
from plugbus._kernel.steps import takes_self
from plugbus.errors import ManifestError, PluginLoadError
from plugbus.manifest import Manifest
from plugbus.marks import Checks, Found, noted
from plugbus.plugin import Plugin, Provided, id_of_class
from plugbus.subscribers import Subscribed, declarations

Form: TypeAlias = Literal["class", "instance", "module"]
_OWN: Final = (Provided, Subscribed)  # marks that the kernel itself reads


@final
@dataclass(frozen=True, slots=True)
class Service:
    """A function marked with ``@provides``.

    Attributes:
        holder: The class, object or module that it is written in.
        attribute: Its name there.
        type: What it provides.
        provided: How.
    """

    holder: Any
    attribute: str
    type: Any
    provided: Provided


@final
@dataclass(frozen=True, slots=True)
class Definition:
    """A plugin before it is built.

    Attributes:
        manifest: What it says about itself.
        form: Whether ``target`` is a class to build, or what was built by somebody else, or a module.
        target: The class, object or module.
        package: The import name under which its code lives.
        settings_model: The schema of its configuration.
        parts: What else belongs to it.
        events: Event types it brings along.
        hookspecs: Hook specifications it brings along.
        services: What it and its parts provide.
        marks: What else is noted on their functions, each with what it is written in.
        register: The function of a module that is handed the context.
        dynamic: Whether it may provide services that nobody can know of before it runs.
    """

    manifest: Manifest
    form: Form
    target: Any
    package: str
    settings_model: type[BaseModel] | None
    parts: tuple[object, ...]
    events: tuple[type, ...]
    hookspecs: object | None
    services: tuple[Service, ...]
    marks: tuple[tuple[Any, Found], ...]
    register: Callable[..., Any] | None
    dynamic: bool


def describe(target: object) -> str:
    """Return a name for messages: where something is written."""
    if isinstance(target, ModuleType):
        return target.__name__
    cls = target if isinstance(target, type) else type(target)
    return f"{cls.__module__}:{cls.__qualname__}"


def define(target: object, written: Manifest | None = None) -> Definition:
    """Read what a class, module or object declares.

    Args:
        target: The plugin; a module may also be one that has the plugin in it.
        written: The manifest of its folder, if it comes from one.

    Raises:
        PluginLoadError: If it is no plugin.
        ManifestError: If its manifest cannot be used, or there is none.
    """
    if isinstance(target, ModuleType):
        target = plugin_in(target)
    form = _form(target)
    manifest = _manifest_of(target, form, written)
    settings = getattr(target, "Settings", None)
    register = getattr(target, "register", None) if form == "module" else None
    parts = tuple(getattr(target, "parts", ()))
    found = [(holder, _looked_at(holder)) for holder in (target, *parts)]
    return Definition(
        manifest=manifest,
        form=form,
        target=target,
        package=_package_of(target),
        settings_model=settings if isinstance(settings, type) and issubclass(settings, BaseModel) else None,
        parts=parts,
        events=tuple(getattr(target, "events", ())),
        hookspecs=getattr(target, "hookspecs", None),
        services=tuple(service for holder, marks in found for service in services_in(holder, marks)),
        marks=tuple((holder, each) for holder, marks in found for each in marks if not isinstance(each.mark, _OWN)),
        register=register,
        dynamic=register is not None or hasattr(target, "plugbus_boot"),
    )


def _looked_at(holder: object) -> tuple[Found, ...]:
    """Find what is noted on the functions of a holder; a check of marks runs before its class is built."""
    found = tuple(noted(holder))
    for mark, attribute, call in found:
        if isinstance(mark, Checks) and (takes_self(holder, attribute) or is_coroutine_callable(call)):
            problem = f"{attribute} is marked with @checks, which runs before anything is built or waited for"
            raise PluginLoadError(describe(holder), f"{problem}; make it a @staticmethod or a @classmethod, not async")
    return found


def _form(target: object) -> Form:
    if isinstance(target, ModuleType):
        return "module"
    if isinstance(target, type):
        if issubclass(target, Plugin) or _looks_like_one(target):
            return "class"
    elif isinstance(target, Plugin) or _looks_like_one(target):
        return "instance"
    what = "a plugin is a subclass of Plugin, an object or module with a manifest, or 'package.module:Name'"
    raise PluginLoadError(describe(target), f"{target!r} is no plugin; {what}")


def _looks_like_one(target: object) -> bool:
    return hasattr(target, "manifest") or bool(hook_attributes(target))


def plugin_in(module: ModuleType) -> object:
    """Return the plugin that a module is, or the one class in it that is a plugin.

    Raises:
        PluginLoadError: If there is none, or more than one.
    """
    if callable(vars(module).get("register")):
        return module
    prefix = module.__name__ + "."
    classes = {
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Plugin) and not inspect.isabstract(value)
        and (value.__module__ == module.__name__ or value.__module__.startswith(prefix))
    }  # fmt: skip
    if len(classes) == 1:
        return classes.pop()
    if classes:
        names = sorted(cls.__qualname__ for cls in classes)
        raise PluginLoadError(module.__name__, f"it has several plugins; say which, as '{module.__name__}:{names[0]}'")
    if declarations(module) or hook_attributes(module):
        return module
    problem = "there is no plugin in it: no register(ctx), no subclass of Plugin, no marked function"
    raise PluginLoadError(module.__name__, problem)


def _manifest_of(target: Any, form: Form, written: Manifest | None) -> Manifest:
    stated = getattr(target, "manifest", None)
    if isinstance(stated, Mapping):
        stated = Manifest.model_validate(stated)
    if stated is not None and not isinstance(stated, Manifest):
        raise ManifestError(describe(target), (f"manifest is {type(stated).__name__}, not a Manifest or a mapping",))
    if stated is not None and written is not None and stated != written:
        raise ManifestError(written.id, (f"its file and {describe(target)} do not say the same; keep one of them",))
    found = stated or written or _manifest_beside(target)
    if found is not None:
        return found
    if form == "module":
        problem = "there is none: give the module a `manifest`, or a manifest.toml beside it"
        raise ManifestError(describe(target), (problem,))
    return Manifest(id=id_of_class(target if form == "class" else type(target)))


def _manifest_beside(target: object) -> Manifest | None:
    module = target if isinstance(target, ModuleType) else _module_of(target)
    folder = folder_of(module)
    return Manifest.beside(folder) if folder else None


def _module_of(target: object) -> ModuleType | None:
    cls = target if isinstance(target, type) else type(target)
    return sys.modules.get(cls.__module__)


def _package_of(target: object) -> str:
    """The package that is this plugin's own: what its module is in when that is called ``plugin``, else its module."""
    name = target.__name__ if isinstance(target, ModuleType) else (_module_of(target) or sys).__name__
    return name.removesuffix(".plugin")


def folder_of(module: ModuleType | None) -> Path | None:
    """Return the folder that a module's file is in, if it has one."""
    file = getattr(module, "__file__", None)
    return Path(file).parent if file else None


def services_of(target: object) -> Iterator[Service]:
    """Yield what the functions of a class, module or object provide, in the order in which they are written.

    Raises:
        PluginLoadError: If one does not say the type of what it provides.
    """
    yield from services_in(target, noted(target))


def services_in(holder: object, found: Iterable[Found]) -> Iterator[Service]:
    """Do the same with marks that were found already."""
    for mark, attribute, call in found:
        if isinstance(mark, Provided):
            yield Service(holder, attribute, _returned(holder, call), mark)


def _returned(target: object, call: Callable[..., Any]) -> Any:
    function = underlying(call)
    cls = target if isinstance(target, type) else type(target)
    annotation = resolve(getattr(function, "__annotations__", {}).get("return"), vars(cls), function.__globals__)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        annotation = next(iter(get_args(annotation)), None)
    if annotation is None or annotation is UNRESOLVED:
        problem = f"{function.__qualname__} is marked with @provides, and its return annotation does not say what"
        raise PluginLoadError(describe(target), problem)
    return annotation
