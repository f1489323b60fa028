"""Names that users and their programs rely on, as they were before the code got its rooms."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

BEFORE = Path(__file__).parents[1] / "data" / "names_before_rooms.json"


def gone(group: str, today: Iterable[str]) -> list[str]:
    """Return the names of a group that there are no more. New names are allowed."""
    before: list[str] = json.loads(BEFORE.read_bytes())[group]
    assert before, group
    return sorted(set(before) - set(today))


def names_in_json(value: object, above: str = "") -> Iterator[str]:
    """Yield the keys of a JSON value with the keys above them, as ``models[].kind``."""
    match value:
        case dict():
            for key, inner in value.items():
                name = f"{above}.{key}".lstrip(".")
                yield name
                yield from names_in_json(inner, name)
        case list():
            for inner in value:
                yield from names_in_json(inner, f"{above}[]")


def names_in_type(kind: type) -> Iterator[str]:
    """Yield the keys that a model or a dataclass has as JSON, in the same form."""
    schema = TypeAdapter(kind).json_schema()
    yield from _names_in_schema(schema, schema.get("$defs", {}), "")


def _names_in_schema(
    schema: dict[str, Any], definitions: dict[str, Any], above: str
) -> Iterator[str]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _names_in_schema(branch, definitions, above)
    for key, inner in schema.get("properties", {}).items():
        name = f"{above}.{key}".lstrip(".")
        yield name
        yield from _names_in_schema(inner, definitions, name)
    if isinstance(items := schema.get("items"), dict):
        yield from _names_in_schema(items, definitions, f"{above}[]")
