"""Error messages for a faulty configuration, made from pydantic's errors.

pydantic says "Input should be greater than or equal to 20". A user who starts a session at night
needs the key, the value, the range with its unit, and an example. The models already have all of
these: bounds in the metadata, units in the names, examples beside the bounds.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

__all__ = ["Fault", "KeyPath", "contradiction", "describe", "field_at", "nearest", "plain"]

KeyPath = tuple[str | int, ...]

_UNITS = {"angstrom": " Å", "seconds": " s", "minutes": " min"}

_WANTED = {
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "list_type": "a list",
    "model_type": "a section with keys",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a configuration."""

    path: KeyPath
    """Path of the setting: ``("particle", "diameter_angstrom")``."""

    sentence: str
    """Description of the fault and of a correct value, without a full stop."""


def contradiction(sentence: str, *, key: str | None = None) -> PydanticCustomError:
    """Return an error for a validator to raise.

    Parameters
    ----------
    sentence
        Text that names the setting (or has ``{name}`` for it), its value and a correct value; no
        full stop.
    key
        The key below the validated section that should be edited.
    """
    # The sentence is an argument of the template, because a path in it may contain braces.
    return PydanticCustomError("contradiction", "{sentence}", {"sentence": sentence, "key": key})


def describe(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Return one fault for each setting of ``model`` that ``error`` complains about."""
    faults: dict[KeyPath, Fault] = {}
    for details in error.errors(include_url=False):
        for fault in _faults(details, model):
            faults.setdefault(fault.path, fault)
    return list(faults.values())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that ``word`` was probably meant to be."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def _choice(value: str, choices: Sequence[str]) -> str | None:
    """Return what a value was probably meant to be: choices with that word, or the nearest one."""
    with_word = [choice for choice in choices if value.lower() in choice.split("-")]
    return " or ".join(with_word) or nearest(value, choices)


def plain(number: float) -> str:
    """Format a number as people write it: 1000000 and 0.00001, not 1e+06 and 1e-05."""
    if number == int(number):
        return str(int(number))
    return f"{number:.12f}".rstrip("0")


def field_at(model: type[BaseModel], path: Sequence[str | int]) -> FieldInfo | None:
    """Return the field at the keys of ``path``, or None if there is none."""
    field: FieldInfo | None = None
    inside: type[BaseModel] | None = model
    for key in path:
        if isinstance(key, int):
            continue
        field = inside.model_fields.get(key) if inside is not None else None
        if field is None:
            return None
        inside = _section(field)
    return field


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section type of a field, also if the field may be a word instead."""
    for branch in (field.annotation, *get_args(field.annotation)):
        kind = get_args(branch)[0] if get_origin(branch) is Annotated else branch
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _without_branches(path: KeyPath, model: type[BaseModel]) -> KeyPath:
    """Drop the names of a union's branches, which are not keys of the file."""
    kept: list[str | int] = []
    for place, key in enumerate(path):
        field = field_at(model, kept)
        # Of a section that may be left out, there is only one branch, which has no name.
        branches = set(get_args(field.annotation)) - {type(None)} if field is not None else set()
        is_choice = field is not None and len(branches) > 1 and _section(field)
        if is_choice and key not in is_choice.model_fields and path[place - 1] == kept[-1]:
            continue
        kept.append(key)
    return tuple(kept)


def _faults(details: ErrorDetails, model: type[BaseModel]) -> list[Fault]:
    path = _without_branches(tuple(details["loc"]), model)
    kind = details["type"]
    if kind in ("extra_forbidden", "invalid_key"):
        return [Fault(path, _unknown(path, model))]
    if kind == "contradiction":
        context = details.get("ctx", {})
        key = context.get("key")
        sentence = context["sentence"].replace("{name}", _dotted(path))
        return [Fault((*path, key) if key else path, sentence)]
    # A union adds the name of its branch to the path ("literal['auto']"), which is not a key.
    while path and field_at(model, path) is None:
        path = path[:-1]
    field = field_at(model, path)
    if kind == "missing" and field is not None and (section := _section(field)) is not None:
        return [
            Fault((*path, key), f"{_dotted((*path, key))} is missing{_meaning(inner)}")
            for key, inner in section.model_fields.items()
            if inner.is_required()
        ]
    return [Fault(path, _sentence(details, path, field))]


def _unknown(path: KeyPath, model: type[BaseModel]) -> str:
    *parents, last = path
    name = str(last)
    what = f"{_dotted(path)} is unknown"
    section = _section_at(model, parents)
    guess = nearest(name, section.model_fields)
    if guess is not None:
        return f"{what}; perhaps you mean {_dotted((*parents, guess))}"
    homes = [
        key
        for key, field in model.model_fields.items()
        if (inner := _section(field)) is not None and name in inner.model_fields
    ]
    if homes:
        return f"{what}; {name} belongs in the section {homes[0]}"
    place = f"the section {_dotted(parents)}" if parents else "the file"
    return f"{what}; {place} may contain {_list(section.model_fields)}"


def _section_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel]:
    field = field_at(model, path)
    return (_section(field) if field is not None else None) or model


