"""The guard alone: which events its rules forbid."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hub_events import EVENT_TYPES, Delete
from plugins.guard import Guard, Rule
from pydantic import ValidationError

from plugbus import ABSENT, Kernel, NamedEvent, SettingsError, Veto
from plugbus.testing import PluginConformance, capture

pytestmark = pytest.mark.anyio

RULES = [
    {"event": "github.delete", "repo": "acme/flight-*", "reason": "records are kept"},
    {"actor": "*[[]bot]", "event": "github.release.*", "reason": "people release"},
]
RECORDS_DELETED = Delete(repo="acme/flight-records", ref="v1", ref_type="tag")


def guarded(rules: object = RULES) -> Kernel:
    return Kernel(plugins=[Guard], config={"plugins": {"guard": {"rules": rules}}})


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (RECORDS_DELETED, "records are kept"),
        (EVENT_TYPES["github.release.published"](repo="a/b", actor="build[bot]", tag="v1"), "people release"),
        (NamedEvent("github.release.new", {"sender": {"login": "build[bot]"}}), "people release"),
    ],
)
async def test_what_a_rule_forbids_is_vetoed_with_its_reason(event, reason) -> None:
    """Typed or not, the veto reaches the emitter, and no observer hears of the event."""
    async with guarded() as kernel:
        with capture(kernel.bus, "github.**") as heard, pytest.raises(Veto) as caught:
            await kernel.bus.aemit(event)

    assert (caught.value.reason, heard) == (reason, [])


@pytest.mark.parametrize(
    "event",
    [
        Delete(repo="acme/rocket", ref="fix", ref_type="branch"),
        EVENT_TYPES["github.release.published"](repo="a/b", actor="mira-okon", tag="v1"),
        NamedEvent("github.release.new", None),
    ],
)
async def test_everything_else_passes(event) -> None:
    """All patterns of a rule have to match, and one without repository or actor matches none."""
    async with guarded() as kernel:
        assert await kernel.bus.aemit(event) == event


async def test_without_rules_it_lets_everything_pass() -> None:
    """Rules are the operator's to give."""
    async with guarded([]) as kernel:
        assert await kernel.bus.aemit(RECORDS_DELETED) == RECORDS_DELETED


async def test_rules_change_while_it_runs() -> None:
    """From the next event on; one that is not valid changes nothing, and taking the change back restores the file's."""
    async with Kernel(plugins=[Guard]) as kernel:
        await kernel.bus.aemit(RECORDS_DELETED)

        await kernel.plugins.configure("guard", {"rules": RULES})
        with pytest.raises(Veto, match="records are kept"):
            await kernel.bus.aemit(RECORDS_DELETED)
        with pytest.raises(SettingsError, match="rpeo"):
            await kernel.plugins.configure("guard", {"rules": [{"rpeo": "acme/*", "reason": "x"}]})
        with pytest.raises(Veto, match="records are kept"):
            await kernel.bus.aemit(RECORDS_DELETED)

        await kernel.plugins.configure("guard", {"rules": ABSENT})
        assert await kernel.bus.aemit(RECORDS_DELETED) == RECORDS_DELETED


def test_a_misspelt_pattern_is_refused() -> None:
    """Or a rule for one repository would hold for all."""
    with pytest.raises(ValidationError, match="rpeo"):
        Rule.model_validate({"rpeo": "acme/*", "reason": "x"})


class TestGuardConforms(PluginConformance):
    """It boots alone, leaves no trace, keeps to its manifest, and survives what it needs."""

    plugin = Guard
    needs: ClassVar = ["plugins.intake:Intake", "plugins.audit:Audit"]
    config: ClassVar = {"rules": RULES}
