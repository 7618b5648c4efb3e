"""Ten plugins of which one has a fault: nine run, the reason is on record, and nothing of the tenth is left.

Each fault leaves its evidence in ``FAULTS``, so that a fault that never happened is no pass.
"""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import fail_after

from plugbus import Event, Health, Kernel, KernelStartError, Manifest, Plugin, observes

pytestmark = pytest.mark.anyio

FAULTS: list[str] = []
GATES: list[threading.Event] = []


class Ping(Event, name="faults.ping"):
    number: int


class Resource: ...


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Open what hanging threads wait for in the end, so that the test run can end."""
    FAULTS.clear()
    builtins.plugbus_faults = FAULTS
    yield
    for gate in GATES:
        gate.set()
    GATES.clear()
    del builtins.plugbus_faults
    for name in [name for name in sys.modules if name.startswith("faulty_")]:
        del sys.modules[name]


def healthy(number: int, **namespace: Any) -> type[Plugin]:
    """A plugin that counts what it hears."""

    class Healthy(Plugin):
        manifest = Manifest(id=f"p{number}", requires=[f"p{number - 1}"] if number in {2, 3} else [])

        def __init__(self) -> None:
            self.heard = 0

        @observes(Ping)
        async def hear(self, event: Ping) -> None:
            self.heard += 1

        async def on_shutdown(self) -> None:
            FAULTS.append(f"p{number} stopped")

        async def check_health(self) -> Health:
            return Health()

    return type(f"P{number}", (Healthy,), namespace)


def fault(phase: str, raising: Callable[[], BaseException]) -> dict[str, Any]:
    def sync(self: Any) -> None:
        FAULTS.append(phase)
        raise raising()

    return {phase: sync}


async def hang_async(self: Any) -> None:
    FAULTS.append("hang")
    await anyio.sleep_forever()


async def hang_and_fail_when_cancelled(self: Any) -> None:
    FAULTS.append("hang")
    try:
        await anyio.sleep_forever()
    finally:
        FAULTS.append("cancelled")
        raise OSError("while cancelled")


def hang_in_thread(self: Any) -> None:
    FAULTS.append("hang")
    GATES.append(gate := threading.Event())
    gate.wait(30)


async def open_and_fail_to_close() -> AsyncIterator[Resource]:
    yield Resource()
    FAULTS.append("clean-up")
    raise OSError("cannot close")


async def hold_a_service(self: Any, services) -> None:
    services.factory(Resource, open_and_fail_to_close)
    await services.aget(Resource)
    FAULTS.append("holding")
    raise OSError("no disk")


BOOT_FAULTS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "constructor": (fault("__init__", lambda: OSError("no disk")), ["__init__"], "__init__ raised OSError: no disk"),
    "constructor exits": (fault("__init__", lambda: SystemExit(3)), ["__init__"], "__init__ raised SystemExit: 3"),
    "boot": (fault("on_boot", lambda: OSError("no disk")), ["on_boot"], "on_boot raised OSError: no disk"),
    "boot exits": (fault("on_boot", lambda: SystemExit(3)), ["on_boot"], "on_boot raised SystemExit: 3"),
    "boot hangs": ({"on_boot": hang_async}, ["hang"], "on_boot was still running after 0.3 s"),
    "boot hangs in a thread": ({"on_boot": hang_in_thread}, ["hang"], "on_boot was still running after 0.3 s"),
    "boot fails while cancelled": (
        {"on_boot": hang_and_fail_when_cancelled}, ["hang", "cancelled"], "on_boot raised OSError: while cancelled",
    ),
    "boot and clean-up": ({"on_boot": hold_a_service}, ["holding", "clean-up"], "on_boot raised OSError: no disk"),
    "ready": (fault("on_ready", lambda: OSError("no net")), ["on_ready"], "on_ready raised OSError: no net"),
    "ready hangs": ({"on_ready": hang_async}, ["hang"], "on_ready was still running after 0.3 s"),
}  # fmt: skip


async def nine_run(kernel: Kernel, broken: str, reason: str) -> None:
    """The promise: nine hear and are healthy; the tenth is on record, and nothing of it is left."""
    await kernel.bus.aemit(Ping(number=1))
    record = kernel.plugins[broken]
    others = [other for other in kernel.plugins.values() if other.id != broken]

    assert (record.state, record.reason, record.owns) == ("failed", reason, ())
    assert [other.state for other in others] == ["ready"] * 9
    assert [other.instance.heard for other in others] == [1] * 9
    assert {item.plugin for item in kernel.bus.subscriptions()} == {other.id for other in others}
    health = await kernel.health()
    assert {found.status for name, found in health.plugins.items() if name != broken} == {"up"}
    assert health.status == "degraded"


@pytest.mark.parametrize("name", BOOT_FAULTS)
async def test_nine_run_when_one_has_a_fault(name: str, full: bool) -> None:
    """Whichever of those it is that no other needs."""
    for broken in (0, 3, 4, 5, 6, 7, 8, 9) if full else (5,):
        FAULTS.clear()
        await nine_boot_and_stop(broken, *BOOT_FAULTS[name])


async def nine_boot_and_stop(broken: int, namespace: dict[str, Any], evidence: list[str], reason: str) -> None:
    plugins = [healthy(number, **(namespace if number == broken else {})) for number in range(10)]

    with fail_after(20):
        async with Kernel(plugins=plugins, boot_timeout_seconds=0.3) as kernel:
            assert [each for each in FAULTS if "stopped" not in each] == evidence
            await nine_run(kernel, f"p{broken}", reason)
            for gate in GATES:
                gate.set()
            FAULTS.clear()

    # It booted where it failed in on_ready, so it was shut down then; the others now, in reverse order.
    assert [f"p{number} stopped" for number in range(9, -1, -1) if number != broken] == FAULTS


async def test_without_a_fault_all_ten_run() -> None:
    """The control: the same plugins, and none of them fails."""
    async with Kernel(plugins=[healthy(number) for number in range(10)], boot_timeout_seconds=0.3) as kernel:
        assert [record.state for record in kernel.plugins.values()] == ["ready"] * 10
        assert (await kernel.health()).status == "up"
    assert len(FAULTS) == 10


@pytest.mark.parametrize(("text", "reason"), [
    ("raise OSError('no disk')", "importing it raised OSError: no disk"),
    ("import sys; sys.exit(3)", "importing it raised SystemExit: 3"),
    ("def broken(:", "importing it raised SyntaxError"),
    ("import no_such_module_of_ours", "importing it raised ModuleNotFoundError"),
], ids=["raises", "exits", "syntax", "missing import"])  # fmt: skip
async def test_nine_run_when_one_fails_at_import(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = anyio.Path(tmp_path / "faulty_plugin.py")
    await file.write_text(f"import builtins\nbuiltins.plugbus_faults.append('import')\n{text}\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    with fail_after(20):
        async with Kernel(plugins=["faulty_plugin", *(healthy(number) for number in range(9))]) as kernel:
            assert ([] if "broken" in text else ["import"]) == FAULTS
            record = kernel.plugins["faulty_plugin"]
            assert record.reason.startswith(reason)
            await nine_run(kernel, "faulty_plugin", record.reason)


@pytest.mark.parametrize(
    "fault_of", ["raises", "exits", "hangs", "hangs in a thread", "clean-up raises", "clean-up hangs"]
)
async def test_nine_shut_down_when_one_fails_to(fault_of: str) -> None:
    async def hold(self: Any, owner: Any) -> None:
        async def close() -> None:
            FAULTS.append("clean-up")
            if fault_of == "clean-up hangs":
                await anyio.sleep_forever()
            raise OSError("cannot close")

        owner.own(close, what="a file")

    namespace: dict[str, Any] = {
        "raises": fault("on_shutdown", lambda: OSError("no")),
        "exits": fault("on_shutdown", lambda: SystemExit(3)),
        "hangs": {"on_shutdown": hang_async},
        "hangs in a thread": {"on_shutdown": hang_in_thread},
    }.get(fault_of, {"on_boot": hold})
    plugins = [healthy(number, **(namespace if number == 5 else {})) for number in range(10)]
    kernel = Kernel(plugins=plugins, drain_seconds=1)
    with fail_after(20):
        async with kernel:
            assert (await kernel.health()).status == "up"

    stopped = [each for each in FAULTS if "stopped" in each]
    expected = [f"p{number} stopped" for number in range(9, -1, -1)]
    assert stopped == (expected if fault_of.startswith("clean-up") else [each for each in expected if "p5" not in each])
    assert len(FAULTS) == len(stopped) + 1
    assert {record.state for record in kernel.plugins.values()} == {"stopped"}
    reasons = {record.id: record.reason for record in kernel.plugins.values() if record.reason}
    assert list(reasons) == ["p5"]


@pytest.mark.parametrize("name", BOOT_FAULTS)
async def test_a_required_plugin_with_a_fault_rolls_back_the_nine(name: str) -> None:
    namespace, _, reason = BOOT_FAULTS[name]
    plugins = [healthy(number, **(namespace if number == 5 else {})) for number in range(10)]
    kernel = Kernel(plugins=plugins, required=["p5"], boot_timeout_seconds=0.3)

    with fail_after(20), pytest.raises(KernelStartError) as caught:
        await kernel.__aenter__()

    assert reason in str(caught.value)
    assert [each for each in FAULTS if each.endswith("stopped") and "p5" not in each] == [
        f"p{number} stopped" for number in (9, 8, 7, 6, 4, 3, 2, 1, 0)
    ]
    assert kernel.bus.subscriptions() == ()
    assert kernel.pm.list_name_plugin() == []


async def test_five_of_ten_fail_each_in_its_own_way_and_five_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = anyio.Path(tmp_path / "faulty_many.py")
    await file.write_text("import builtins\nbuiltins.plugbus_faults.append('import')\nraise OSError('no disk')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ["constructor", "boot", "boot hangs", "boot hangs in a thread"]
    broken = [healthy(10 + number, **BOOT_FAULTS[name][0]) for number, name in enumerate(names)]

    with fail_after(20):
        async with Kernel(
            plugins=["faulty_many", *broken, *(healthy(number) for number in range(5))], boot_timeout_seconds=0.3
        ) as kernel:
            assert sorted(FAULTS) == ["__init__", "hang", "hang", "import", "on_boot"]
            states = [record.state for record in kernel.plugins.values()]
            for gate in GATES:
                gate.set()

    assert states == ["failed"] * 5 + ["ready"] * 5


class Odd(BaseException):
    """What a library may raise that means to get past every ``except Exception``."""


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def cancelled() -> BaseException:
    """As of ``task.cancel(); await task`` in a plugin: a cancellation that is its own."""
    return anyio.get_cancelled_exc_class()() if current_library() == "asyncio" else Odd()


def current_library() -> str:
    return "asyncio" if "asyncio" in anyio.get_cancelled_exc_class().__module__ else "trio"


@pytest.mark.anyio
@pytest.mark.parametrize("phase", ["on_boot", "on_ready", "on_shutdown"])
@pytest.mark.parametrize("make", [cancelled, Odd, Mute, SystemExit, GeneratorExit], ids=lambda make: make.__name__)
async def test_whatever_a_plugin_raises_is_its_own_failure(phase: str, make: Callable[[], BaseException]) -> None:
    """Not only errors: a neighbour boots, is ready and shuts down in its order all the same."""
    told: list[str] = []

    class Good(Plugin, id="good"):
        async def on_shutdown(self) -> None:
            told.append("good")

    async def fails(self: object) -> None:
        told.append("fault")
        raise make()

    bad = type("Bad", (Plugin,), {"__module__": __name__, phase: fails}, id="bad")

    with anyio.fail_after(10):
        async with Kernel(plugins=[Good, bad]) as kernel:
            assert kernel.plugins["good"].state == "ready"
            if phase != "on_shutdown":
                assert kernel.plugins["bad"].state == "failed"
        record = kernel.plugins["bad"]

    assert sorted(told) == ["fault", "good"], "the fault happened"
    assert f"{phase} raised" in record.reason


def test_a_link_within_a_plugin_folder_leads_to_no_code(tmp_path: Path) -> None:
    """Neither to a file outside, nor to a plugin that is not enabled."""
    outside = tmp_path / "outside.py"
    outside.write_text("raise AssertionError('it ran')\n")
    plugins = tmp_path / "plugins"
    for name in ("evil", "bad"):
        (plugins / name).mkdir(parents=True)
    (plugins / "evil" / "plugin.py").symlink_to(outside)
    (plugins / "bad" / "__init__.py").write_text("raise AssertionError('it ran')\n")
    (plugins / "alias").symlink_to(plugins / "bad")
    (plugins / "loop.py").symlink_to(plugins / "loop.py")

    kernel = Kernel(plugin_dirs=[plugins], enabled=["evil", "alias", "loop"])
    problems = "\n".join(map(str, kernel.check()))

    assert problems.count("leads") == 3
    assert "it ran" not in problems


def test_a_plugin_has_the_id_it_is_found_under(tmp_path: Path) -> None:
    """A folder that was enabled as one id cannot boot as another and get its settings."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "__init__.py").write_text(
        "from plugbus import Plugin\n\nclass Toy(Plugin, id='shop'):\n    ...\n"
    )

    kernel = Kernel(plugin_dirs=[tmp_path], enabled=["toy"])

    assert "declares the id 'shop'" in "\n".join(map(str, kernel.check()))