def _sentence(details: ErrorDetails, path: KeyPath, field: FieldInfo | None) -> str:
    name = _dotted(path)
    value = details["input"]
    if field is None:
        return f"{name or 'the file'}: {details['msg']}"
    if details["type"] == "missing":
        return f"{name} is missing{_meaning(field)}"
    if value is None:
        return f"{name} is empty; {_advice_for_empty(field)}"
    return f"{name} {_wrong(details, name, field)}"


def _wrong(details: ErrorDetails, name: str, field: FieldInfo) -> str:
    """Describe what is wrong with a value that was given."""
    kind = details["type"]
    value = details["input"]
    limits = _limits(field.metadata or _metadata_of_number(field))
    if _is_choice_or_number(field):
        unit = _UNITS.get(name.rsplit("_", 1)[-1], "")
        number = "a number" if "float" in str(field.annotation) else "a whole number"
        text = f"is {_shown(value)}; it must be auto or {number} {limits}{unit}{_example(field)}"
    elif kind == "literal_error":
        choices = details.get("ctx", {}).get("expected", "").replace("'", "")
        guess = _choice(str(value), choices.replace(" or ", ", ").split(", "))
        hint = f"; perhaps you mean {guess}" if guess else ""
        text = f"is {_shown(value)}; it must be {choices}{hint}"
    elif kind in _WANTED:
        text = f"must be {_WANTED[kind]}, but is {_shown(value)}{_hint(kind, value, field)}"
    elif kind == "too_short":
        text = f"is an empty list; it must have at least one entry{_example(field)}"
    elif limits and isinstance(value, int | float):
        unit = _UNITS.get(name.rsplit("_", 1)[-1], "")
        text = f"is {value}; it must be {limits}{unit}{_example(field)}"
    elif kind == "string_pattern_mismatch":
        text = f"is {_shown(value)}, which is not valid{_example(field)}"
    else:
        text = f"is {_shown(value)}; {_lower(details['msg'])}{_example(field)}"
    return text


def _hint(kind: str, value: object, field: FieldInfo) -> str:
    if kind == "list_type" and isinstance(value, str):
        return f"; write [{value}]"
    if kind == "string_type":
        return "; put it in quotes"
    return _example(field)


def _advice_for_empty(field: FieldInfo) -> str:
    if field.is_required():
        return f"it has no default{_meaning(field)}"
    default = field.get_default(call_default_factory=True)
    return f"remove the line to use the default, {default}"


def _meaning(field: FieldInfo) -> str:
    if not field.description:
        return ""
    text = field.description.replace("``", "").replace("\n", " ")
    first = re.split(r"\. (?=[A-Z])", text)[0].rstrip(".")
    return f": {_lower(first)}{_example(field)}"


def _example(field: FieldInfo) -> str:
    return f" ({field.examples[0]})" if field.examples else ""


def _is_choice_or_number(field: FieldInfo) -> bool:
    annotation = str(field.annotation)
    return "'auto'" in annotation and ("float" in annotation or "int" in annotation)


def _metadata_of_number(field: FieldInfo) -> Iterable[object]:
    """Return what is known of the number in a field that may be a number or a word."""
    for branch in get_args(field.annotation):
        if get_origin(branch) is Annotated and get_args(branch)[0] in (float, int):
            return [
                limit
                for each in get_args(branch)[1:]
                for limit in (each.metadata if isinstance(each, FieldInfo) else [each])
            ]
    return []


def _limits(metadata: Iterable[object]) -> str:
    low = least = high = most = ""
    for limit in metadata:
        match limit:
            case annotated_types.Ge(bound):
                least = _bound(bound)
                low = f"at least {least}"
            case annotated_types.Gt(bound):
                low = f"above {_bound(bound)}"
            case annotated_types.Le(bound):
                most = _bound(bound)
                high = f"at most {most}"
            case annotated_types.Lt(bound):
                high = f"below {_bound(bound)}"
            case _:
                continue
    if least and most:
        return f"between {least} and {most}"
    return " and ".join(part for part in (low, high) if part)


def _bound(limit: Any) -> str:
    return plain(float(limit))


def _shown(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value!r}" if value else "an empty text"
        case list():
            return "a list"
        case dict():
            return "a section with keys"
        case _:
            return f"{type(value).__name__} {value}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _lower(text: str) -> str:
    """Lower the first letter, unless the first word is all capitals or a single letter."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _dotted(path: Sequence[str | int]) -> str:
    """Format a path as ``watch.directories[1]``."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.lstrip(".")
