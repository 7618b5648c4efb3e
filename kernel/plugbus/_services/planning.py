"""The graph of services: who needs whom, what is wrong with it, and the order of building.

The whole of what is asked for is planned before any factory runs, so that a mistake leaves nothing half built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, final

from plugbus._services import messages
from plugbus._services.keys import BY_NAME
from plugbus._services.late import FACED, value_of
from plugbus._services.parameters import Parameter
from plugbus._services.providers import LIFETIMES, Provider
from plugbus._services.stores import ABSENT, Claim, Store
from plugbus.errors import PermissionDeniedError, Problem
from plugbus.owner import Owner

if TYPE_CHECKING:
    from plugbus._services.container import Container
    from plugbus._services.units import Level

ANYONE: Final = Owner("any plugin")  # who asks, when the graph is checked for nobody in particular
BASE: Final = -1  # the layer below all overrides


@final
class Fixed:
    """A value that needs no building."""

    __slots__ = ("instance", "layer")

    def __init__(self, instance: object) -> None:
        self.instance: Any = instance
        self.layer = BASE


@final
class Step:
    """One service to be had for one owner: its instance, or what has to be there to build it."""

    __slots__ = ("claim", "instance", "layer", "on_path", "owner", "provider", "store", "wants")

    def __init__(self, provider: Provider, owner: Owner | None) -> None:
        self.provider, self.owner = provider, owner
        self.instance: Any = provider.value if provider.kind == "value" else ABSENT
        self.layer = BASE
        self.on_path = False
        self.wants: dict[str, Step | Fixed] = {}
        self.store: Store  # once it is planned for real
        self.claim: Claim  # once it is being built

    def arguments(self) -> dict[str, object]:
        """What its factory is called with, once those before it are built."""
        return {name: wanted.instance for name, wanted in self.wants.items()}


@final
class Planner:
    """Plans what one question needs.

    Args:
        container: Whose providers.
        dry: Look at everything, built or not, for problems alone.
        level: Where services of a unit of work are.
        late: Leave those for later.

    Attributes:
        later: Those of a unit of work that were left for later.
        order: What has to be built, each after all that it needs.
        problems: What is wrong; nothing may be built if there are any.
    """

    __slots__ = (
        "_container", "_dry", "_hints", "_layers", "_level", "_overrides", "_path", "_steps", "late", "later", "order",
        "problems",
    )  # fmt: skip

    def __init__(
        self, container: Container, *, dry: bool = False, level: Level | None = None, late: bool = False
    ) -> None:
        self._container, self._dry, self._level, self.late = container, dry, level, late
        self.later: list[Step] = []
        self._overrides = container.overrides
        self._layers = {override.provider: layer for layer, override in enumerate(self._overrides)}
        self._path: list[Step] = []
        self._steps: dict[tuple[Provider, Owner | None], Step] = {}
        self._hints: dict[tuple[Any, str | None, bool], str] = {}
        self.order: list[Step] = []
        self.problems: list[Problem] = []

    def fill(
        self,
        where: messages.Where,
        parameters: Sequence[Parameter],
        asker: Owner | None,
        reader: Provider | None = None,
    ) -> dict[str, Step | Fixed]:
        """Plan for the parameters of a callable; those that their default serves are left out.

        Args:
            where: The callable, for messages.
            parameters: What it wants.
            asker: For whom: what is made for each plugin is made for this one.
            reader: The provider whose factory it is, if it is one.
        """
        wants: dict[str, Step | Fixed] = {}
        for parameter in parameters:
            wanted = self._want(where, parameter, asker, reader)
            if wanted is not None:
                wants[parameter.name] = wanted
        return wants

    def visit(self, provider: Provider, asker: Owner | None) -> Step:
        """Plan one provider and all that it needs."""
        if self._dry and asker is not None:
            asker = ANYONE  # the graph looks the same for every plugin
        owner = asker if provider.scope == "plugin" else None
        step = self._steps.get((provider, owner))
        if step is None:
            step = self._steps[provider, owner] = Step(provider, owner)
            self._plan(step)
        elif step.on_path:
            path = self._path[self._path.index(step) :]
            self.problems.append(messages.cycle([other.provider for other in path]))
        return step

    def _plan(self, step: Step) -> None:
        provider, lean = step.provider, not self._layers and not self._dry
        step.layer = self._layers.get(provider, BASE)
        if step.instance is not ABSENT or (lean and self._is_built(step)):
            return
        step.on_path = True
        self._path.append(step)
        asker = step.owner if provider.scope == "plugin" else provider.owner
        step.wants = self.fill(provider.place, provider.parameters, asker, provider)
        self._path.pop()
        step.on_path = False
        # Built with something that an override replaced, it belongs to that override and goes with it.
        step.layer = max([step.layer, *(wanted.layer for wanted in step.wants.values())])
        if self.late and provider.scope == "call":
            self.later.append(step)
        elif self._dry or not self._is_built(step):
            self.order.append(step)

    def _is_built(self, step: Step) -> bool:
        override = None if step.layer == BASE else self._overrides[step.layer]
        if step.provider.scope == "call":
            if self._level is None:
                return False
            step.store, step.instance = self._level.look(step.provider, override)
            return step.instance is not ABSENT
        step.store = self._container.store(step.owner, override)
        step.instance = step.store.instances.get(step.provider, ABSENT)
        return step.instance is not ABSENT

    def _want(
        self, where: messages.Where, parameter: Parameter, asker: Owner | None, reader: Provider | None
    ) -> Step | Fixed | None:
        found = self._container.find(parameter, asker, reader)
        if not found and parameter.type in FACED:
            return self._faced(where, parameter, reader)
        seed = self._seed(parameter, found, reader)
        if not found and seed is ABSENT:
            return self._without_provider(where, parameter, asker)
        if parameter.positional_only:
            if not parameter.has_default:
                self.problems.append(messages.not_by_name(where, parameter))
            return None
        return self._chosen(where, parameter, found, asker, reader) if seed is ABSENT else Fixed(seed)

    def _chosen(
        self,
        where: messages.Where,
        parameter: Parameter,
        found: Sequence[Provider],
        asker: Owner | None,
        reader: Provider | None,
    ) -> Step | None:
        provider, *others = found
        problem: Problem | None = None
        if others:
            if not self._dry or not messages.same_thing(found):  # check tells of duplicates once for all
                self.problems.append(messages.ambiguous(where, parameter, found))
            return None
        if provider.permission is not None and not self._permitted(where, parameter, provider, reader or asker):
            return None
        if provider.scope == "call":
            problem = self._out_of_unit(where, parameter, provider, reader)
        elif asker is None and LIFETIMES[provider.scope] > LIFETIMES["app"]:
            problem = messages.too_short(where, parameter, provider, reader)
        if problem is not None:
            self.problems.append(problem)
            return None
        return self.visit(provider, asker)

    def _out_of_unit(
        self, where: messages.Where, parameter: Parameter, provider: Provider, reader: Provider | None
    ) -> Problem | None:
        if reader is not None:
            return None if reader.scope == "call" else messages.too_short(where, parameter, provider, reader)
        return None if self.late or self._level is not None else messages.no_unit(where, parameter, provider)

    def _seed(self, parameter: Parameter, found: Sequence[Provider], reader: Provider | None) -> object:
        """Return what a unit of work was opened with; an override goes before it."""
        if self._level is None or not self._level.unit.seeds or (reader is not None and reader.scope != "call"):
            return ABSENT
        if len(found) != 1:
            return self._level.unit.seeds.get((parameter.type, parameter.named), ABSENT)
        provider = found[0]
        return (
            ABSENT if provider in self._layers else self._level.unit.seeds.get((provider.type, provider.name), ABSENT)
        )

    def _permitted(
        self, where: messages.Where, parameter: Parameter, provider: Provider, reader: Provider | Owner | None
    ) -> bool:
        """Tell whether whoever reads a service may: a factory for its own plugin, whoever it builds for."""
        owner = reader.owner if isinstance(reader, Provider) else reader
        try:
            if owner is not None and owner.permits is not None and provider.permission is not None:
                owner.permits.check_use(provider.permission)
        except PermissionDeniedError as error:
            if not self._dry:
                raise
            self.problems.append(messages.not_permitted(where, parameter, provider, error))
            return False
        return True

    def _faced(self, where: messages.Where, parameter: Parameter, reader: Provider | None) -> Fixed | None:
        """Look it up now, for who asks at this moment or for a unit of work that is open."""
        if reader is not None and reader.scope != "call":
            self.problems.append(messages.differs(where, parameter))
            return None
        planned_only = self._dry or self.late or (reader is not None and self._level is None)
        if planned_only or (parameter.has_default and FACED[parameter.type]() is None):
            return None
        return Fixed(value_of(parameter, messages.where_is(where, parameter)))

    def _without_provider(self, where: messages.Where, parameter: Parameter, asker: Owner | None) -> Fixed | None:
        built_in = self._container.built_in(parameter, asker)
        if built_in is not ABSENT:
            return Fixed(built_in)
        if parameter.has_default:
            return None
        if parameter.optional:
            return Fixed(None)
        self.problems.append(messages.missing(where, parameter, self._hint(parameter)))
        return None

    def _hint(self, parameter: Parameter) -> str:
        """Look for what comes close once, however many ask for it."""
        name = parameter.name if parameter.type is BY_NAME else parameter.named
        key = parameter.type, name, parameter.unresolved is None
        if key not in self._hints:
            self._hints[key] = messages.hint_for(parameter, self._container.registry)
        return self._hints[key]
