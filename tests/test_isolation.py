"""A plugin that fails takes nobody along but those that need it; unless the kernel cannot do without it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from pydantic import BaseModel, SecretStr

from plugbus import (
    Event,
    EventBus,
    Kernel,
    KernelStartError,
    ListenerFailed,
    Manifest,
    Plugin,
    PluginBootError,
    PluginLoadError,
    Request,
    SettingsError,
    WiringError,
    answers,
    listens,
    observes,
    provides,
)

pytestmark = pytest.mark.anyio


class Tick(Event, name="isolation.tick"): ...


class Ask(Request[int], name="isolation.ask"): ...


class Database: ...


class Fine(Plugin, id="fine"):
    @observes(Tick)
    async def see(self, event: Tick) -> None: ...


class FailingInit(Plugin, id="broken"):
    def __init__(self) -> None:
        raise OSError("no disk")


class FailingBoot(Plugin, id="broken"):
    async def on_boot(self) -> None:
        raise OSError("no disk")


class FailingThread(Plugin, id="broken"):
    def on_boot(self) -> None:
        raise OSError("no disk")


class Exiting(Plugin, id="broken"):
    def __init__(self) -> None:
        raise SystemExit("no disk")


class Unwired(Plugin, id="broken"):
    def __init__(self, db: Database, cach) -> None: ...

    @observes(Tick)
    async def see(self, event: Tick, mailer: Path) -> None: ...


class BadSubscriber(Plugin, id="broken"):
    @listens(Tick)
    async def see(self, event) -> None: ...


class BadSettings(Plugin, id="broken"):
    class Settings(BaseModel):
        limit: int

    def __init__(self, settings) -> None: ...


class BadProvider(Plugin, id="broken"):
    def __init__(self) -> None:
        self.used = False

    @provides
    def database(self) -> Database:
        raise OSError("no disk")


class SecondHandler(Plugin, id="broken"):
    @answers(Ask)
    async def answer(self, request: Ask) -> int:
        return 2


class Part:
    def __init__(self) -> None:
        raise OSError("no disk")


class BadPart(Plugin, id="broken"):
    parts = (Part,)


FAILURES = {
    FailingInit: "__init__ raised OSError: no disk",
    FailingBoot: "on_boot raised OSError: no disk",
    FailingThread: "on_boot raised OSError: no disk",
    Exiting: "__init__ raised SystemExit: no disk",
    BadSubscriber: "subscribing raised SubscriptionError",
    BadSettings: "its settings are not valid",
    BadPart: "building Part raised OSError: no disk",
}


@pytest.mark.parametrize("broken", FAILURES, ids=lambda broken: broken.__name__)
async def test_a_plugin_that_fails_is_failed_with_its_reason_and_the_rest_run(broken: type[Plugin]) -> None:
    behind = type("Behind", (Plugin,), {"manifest": Manifest(id="behind", requires=["broken"])})
    last = type("Last", (Plugin,), {"manifest": Manifest(id="last", requires=["behind"])})

    async with Kernel(plugins=[last, behind, broken, Fine]) as kernel:
        record = kernel.plugins["broken"]
        assert (record.state, record.instance, record.owns) == ("failed", None, ())
        assert FAILURES[broken] in record.reason
        assert kernel.plugins["behind"].reason == f"it needs broken, which failed: {record.reason}"
        assert kernel.plugins["last"].reason == f"it needs behind -> broken, which failed: {record.reason}"
        assert kernel.plugins["fine"].state == "ready"
        assert {item.plugin for item in kernel.bus.subscriptions()} == {"fine"}
        assert {name for name, _ in kernel.pm.list_name_plugin()} == {"fine"}


async def test_wiring_problems_are_found_before_anything_is_built_all_at_once() -> None:
    class Unbuilt(Plugin):
        manifest = Manifest(id="unbuilt", requires=["broken"])

        def __init__(self) -> None:
            raise AssertionError("built")

    async with Kernel(plugins=[Unwired, Unbuilt, Fine]) as kernel:
        record = kernel.plugins["broken"]
        assert record.state == "failed"
        assert isinstance(record.error, PluginBootError)
        assert isinstance(record.error.__cause__, WiringError)
        assert len(record.error.__cause__.problems) == 3
        for phrase in ("nothing provides Database", "'cach'", "nothing provides Path"):
            assert phrase in record.reason
        assert kernel.plugins["unbuilt"].state == "blocked"


async def test_a_second_handler_fails_and_the_first_stays() -> None:
    class FirstHandler(Plugin, id="first"):
        @answers(Ask)
        async def answer(self, request: Ask) -> int:
            return 1

    async with Kernel(plugins=[FirstHandler, SecondHandler]) as kernel:
        assert "DuplicateHandlerError" in kernel.plugins["broken"].reason
        assert await kernel.bus.acall(Ask()) == 1


class Needing(Plugin, id="needing"):
    def __init__(self, database: Database) -> None: ...


async def test_a_provider_that_fails_fails_those_who_ask_for_its_service() -> None:
    async with Kernel(plugins=[Needing, BadProvider]) as kernel:
        assert kernel.plugins["broken"].state == "ready"
        place = f"{__name__}.{BadProvider.database.__qualname__} of 'broken'"
        expected = f"__init__ raised OSError: no disk; while building service Database with {place}"
        assert kernel.plugins["needing"].reason == expected


async def test_those_who_ask_for_a_service_of_a_failed_plugin_are_blocked() -> None:
    class FailingProvider(FailingBoot, id="broken"):
        @provides
        def database(self) -> Database:
            return Database()

    async with Kernel(plugins=[Needing, FailingProvider]) as kernel:
        assert kernel.plugins["needing"].reason == "it needs broken, which failed: on_boot raised OSError: no disk"
        assert not kernel.services.has(Database)


async def test_two_providers_of_one_service_are_reported() -> None:
    class One(Plugin):
        @provides
        def database(self) -> Database:
            return Database()

    class Two(One): ...

    kernel = Kernel(plugins=[One, Two])
    problems = await anyio.to_thread.run_sync(kernel.check)
    assert any("is provided 2 times" in str(problem) for problem in problems)


async def test_a_failed_import_is_on_record_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await anyio.Path(tmp_path / "isolation_broken.py").write_text("raise OSError('no disk')\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    async with Kernel(plugins=["isolation_broken:Shop", Fine]) as kernel:
        record = kernel.plugins["isolation_broken:Shop"]
        assert (record.state, record.manifest) == ("failed", None)
        assert record.reason == "importing it raised OSError: no disk"
        assert isinstance(record.error, PluginLoadError)
        assert isinstance(record.error.__cause__, OSError)
        assert kernel.plugins["fine"].state == "ready"


async def test_a_required_plugin_that_fails_rolls_everything_back() -> None:
    trace: list[str] = []

    class Started(Plugin, id="started"):
        @observes(Tick)
        async def see(self, event: Tick) -> None: ...

        async def on_shutdown(self) -> None:
            trace.append("stopped")

    kernel = Kernel(plugins=[Started, FailingBoot, "os.nothing"], required=["broken", "absent", "started"])
    with pytest.raises(KernelStartError) as caught:
        await kernel.__aenter__()

    assert [problem.where for problem in caught.value.problems] == ["plugin 'broken'", "plugin 'absent'"]
    assert "on_boot raised OSError: no disk" in str(caught.value)
    assert "not loaded were os.nothing" in str(caught.value)
    assert trace == ["stopped"]
    assert kernel.bus.subscriptions() == ()
    assert kernel.plugins["started"].state == "stopped"


async def test_a_required_plugin_that_fails_in_on_ready_is_fatal_too() -> None:
    class Late(Plugin, id="late"):
        def on_ready(self) -> None:
            raise OSError("no network")

    with pytest.raises(KernelStartError, match="on_ready raised OSError"):
        await Kernel(plugins=[Late], required=["late"]).__aenter__()


async def test_a_required_plugin_that_nobody_names_says_what_to_do() -> None:
    with pytest.raises(KernelStartError, match="list it in plugins="):
        await Kernel(required=["shop"]).__aenter__()


async def test_secrets_are_in_no_record_and_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    """A planted canary in settings that are wrong elsewhere, and in a boot that raises."""
    canary = "canary-91b2"

    class Secretive(Plugin, id="secretive"):
        class Settings(BaseModel):
            api_key: SecretStr
            limit: int = 1

        def __init__(self, settings) -> None:
            self.key = settings.api_key.get_secret_value()

        async def on_boot(self) -> None:
            key = self.key
            raise OSError(f"refused a key of {len(key)} characters")

    for table in ({"api_key": canary, "limit": "x"}, {"api_key": canary}):
        async with Kernel(plugins=[Secretive], config={"plugins": {"secretive": table}}) as kernel:
            record = kernel.plugins["secretive"]
            assert record.state == "failed"
            assert isinstance(record.error, (SettingsError, PluginBootError))
            told = f"{record!r} {record.error} {kernel!r} {kernel.explain()} {await kernel.health()}"
            assert canary not in told

    assert canary not in "".join(capsys.readouterr())


@pytest.mark.parametrize("background", [False, True])
async def test_who_fails_when_told_of_a_failure_shows_no_secret_of_that(
    *, background: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it was told of is no part of its own traceback, which is cleared of its own secrets alone."""
    canary = "canary-37d4"

    class Secretive(Plugin, id="secretive"):
        class Settings(BaseModel):
            api_key: SecretStr

        def __init__(self, settings, bus: EventBus) -> None:
            self.key = settings.api_key.get_secret_value()
            bus.observe(Tick, self.see, background=background)

        async def see(self, event: Tick) -> None:
            raise OSError(self.key)

    async def alert(failure: ListenerFailed) -> None:
        try:
            raise LookupError("no pager")
        except LookupError:
            raise ConnectionError("nobody to tell")  # noqa: B904 - its own context is shown

    config = {"plugins": {"secretive": {"api_key": canary}}}
    async with Kernel(plugins=[Secretive], config=config) as kernel:
        kernel.bus.observe(ListenerFailed, alert)
        await kernel.bus.aemit(Tick())

    shown = "".join(capsys.readouterr())
    assert "no pager" in shown
    assert "nobody to tell" in shown
    assert canary not in shown
