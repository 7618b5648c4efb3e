"""Where plugins come from, and that nothing outside the allow list is ever imported."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio import fail_after
from hypothesis import given
from hypothesis import strategies as st

from plugbus import Kernel, KernelStartError, ManifestError, Plugin, PluginLoadError, PluginRecord
from plugbus._kernel.config import allowed
from plugbus._kernel.folders import folder_plugins

pytestmark = pytest.mark.anyio

PLUGIN = "from plugbus import Plugin\n\nclass {name}(Plugin, id={id!r}, version='1.0'):\n    pass\n"


class Shop(Plugin, id="shop"): ...


class Other(Plugin, id="other"): ...


@pytest.fixture(autouse=True)
def clean_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PLUGBUS_ENABLED", raising=False)
    monkeypatch.delenv("PLUGBUS_PLUGINS", raising=False)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("found_", "plugbus_plugin_")):
            del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with modules, and a distribution that has three entry points."""
    for name in ("good", "bad", "module"):
        (tmp_path / f"found_{name}.py").write_text(PLUGIN.format(name=name.title(), id=name))
    info = tmp_path / "found-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: found\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[plugbus.plugins]\ngood = found_good:Good\nbad = found_bad:Bad\nmodule = found_module\nNot-An-Id = found_bad\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four plugins in a folder, in each of the shapes that one can have."""
    root = tmp_path / "plugins"
    for name, file in (("package", "__init__.py"), ("inner", "plugin.py"), ("both", "plugin.py")):
        (root / name).mkdir(parents=True)
        (root / name / file).write_text("from .helper import VALUE\n" + PLUGIN.format(name=name.title(), id=name))
        (root / name / "helper.py").write_text("VALUE = 1\n")
    (root / "both" / "__init__.py").write_text("")
    (root / "single.py").write_text(PLUGIN.format(name="Single", id="single"))
    (root / "__pycache__").mkdir()
    (root / "README.md").write_text("no plugin")
    (root / "data").mkdir()
    return root


async def write(path: Path, text: str) -> None:
    await anyio.Path(path.parent).mkdir(parents=True, exist_ok=True)
    await anyio.Path(path).write_text(text)


def imported(prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name in tuple(sys.modules) if name.startswith(prefix)}


def found(kernel: Kernel) -> list[PluginRecord]:
    """All plugins but those that plugbus itself brings along, which are there for whoever enables them."""
    return [record for record in kernel.plugins.values() if not record.source.startswith("entry point plugbus_contrib")]


async def test_plugins_are_given_as_classes_instances_modules_and_dotted_names(site: Path) -> None:
    import found_module

    specs = [Shop, Other(), found_module, "found_good:Good", "found_bad"]
    async with Kernel(plugins=specs) as kernel:
        assert {record.id: record.state for record in kernel.plugins.values()} == dict.fromkeys(
            ("shop", "other", "module", "good", "bad"), "ready"
        )


