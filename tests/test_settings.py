"""A plugin's settings: sources one over the other, problems with key and source, secrets never printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from plugbus import ABSENT, Kernel, Plugin
from plugbus._kernel.config import read_config
from plugbus._kernel.settings import Draft
from plugbus._kernel.sources import SettingsSource, settings_sources, variable_name
from plugbus.errors import KernelStartError, SettingsError


class Mail(BaseModel):
    host: str = "localhost"
    port: int = 25


class Settings(BaseModel):
    max_items: int = 100
    names: list[str] = []
    limits: dict[str, int] = {}
    mail: Mail = Mail()
    backup: Mail | None = None
    api_key: SecretStr | None = None
    mode: str = Field(default="fast", alias="Mode")


def validated(*sources: SettingsSource, model: type[BaseModel] = Settings):
    """Return the settings that sources give, and where each key comes from."""
    draft = Draft("shop", model, sources)
    return SimpleNamespace(settings=draft.validated(model), origins=draft.origins())


def environment(**variables: str) -> SettingsSource:
    found = {f"PLUGBUS_SHOP__{name}": text for name, text in variables.items()}
    return SettingsSource("environment", found, "PLUGBUS_SHOP__")


def test_without_sources_there_are_the_defaults() -> None:
    found = validated()

    assert found.settings == Settings()
    assert found.origins == {}


def test_environment_goes_over_a_file_and_under_an_argument(tmp_path: Path) -> None:
    """Arguments over environment over file over defaults."""
    file = tmp_path / "plugbus.toml"
    file.write_text("[plugins.shop]\nmax_items = 1\nnames = ['file']\n")
    environ = {"PLUGBUS_SHOP__MAX_ITEMS": "2", "PLUGBUS_OTHER__MAX_ITEMS": "9"}

    over_file = validated(*settings_sources("shop", read_config(file), environ))
    stated = {"plugins": {"shop": {"max_items": 3}}}
    under_argument = validated(*settings_sources("shop", read_config(stated), environ))

    assert (over_file.settings.max_items, over_file.settings.names) == (2, ["file"])
    assert over_file.origins == {("max_items",): "PLUGBUS_SHOP__MAX_ITEMS", ("names",): str(file)}
    assert under_argument.settings.max_items == 3


def test_nested_tables_are_laid_one_over_the_other() -> None:
    below = SettingsSource("file", {"mail": {"host": "mx", "port": 26}})

    found = validated(below, environment(MAIL__PORT="27"))

    assert found.settings.mail == Mail(host="mx", port=27)
    assert found.origins["mail", "port"] == "PLUGBUS_SHOP__MAIL__PORT"


def test_a_value_over_a_table_hides_the_sources_of_its_keys() -> None:
    below = SettingsSource("file", {"backup": {"host": "mx"}})

    found = validated(below, SettingsSource("argument", {"backup": None}))

    assert found.settings.backup is None
    assert found.origins == {("backup",): "argument"}


def test_the_environment_gives_lists_mappings_and_models_as_json() -> None:
    found = validated(environment(NAMES='["a", "b"]', LIMITS__CPU="4", BACKUP='{"host": "b"}', MODE="[slow]"))

    assert found.settings.names == ["a", "b"]
    assert found.settings.limits == {"cpu": 4}
    assert found.settings.backup == Mail(host="b")
    assert found.settings.mode == "[slow]"


def test_an_alias_and_its_field_are_one_key() -> None:
    found = validated(SettingsSource("file", {"Mode": "slow"}), environment(MODE="sure"))

    assert found.settings.mode == "sure"


def test_each_problem_names_its_key_and_its_source() -> None:
    file = SettingsSource("plugbus.toml", {"max_items": "many", "mail": {"prot": 1}, "nmaes": []})

    with pytest.raises(SettingsError) as caught:
        validated(file, environment(MAIL__PORT="high", API="x", NAMES__0="y", LIMITS="[broken"))

    told = {problem.where: problem for problem in caught.value.problems}
    assert set(told) == {"max_items", "mail.prot", "nmaes", "mail.port", "api", "names.0", "limits"}
    assert told["max_items"].hint == "from plugbus.toml"
    assert told["mail.port"].hint == "from PLUGBUS_SHOP__MAIL__PORT"
    assert "did you mean names?" in told["nmaes"].message
    assert "did you mean port?" in told["mail.prot"].message


def test_unknown_keys_are_refused_where_all_others_are_right() -> None:
    with pytest.raises(SettingsError, match="there is no such setting; did you mean max_items"):
        validated(SettingsSource("file", {"max_item": 1}))


def test_a_required_key_that_nobody_gives_says_where_to_set_it() -> None:
    class Needy(BaseModel):
        url: str

    with pytest.raises(SettingsError, match=r"plugins\.shop\.url or PLUGBUS_SHOP__URL"):
        validated(model=Needy)


def test_a_model_may_say_itself_what_becomes_of_unknown_keys() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        one: int = 1

    class Closed(BaseModel):
        model_config = ConfigDict(extra="forbid")

    found = validated(SettingsSource("file", {"two": 2}), environment(THREE="3"), model=Open)

    assert found.settings.model_extra == {"two": 2, "three": "3"}
    with pytest.raises(SettingsError, match="two"):
        validated(SettingsSource("file", {"two": 2}), model=Closed)


def test_secrets_are_in_no_message_and_no_traceback() -> None:
    """A planted canary, echoed by a field's validator and by the model's own, is nowhere to be read."""
    canary = "canary-5f3a"

    class Leaky(BaseModel):
        api_key: SecretStr
        other: list[str] = []

        @field_validator("api_key", mode="before")
        @classmethod
        def echo(cls, value: str) -> str:
            raise ValueError(f"{value} is too short")

    class Whole(BaseModel):
        api_key: str = ""

        @model_validator(mode="after")
        def echo(self) -> Whole:
            raise ValueError(f"cannot use {self.api_key}")

    for model in (Leaky, Whole):
        source = SettingsSource("file", {"api_key": canary})
        with pytest.raises(SettingsError) as caught:
            validated(source, model=model)
        assert "***" in str(caught.value) or "not shown" in str(caught.value)
        assert canary not in str(caught.value) + repr(caught.value) + repr(source)
        assert caught.value.__suppress_context__
    assert canary not in repr(read_config({"plugins": {"shop": {"api_key": canary}}}))


def test_values_inside_lists_are_masked_too() -> None:
    class Lists(BaseModel):
        tokens: list[str] = []

        @model_validator(mode="after")
        def echo(self) -> Lists:
            raise ValueError(f"cannot use {self.tokens[0]}")

    with pytest.raises(SettingsError, match=r"cannot use \*\*\*"):
        validated(SettingsSource("file", {"tokens": ["canary-77"]}), model=Lists)


def test_a_variable_is_named_after_the_plugin_and_the_key() -> None:
    assert variable_name("order-mail", "smtp", "host") == "PLUGBUS_ORDER_MAIL__SMTP__HOST"


@pytest.mark.parametrize(
    ("config", "phrase"),
    [
        ({"plugins": []}, "must be a table"),
        ({"plugins": {"shop": 1}}, "must be a table"),
        ({"plugins": {"Shop": {}}}, "is not a plugin id"),
        ({"plugins": {"a-b": {}, "a_b": {}}}, "is there twice"),
        ({"kernel": {"enable": []}}, "kernel.enable in argument"),
        ({"kernel": {"enabled": "shop"}}, "kernel.enabled in argument"),
    ],
)
def test_a_configuration_of_another_shape_is_refused(config: dict[str, object], phrase: str) -> None:
    with pytest.raises(KernelStartError, match=phrase):
        read_config(config)


def test_a_configuration_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("= 1")

    with pytest.raises(KernelStartError, match=r"bad\.toml: TOMLDecodeError"):
        read_config(tmp_path / "bad.toml")
    with pytest.raises(KernelStartError, match="FileNotFoundError"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize("show", [str, repr, ascii], ids=["str", "repr", "ascii"])
@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_a_validator_that_tells_a_secret_is_not_believed(kind: type[Exception], show: Callable[[object], str]) -> None:
    """Neither by an error that pydantic collects nor by any other, however it writes the value."""
    canary = "can'ary\\n-of-the-mine"

    class Telling(BaseModel):
        api_key: SecretStr

        @model_validator(mode="after")
        def tell(self) -> Telling:
            raise kind(f"bad key {show(self.api_key.get_secret_value())}")

    class Shop(Plugin, id="shop"):
        Settings = Telling

        def __init__(self, settings: Telling) -> None: ...

    problems = "\n".join(map(str, Kernel(plugins=[Shop], config={"plugins": {"shop": {"api_key": canary}}}).check()))

    assert "settings" in problems
    assert "of-the-mine" not in problems


class Credentials(BaseModel):
    token: SecretStr = SecretStr("")

    @field_validator("token", mode="before")
    @classmethod
    def refuse(cls, value: object) -> object:
        raise ValueError(f"no such prefix: {str(value)[:4]}")


class ManySecrets(BaseModel):
    api_key: SecretStr = SecretStr("")
    inner: Credentials | None = None
    either: SecretStr | int = 0
    several: list[SecretStr] = []
    by_name: dict[str, SecretBytes] = {}
    aliased: SecretStr = Field(SecretStr(""), alias="key")
    chosen: SecretStr = Field(SecretStr(""), validation_alias=AliasChoices("one", AliasPath("deep", "two")))

    @field_validator("api_key", "aliased", "chosen")
    @classmethod
    def refuse(cls, value: SecretStr) -> SecretStr:
        raise AssertionError(f"unexpected {value.get_secret_value()[2:9].upper()}")

    @field_validator("either", "several", "by_name", mode="before")
    @classmethod
    def refuse_all(cls, value: object) -> object:
        raise PydanticCustomError("refused", "bad {part}", {"part": str(value)[:10]})


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": "canary-0123"},
        {"api_key": SecretStr("canary-0123")},
        {"key": "canary-0123"},
        {"one": "canary-0123"},
        {"inner": {"token": "canary-0123"}},
        {"either": "canary-0123"},
        {"several": ["canary-0123"]},
        {"by_name": {"a": b"canary-0123"}},
    ],
    ids=str,
)
def test_a_validator_of_a_secret_field_is_not_quoted(given: dict[str, object]) -> None:
    """It may quote a slice, in capitals or otherwise, which nobody could mask."""
    with pytest.raises(SettingsError) as caught:
        validated(SettingsSource("file", given), model=ManySecrets)

    assert "not shown" in str(caught.value)
    assert not any(part in str(caught.value).lower() for part in ("cana", "ary", "y-0", "0123"))


def test_a_validator_of_others_is_quoted_unless_there_is_a_slice_of_a_secret_in_it() -> None:
    """The model's own validator, and that of a plain field, sees secret fields too."""

    class Mixed(BaseModel):
        api_key: SecretStr
        start: int = 0
        end: int = 10
        region: str = ""

        @model_validator(mode="after")
        def compare(self) -> Mixed:
            if self.start > 20:
                raise ValueError(f"bad key {self.api_key.get_secret_value()[3:7]}")
            if self.start > self.end:
                raise ValueError("start must be below end")
            return self

        @field_validator("region")
        @classmethod
        def fits(cls, value: str, info: ValidationInfo) -> str:
            raise ValueError(f"is no region of {info.data['api_key'].get_secret_value()[:5]}")

    def told(**given: object) -> str:
        with pytest.raises(SettingsError) as caught:
            validated(SettingsSource("file", {"api_key": "zqxjkvbw", **given}), model=Mixed)
        return str(caught.value)

    assert "start must be below end" in told(start=11)
    assert "not shown" in told(start=21)
    assert "not shown" in told(region="north")


