"""What a plugin says about itself: its fields, their checks, and where a manifest is written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugbus.errors import ManifestError
from plugbus.manifest import ID_PATTERN, Manifest, plugin_key, read_requirement


def test_an_id_is_a_lower_case_letter_and_up_to_63_of_few_characters() -> None:
    for good in ("a", "shop", "order-mail_2", "a" * 64):
        assert Manifest(id=good).id == good
    for bad in ("", "A", "1a", "-a", "a.b", "../a", "a/b", "a\n", "a" * 65, "ä"):
        with pytest.raises(ManifestError, match="is not a plugin id"):
            Manifest(id=bad)


def test_dash_and_underscore_are_the_same_in_an_id() -> None:
    assert Manifest(id="order-mail").key == Manifest(id="order_mail").key == plugin_key("order-mail")
    assert read_requirement("order-mail>=1").key == read_requirement("order_mail").key


def test_a_manifest_error_names_every_problem_and_the_plugin() -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.model_validate(
            {
                "id": "shop",
                "version": "one",
                "requires": ["catalog>=1", "Bad", "mail>>1"],
                "plugbus": "soon",
                "publishes": "order.*",
                "nmae": "typo",
            }
        )

    error = caught.value
    assert error.plugin == "shop"
    assert len(error.problems) == 5
    for phrase in ("version: 'one'", "'Bad' is not a plugin id", "'>>1' is not a version range", "plugbus: 'soon'",
                   "publishes", "nmae"):  # fmt: skip
        assert phrase in str(error)


def test_what_is_no_mapping_is_a_manifest_error_too() -> None:
    with pytest.raises(ManifestError, match="dictionary"):
        Manifest.model_validate(["shop"])


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [("catalog>=1.0", "1.0", "0.9"), ("catalog>=1,<2", "1.9.9", "2.0"), ("catalog == 1.*", "1.5", "2"),
     ("catalog~=1.4", "1.5", "2.0"), ("catalog >=1.0", "2.0b1", "1.0b1")],
)  # fmt: skip
def test_requirements_are_version_ranges_of_pep_440(text: str, inside: str, outside: str) -> None:
    needed = read_requirement(text)

    assert needed.id == "catalog"
    assert needed.met_by(inside)
    assert not needed.met_by(outside)


def test_a_requirement_without_a_range_takes_any_version() -> None:
    assert read_requirement(" catalog ").met_by("0.0.1.dev3")
    assert str(read_requirement("catalog >= 1")) == "catalog>=1"


@pytest.mark.parametrize("text", ["", ">=1", "catalog ; python_version>'3'", "catalog[extra]>=1", "../x>=1"])
def test_what_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises(ManifestError):
        Manifest(id="shop", requires=[text])


def test_needs_and_wishes_are_the_requirements_read() -> None:
    manifest = Manifest(id="shop", requires=["catalog>=1"], optional=["mail"])

    assert [needed.id for needed in manifest.needs] == ["catalog"]
    assert [wish.id for wish in manifest.wishes] == ["mail"]


def test_a_manifest_tells_undeclared_from_nothing() -> None:
    """Once a manifest declares what it publishes, anything else is refused; one that says nothing declares nothing."""
    assert Manifest(id="shop").publishes is None
    assert Manifest(id="shop", publishes=[]).publishes == ()


def test_a_manifest_is_frozen_and_has_a_title() -> None:
    manifest = Manifest(id="shop")

    with pytest.raises(Exception, match="frozen"):
        manifest.id = "other"  # type: ignore[misc]
    assert (manifest.title, Manifest(id="shop", name="The shop").title) == ("shop", "The shop")


def test_a_manifest_file_is_toml_or_json(tmp_path: Path) -> None:
    assert Manifest.beside(tmp_path) is None
    (tmp_path / "manifest.json").write_text(json.dumps({"id": "shop", "requires": ["catalog"]}))
    assert Manifest.beside(tmp_path) == Manifest(id="shop", requires=["catalog"])
    (tmp_path / "manifest.toml").write_text('id = "shop"\nversion = "2.0"\n[extra]\ncolour = "red"\n')
    assert Manifest.beside(tmp_path) == Manifest(id="shop", version="2.0", extra={"colour": "red"})


@pytest.mark.parametrize(("name", "text", "phrase"), [
    ("manifest.toml", "id = ", "TOMLDecodeError"),
    ("manifest.json", "{", "JSONDecodeError"),
    ("manifest.json", '{"id": "Bad"}', "is not a plugin id"),
    ("manifest.toml", "\udcff", "UnicodeDecodeError"),
])  # fmt: skip
def test_a_broken_manifest_file_is_named(tmp_path: Path, name: str, text: str, phrase: str) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(ManifestError, match=phrase) as caught:
        Manifest.beside(tmp_path)

    assert caught.value.plugin == str(tmp_path / name)


def test_a_missing_manifest_file_is_a_manifest_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="FileNotFoundError"):
        Manifest.read(tmp_path / "manifest.toml")


@given(text=st.text(max_size=70))
def test_whatever_text_an_id_is_it_never_leaves_its_folder(text: str) -> None:
    """Any id that is accepted is a plain file name."""
    try:
        accepted = Manifest(id=text).id
    except ManifestError:
        return

    assert ID_PATTERN.fullmatch(accepted)
    assert Path(accepted).name == accepted
    assert accepted not in {".", ".."}