async def test_the_environment_names_plugins(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGBUS_PLUGINS", "found_good:Good, found_bad")

    async with Kernel(plugins=["found_good"]) as kernel:
        assert [(record.id, record.source) for record in kernel.plugins.values()] == [
            ("good", "argument"), ("bad", "PLUGBUS_PLUGINS"),
        ]  # fmt: skip


async def test_a_configuration_file_names_plugins_and_folders(site: Path, folder: Path) -> None:
    file = site / "plugbus.toml"
    await write(
        file,
        "[kernel]\nplugins = ['found_good']\nplugin_dirs = ['plugins']\nenabled = ['inner']\nrequired = ['good']\n",
    )

    async with Kernel(config=file) as kernel:
        assert [record.id for record in kernel.plugins.values() if record.state == "ready"] == ["good", "inner"]


async def test_an_entry_point_that_is_not_enabled_is_never_imported(site: Path) -> None:
    async with Kernel(enabled=["good", "module"]) as kernel:
        assert {record.id: record.state for record in found(kernel)} == {
            "Not-An-Id": "failed", "bad": "disabled", "good": "ready", "module": "ready",
        }  # fmt: skip
        assert kernel.plugins["bad"].manifest is None
        assert kernel.plugins["bad"].reason == "not enabled"
        with pytest.raises(
            PluginLoadError,
            match=r"not enabled; enable it first \(await kernel.plugins.enable\(.bad.\), or PLUGBUS_ENABLED=\+bad\)",
        ):
            await kernel.load("bad")

    assert imported("found_") == {"good", "module"}


async def test_a_folder_plugin_that_is_not_enabled_is_never_imported(folder: Path) -> None:
    async with Kernel(plugin_dirs=[folder], enabled=["package", "inner", "both", "single"]) as kernel:
        assert {record.state for record in found(kernel)} == {"ready"}
        assert imported("plugbus_plugin_") == {
            "package", "package.helper", "inner", "inner.plugin", "inner.helper", "both", "both.plugin", "both.helper",
            "single",
        }  # fmt: skip
    assert imported("plugbus_plugin_") == set()

    for enabled in ((), ("single",)):
        async with Kernel(plugin_dirs=[folder], enabled=enabled) as kernel:
            assert len(found(kernel)) == 4
            assert imported("plugbus_plugin_") == set(enabled)


async def test_without_anything_enabled_no_distribution_is_looked_at(site: Path) -> None:
    async with Kernel() as kernel:
        assert len(kernel.plugins) == 0


@pytest.mark.parametrize(("argument", "file", "variable", "expected"), [
    (("a",), (), "", {"a"}),
    (("a",), ("b",), "", {"b"}),
    (("a",), ("+b",), "", {"a", "b"}),
    (("a",), ("+b",), "-a", {"b"}),
    (("a",), ("b", "c"), "+d -b", {"c", "d"}),
    (("a",), (), "b,c", {"b", "c"}),
    (("a",), (), "b,+c,-b", {"c"}),
    (("a-b",), (), "-a_b", set()),
])  # fmt: skip
def test_a_plain_list_replaces_plus_adds_minus_removes(
    argument: tuple[str, ...], file: tuple[str, ...], variable: str, expected: set[str]
) -> None:
    """In each layer: the argument, the configuration file, then the environment."""
    layers = [("argument", argument), ("plugbus.toml", file), ("PLUGBUS_ENABLED", variable.replace(",", " ").split())]

    assert set(allowed(layers).ids.values()) == expected


async def test_the_environment_enables_and_disables(site: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = site / "plugbus.toml"
    await write(file, "[kernel]\nenabled = ['+single']\n")
    monkeypatch.setenv("PLUGBUS_ENABLED", "+inner,-good,-shop")

    async with Kernel(plugins=[Shop, Other], enabled=["good"], plugin_dirs=[folder], config=file) as kernel:
        ready = {record.id for record in kernel.plugins.values() if record.state == "ready"}
        assert ready == {"other", "single", "inner"}
        assert kernel.plugins["shop"].state == "disabled"
        assert "-shop" in kernel.plugins["shop"].reason
    assert imported("found_") == set()


async def test_what_is_enabled_and_not_there_is_on_record(folder: Path) -> None:
    async with Kernel(plugin_dirs=[folder], enabled=["singel"]) as kernel:
        record = kernel.plugins["singel"]
        assert record.state == "failed"
        assert "no plugin that was found has this id; did you mean 'single'?" in record.reason


@pytest.mark.parametrize("bad", ["../evil", "a/b", "/etc", "Shop", "", "+", "a\\b"])
async def test_plugin_ids_cannot_leave_their_folder(bad: str, folder: Path) -> None:
    """What is no id is refused before any path is made of it."""
    if bad:
        with pytest.raises(KernelStartError, match="is not a plugin id"):
            await Kernel(plugin_dirs=[folder], enabled=[bad]).__aenter__()
    assert imported("plugbus_plugin_") == set()


@given(name=st.text(max_size=30))
def test_whatever_is_enabled_the_allow_list_holds_ids_alone(name: str) -> None:
    try:
        found = allowed([("argument", [name])])
    except KernelStartError:
        return
    assert all("/" not in each and "." not in each and each for each in found.ids.values())


async def test_a_project_folder_with_its_code_under_src_is_a_plugin(folder: Path) -> None:
    """What ``plugbus new plugin`` makes; its own packages beside the plugin's are nobody's business."""
    package = folder / "order-mail/src/order_mail"
    await write(package / "__init__.py", "from .plugin import OrderMail")
    await write(package / "plugin.py", "from plugbus import Plugin\nclass OrderMail(Plugin, id='order-mail'): ...")
    await write(folder / "other/src/another/__init__.py", "raise SystemExit")

    async with Kernel(plugin_dirs=[folder], enabled=["order-mail"]) as kernel:
        assert kernel.plugins["order-mail"].state == "ready"
        assert "other" not in kernel.plugins


async def test_a_link_below_a_project_folder_that_leads_out_is_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside/evil"
    await write(outside / "__init__.py", "raise SystemExit")
    await anyio.Path(folder / "evil").mkdir()
    await anyio.Path(folder / "evil/src").symlink_to(outside.parent)

    async with Kernel(plugin_dirs=[folder], enabled=["evil"]) as kernel:
        assert "it leads out of its folder" in kernel.plugins["evil"].reason


async def test_a_link_that_leads_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    await write(outside / "__init__.py", PLUGIN.format(name="Evil", id="evil"))
    await anyio.Path(folder / "evil").symlink_to(outside)

    async with Kernel(plugin_dirs=[folder], enabled=["evil"]) as kernel:
        record = kernel.plugins["evil"]
        assert (record.state, "leads out of its folder" in record.reason) == ("failed", True)
    assert imported("plugbus_plugin_") == set()


async def test_a_missing_folder_is_on_record(tmp_path: Path) -> None:
    async with Kernel(plugin_dirs=[tmp_path / "none"]) as kernel:
        (record,) = kernel.plugins.values()
        assert "there is no such folder" in record.reason


async def test_a_manifest_beside_the_module_counts(folder: Path) -> None:
    await write(folder / "inner" / "plugin.py", "def register(ctx): ...\n")
    await write(folder / "inner" / "manifest.toml", 'id = "inner"\nversion = "3.0"\n')
    await write(folder / "package" / "__init__.py", "from plugbus import Plugin\n\nclass Package(Plugin): ...\n")
    await write(folder / "package" / "manifest.json", '{"id": "package", "version": "4.0"}')

    async with Kernel(plugin_dirs=[folder], enabled=["inner", "package"]) as kernel:
        assert kernel.plugins["inner"].manifest.version == "3.0"
        assert kernel.plugins["package"].manifest.version == "4.0"
        assert kernel.plugins["inner"].source == f"folder {folder / 'inner'}"


async def test_a_folder_without_a_plugin_in_it_says_so(folder: Path) -> None:
    await write(folder / "inner" / "plugin.py", "VALUE = 1\n")

    async with Kernel(plugin_dirs=[folder], enabled=["inner"]) as kernel:
        assert "there is no plugin in it" in kernel.plugins["inner"].reason
    assert imported("plugbus_plugin_") == set()


async def test_a_manifest_must_fit_its_folder_and_its_class(folder: Path) -> None:
    await write(folder / "inner" / "manifest.toml", 'id = "other"\n')
    await write(folder / "package" / "manifest.toml", 'id = "package"\nversion = "9"\n')

    async with Kernel(plugin_dirs=[folder]) as kernel:
        assert len(kernel.plugins) == 4
    async with Kernel(plugin_dirs=[folder], enabled=["inner", "package"]) as kernel:
        assert "is not the name of its folder" in kernel.plugins["inner"].reason
        assert "do not say the same" in kernel.plugins["package"].reason
        assert isinstance(kernel.plugins["package"].error, ManifestError)
    assert imported("plugbus_plugin_") == set()


async def test_a_manifest_beside_an_imported_module_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "found_package"
    await write(package / "__init__.py", "")
    await write(package / "plugin.py", "from plugbus import observes\n\n@observes('x')\ndef see(event): ...\n")
    await write(package / "manifest.toml", 'id = "packaged"\n')
    monkeypatch.syspath_prepend(str(tmp_path))

    async with Kernel(plugins=["found_package.plugin"]) as kernel:
        assert kernel.plugins["packaged"].state == "ready"


async def test_several_kernels_load_one_folder_each_its_own_copy(folder: Path) -> None:
    options = {"plugin_dirs": [folder], "enabled": ["single"]}
    async with Kernel(**options) as one, Kernel(**options) as two:
        classes = {type(kernel.plugins["single"].instance) for kernel in (one, two)}
        assert len(classes) == 2
        assert imported("plugbus_plugin_") == {"single", "single_2"}


@pytest.mark.parametrize(("spec", "phrase"), [
    ("found_none", "there is no module 'found_none'"),
    ("found_good:Godo", "has no 'Godo'; did you mean Good?"),
    ("found_good:Good.inner.x", "has no 'Good.inner.x'"),
    ("found good", "is not 'package.module'"),
    ("../evil", "is not 'package.module'"),
    ("found_good:", "is not 'package.module'"),
    ("os", "there is no plugin in it"),
])  # fmt: skip
async def test_a_dotted_name_that_is_wrong_says_how(site: Path, spec: str, phrase: str) -> None:
    async with Kernel(plugins=[spec]) as kernel:
        record = kernel.plugins[spec]
        assert (record.id, record.state) == (spec, "failed")
        assert phrase in record.reason


async def test_the_same_plugin_twice_is_one_and_another_of_its_id_fails(site: Path, folder: Path) -> None:
    class Imposter(Plugin, id="shop"): ...

    class Third(Plugin, id="shop"): ...

    async with Kernel(plugins=[Shop, Shop, Imposter, Third]) as kernel:
        assert {name: record.state for name, record in kernel.plugins.items()} == {
            "shop": "ready", "shop#2": "failed", "shop#3": "failed",
        }  # fmt: skip
        assert "its id is that of the plugin from argument" in kernel.plugins["shop#2"].reason
        assert kernel.plugins["shop"].instance.__class__ is Shop


async def test_a_plugin_in_a_folder_and_as_an_argument_is_the_argument(folder: Path) -> None:
    class Single(Plugin, id="single"): ...

    async with Kernel(plugins=[Single], plugin_dirs=[folder], enabled=["+single"]) as kernel:
        assert kernel.plugins["single"].source == "argument"
        assert kernel.plugins["single#2"].state == "failed"
    async with Kernel(plugins=[Single], plugin_dirs=[folder]) as kernel:
        assert "single#2" not in kernel.plugins
    assert imported("plugbus_plugin_") == set()


async def test_a_broken_plugin_with_a_known_id_is_on_record_beside_the_first(folder: Path) -> None:
    await write(folder / "single.py", "raise OSError('no disk')\n")

    class Single(Plugin, id="single"): ...

    async with Kernel(plugins=[Single, "found_none", "found_none"], plugin_dirs=[folder], enabled=["single"]) as kernel:
        assert kernel.plugins["single"].state == "ready"
        assert kernel.plugins["single#2"].reason == "importing it raised OSError: no disk"
        assert "found_none#2" not in kernel.plugins


async def test_whatever_goes_wrong_while_a_plugin_is_read_is_on_record(folder: Path) -> None:
    await write(
        folder / "single.py", "from plugbus.errors import SubscriptionError\nraise SubscriptionError('x', 'bad')\n"
    )

    class Boom:
        def __get__(self, instance, owner) -> None:
            raise RuntimeError("boom")

    class Odd(Plugin, id="odd"):
        Settings = Boom()

    async with Kernel(plugins=[Odd], plugin_dirs=[folder], enabled=["single"]) as kernel:
        reasons = [record.reason for record in kernel.plugins.values() if record.state == "failed"]
    assert reasons[0] == "RuntimeError: boom"
    assert reasons[1].startswith("'x' cannot be registered: bad")


@pytest.mark.parametrize("then", ["raise OSError", "pass"])
async def test_a_hanging_import_is_given_up(then: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others run, and what it comes up with later is not let in."""
    gate = threading.Event()
    monkeypatch.setattr(builtins, "plugbus_gate", gate, raising=False)
    text = "import builtins\nbuiltins.plugbus_gate.wait(20)\n" + PLUGIN.format(name="Single", id="single") + then
    await write(folder / "single.py", text)

    with fail_after(15):
        async with Kernel([Shop], plugin_dirs=[folder], enabled=["single"], boot_timeout_seconds=0.2) as kernel:
            record = kernel.plugins["single"]
            assert record.reason == "importing it was still running after 0.2 s"
            assert kernel.plugins["shop"].state == "ready"
            gate.set()
            while imported("plugbus_plugin_"):
                await anyio.lowlevel.checkpoint()
            assert (record.state, record.manifest) == ("failed", None)


def test_a_folder_lists_names_that_can_be_ids_and_have_code(folder: Path) -> None:
    assert [found.id for found in folder_plugins(folder)] == ["both", "inner", "package", "single"]