# -- over everything


class Sized(Plugin, id="sized"):
    class Settings(BaseModel):
        size: int = 1
        mail: dict[str, int] = {}

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


@pytest.mark.anyio
async def test_what_overrides_settings_goes_over_the_argument_and_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two, the later one; the source says which it was, and nothing can be configured over it."""
    monkeypatch.setenv("PLUGBUS_SIZED__SIZE", "3")
    kernel = Kernel([Sized], config={"plugins": {"sized": {"size": 2}}})
    kernel.override_setting("sized", "size", 4)
    kernel.override_setting("sized", "size", 5, origin="the test")

    async with kernel:
        record = kernel.plugins["sized"]
        assert (record.instance.settings.size, record.setting_sources["size"]) == (5, "the test")
        with pytest.raises(SettingsError, match="size: is given by the test"):
            await kernel.plugins.configure("sized", {"size": 6})
        with pytest.raises(KernelStartError, match=r"use kernel\.plugins\.configure"):
            kernel.override_setting("sized", "size", 4)


def test_a_kernel_that_is_made_again_after_a_fork_keeps_them() -> None:
    """A lazy portal makes one in each process."""
    kernel = Kernel([Sized])
    kernel.override_setting("sized", "size", 4)

    with kernel._again().portal() as running:
        assert running.plugins["sized"].instance.settings.size == 4


def test_what_overrides_settings_of_no_plugin_is_reported() -> None:
    kernel = Kernel([Sized])
    kernel.override_setting("sizd", "size", 4, origin="the test")

    assert [str(problem) for problem in kernel.check()] == [
        "plugins.sizd in the test: there is no such plugin (did you mean sized?)"
    ]
    with pytest.raises(ValueError, match="id"):
        kernel.override_setting("No id", "size", 4)


# -- tables


class Deep(BaseModel):
    limits: dict[str, int] = {"disk": 1}
    mail: Mail = Mail()
    mails: dict[str, Mail] = {}
    anything: Any = None


def test_a_plain_mapping_is_one_value_and_a_model_is_laid_key_by_key() -> None:
    """What the stronger source says of a mapping replaces it, as a list does; so it can be emptied."""
    weak = {"limits": {"cpu": 1}, "mail": {"host": "a", "port": 1}, "mails": {"x": {"port": 1}}, "anything": {"a": 1}}
    strong = {"limits": {"ram": 2}, "mail": {"port": 2}, "mails": {"y": {"port": 2}}, "anything": {"b": 2}}

    found = validated(SettingsSource("file", weak), SettingsSource("stored", strong), model=Deep).settings
    emptied = validated(SettingsSource("file", weak), SettingsSource("stored", {"limits": {}}), model=Deep)

    assert found == Deep(limits={"ram": 2}, mail=Mail(host="a", port=2), mails={"y": Mail(port=2)}, anything={"b": 2})
    assert emptied.settings.limits == {}
    assert emptied.origins[("limits",)] == "stored"


def test_a_variable_that_names_a_key_of_a_mapping_sets_that_key_alone() -> None:
    """And the mapping as a whole is the key that sources are told of."""
    file = SettingsSource("file", {"limits": {"cpu": 1, "ram": 1}})
    sources = (file, environment(LIMITS__CPU="4"))

    assert validated(*sources, model=Deep).settings.limits == {"cpu": 4, "ram": 1}
    assert Draft("shop", Deep, sources).shown() == {
        "anything": "default",
        "limits": "PLUGBUS_SHOP__LIMITS__CPU",
        "mail": "default",
        "mails": "default",
    }


@pytest.mark.anyio
async def test_one_key_of_a_mapping_can_be_overridden_and_so_can_all_of_it() -> None:
    for overridden, expected in (
        ([("mail.a", 5), ("mail.b", 6)], {"a": 5, "b": 6, "c": 3}),
        ([("mail", {})], {}),
        ([("mail", {"z": 1}), ("mail.a", 2)], {"z": 1, "a": 2}),
    ):
        kernel = Kernel([Sized], config={"plugins": {"sized": {"mail": {"a": 1, "c": 3}}}})
        for key, value in overridden:
            kernel.override_setting("sized", key, value)
        async with kernel:
            assert kernel.plugins["sized"].instance.settings.mail == expected


@pytest.fixture
def limits(tmp_path: Path) -> Path:
    file = tmp_path / "plugbus.toml"
    file.write_text("[plugins.following.limits]\ncpu = 1\n")
    return file


@pytest.mark.anyio
async def test_configure_replaces_a_mapping_and_names_it_as_its_source_does(limits: Path) -> None:
    """Keys are told alike by ``configure``, ``SettingsChanged`` and ``setting_sources``."""

    class Following(Plugin, id="following"):
        Settings = Deep

        async def on_settings(self, old: Deep, new: Deep) -> None: ...

    async with Kernel([Following], config=limits) as kernel:
        changed = await kernel.plugins.configure("following", {"limits": {"ram": 2}, "mail": {"port": 2}})
        assert changed == ("limits", "mail.port")
        assert {kernel.plugins["following"].setting_sources[key] for key in changed} == {"configure()"}
        assert kernel.services.get(Deep).limits == {"ram": 2}

        assert await kernel.plugins.configure("following", {"limits": {}}) == ("limits",)
        assert kernel.services.get(Deep).limits == {}
        assert await kernel.plugins.configure("following", {"limits": ABSENT}) == ("limits",)
        assert kernel.services.get(Deep) == Deep(limits={"cpu": 1}, mail=Mail(port=2))
