"""``config.example.yaml`` and the sections of the schema agree."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from livepick.config.schema import Config
from livepick.config.setting import Section, keys_with
from livepick.config.yaml_loader import load_config

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"


def _settings(
    model: type[BaseModel], path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], FieldInfo]]:
    found: list[tuple[tuple[str, ...], FieldInfo]] = []
    for key, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += _settings(inner, (*path, key))
        else:
            found.append(((*path, key), field))
    return found


def _keys(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in values.items():
        found += _keys(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]
    return found


SETTINGS = _settings(Config)
NAMES = [".".join(path) for path, _ in SETTINGS]


@pytest.fixture(scope="module")
def text() -> str:
    return EXAMPLE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def everything(text: str) -> dict[str, Any]:
    """Return the example with each setting uncommented."""
    values: dict[str, Any] = yaml.safe_load(re.sub(r"(?m)^( *)#(?=[a-z_]+:)", r"\1", text))
    return values


def test_the_example_is_a_complete_configuration() -> None:
    assert load_config(EXAMPLE).particle.diameter_angstrom == 150


def test_only_settings_without_a_default_are_switched_on(text: str) -> None:
    required = [path for path, field in SETTINGS if field.is_required()]
    assert _keys(yaml.safe_load(text)) == required


def test_the_example_has_every_setting_in_the_order_of_the_code(everything: dict[str, Any]) -> None:
    assert _keys(everything) == [path for path, _ in SETTINGS]


@pytest.mark.parametrize(("path", "field"), SETTINGS, ids=NAMES)
def test_a_default_in_the_example_is_that_of_the_code(
    path: tuple[str, ...], field: FieldInfo, everything: dict[str, Any]
) -> None:
    value: Any = everything
    for key in path:
        value = value[key]
    if not field.is_required():
        assert value == field.get_default(call_default_factory=True)


@pytest.mark.parametrize(("path", "field"), SETTINGS, ids=NAMES)
def test_every_setting_has_a_docstring(path: tuple[str, ...], field: FieldInfo) -> None:
    assert field.description, path


@pytest.mark.parametrize(("path", "field"), SETTINGS, ids=NAMES)
def test_every_bound_has_an_example(path: tuple[str, ...], field: FieldInfo) -> None:
    """An error message shows a correct value."""
    assert field.examples or not field.metadata or path[-1] == "directory", path


def test_every_setting_has_a_comment_above_it(text: str) -> None:
    """Each setting has an explanation directly above it."""
    lines = text.splitlines()
    bare = [
        line
        for above, line in pairwise(lines)
        if re.match(r" +#?[a-z_]+:( |$)", line) and not above.lstrip().startswith("# ")
    ]
    assert bare == []


def test_the_header_names_every_live_setting(text: str) -> None:
    """A section whose settings are all live is named as a whole."""
    words = set(re.findall(r"[a-z_]+", text[: text.index("\nsession:")]))
    missing = [
        f"{name}.{key}"
        for name, section in _sections().items()
        for key in keys_with(section, "live")
        if key not in words
        and not (name in words and keys_with(section, "live") == section.model_fields.keys())
    ]
    assert missing == []


def _sections() -> dict[str, type[Section]]:
    return {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
