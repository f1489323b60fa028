"""Base class of the sections, and the declarations that each setting carries on its field.

Each setting declares the effect that an edit of it has while the service runs:

*live*
    The edit takes effect with the next micrograph or the next training.
*retrain*
    The setting shapes the model: a model with the new settings is looked up, and trained if there
    is none. The declaration also says from which stage of a training run on it does so.
*restart*
    The objects that the service makes from it at its start cannot be replaced while it runs.

A setting whose value is itself a section, such as ``bootstrap.classes``, has one declaration.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Strict, ValidationInfo
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from livepick.config.error_messages import contradiction

__all__ = [
    "ADDED_LATER",
    "LIVE",
    "RESTART",
    "RETRAIN",
    "RETRAIN_AFTER_SORTING",
    "Effect",
    "Folder",
    "Section",
    "Stage",
    "advised",
    "counts_as",
    "effect_of",
    "keys_with",
    "shaping_settings",
    "shaping_values",
]

Effect = Literal["live", "retrain", "restart"]

Stage = Literal["sorting", "training"]
"""First stage of a training run that a setting shapes.

``sorting``: the seeds, their preparation and their sorting into 2D classes, which a run takes over
from an earlier one if these settings are the same. ``training``: only what comes after the classes.
"""

LIVE: JsonDict = {"on_edit": "live"}
"""Declaration of a setting that takes effect at once, for ``Field(json_schema_extra=...)``."""

RESTART: JsonDict = {"on_edit": "restart"}
"""Declaration of a setting that needs a restart."""

RETRAIN: JsonDict = {"on_edit": "retrain", "stage": "sorting"}
"""Declaration of a setting that shapes a model from the seeds on."""

RETRAIN_AFTER_SORTING: JsonDict = {"on_edit": "retrain", "stage": "training"}
"""Declaration of a setting that shapes a model, and only what comes after the 2D classes."""


ADDED_LATER: JsonDict = {"added_later": True}
"""Declaration of a setting that shapes a model, and that earlier versions did not have.

Its fingerprint leaves the setting out at its default. So an update alone trains no session again,
even if models are made differently from then on.
"""


def counts_as(**words: str) -> JsonDict:
    """Declare words of a setting between which an edit does not ask for another training.

    Parameters
    ----------
    words
        For a word, the one that stands for it in the fingerprint, as in earlier versions.
    """
    return {"counts_as": dict(words)}


def advised(lowest: float, highest: float, why: str) -> JsonDict:
    """Declare the range that is usual in the field, for ``Field(json_schema_extra=...)``."""
    return {"advised": [lowest, highest], "advice": why}


MOST_PATH_BYTES = 3500
"""Largest length of a folder in the config. Linux allows 4096 bytes for a file with its folders."""


def _beside_config(path: Path, info: ValidationInfo) -> Path:
    """Make a folder absolute: relative ones are relative to the config file's folder."""
    if path == Path():
        raise contradiction("{name} is empty; name a folder")
    if "\0" in str(path):
        raise contradiction("{name} has a NUL character; name a folder")
    try:
        path = path.expanduser()
    except RuntimeError as error:  # no such user, or no home directory
        raise contradiction(
            "{name} is " + str(path) + ", and there is no such home folder; write the whole path"
        ) from error
    size = len(os.fsencode(path))
    if size > MOST_PATH_BYTES or any(len(os.fsencode(each)) > 255 for each in path.parts):
        raise contradiction(
            "{name} is longer than file systems allow ("
            f"{size} bytes): a name has at most 255 bytes and a path {MOST_PATH_BYTES}"
        )
    folder = (info.context or {}).get("folder")
    # abspath, not resolve: a link to the session of the day is followed only when it is used.
    return path if folder is None else Path(os.path.abspath(folder / path))  # noqa: PTH100


Folder = Annotated[Path, Strict(strict=False), AfterValidator(_beside_config)]


class Section(BaseModel):
    """A section of the configuration: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def effect_of(section: type[Section], key: str) -> Effect:
    """Return the effect of an edit of a setting.

    Raises
    ------
    LookupError
        The field of the setting does not declare it.
    """
    match section.model_fields[key].json_schema_extra:
        case {"on_edit": "live" | "retrain" | "restart" as effect}:
            return effect
    raise LookupError(
        f"The setting {section.__name__}.{key} does not declare the effect of an edit. Give it"
        " Field(json_schema_extra=...) with LIVE, RESTART, RETRAIN or RETRAIN_AFTER_SORTING of"
        f" {__name__}."
    )


def keys_with(section: type[Section], effect: Effect) -> set[str]:
    """Return the keys of a section's settings whose edit has this effect."""
    return {key for key in section.model_fields if effect_of(section, key) == effect}


def shaping_settings(
    *, stage: Stage | None = None, **sections: Section
) -> dict[str, dict[str, Any]]:
    """Return the values of ``shaping_values`` for several sections, by the section's name."""
    return {name: shaping_values(section, stage=stage) for name, section in sections.items()}


def shaping_values(section: Section, *, stage: Stage | None = None) -> dict[str, Any]:
    """Return the settings that shape a model, as JSON-serializable values by key.

    A setting that was added later is left out at its default.

    Parameters
    ----------
    section
        A section of the config.
    stage
        First stage that the settings shape. None: any.
    """
    fields = type(section).model_fields
    keys = keys_with(type(section), "retrain")
    if stage is not None:
        keys = {key for key in keys if _extra(fields[key]).get("stage") == stage}
    keys = {
        key
        for key in keys
        if not _extra(fields[key]).get("added_later")
        or getattr(section, key) != fields[key].get_default()
    }
    values = section.model_dump(mode="json", include=keys)
    return {key: _as_counted(fields[key], value) for key, value in values.items()}


def _as_counted(field: FieldInfo, value: Any) -> Any:
    """Return what stands for a value of a setting in a fingerprint."""
    words = _extra(field).get("counts_as")
    return words.get(value, value) if isinstance(words, dict) and isinstance(value, str) else value


def _extra(field: FieldInfo) -> JsonDict:
    extra = field.json_schema_extra
    return extra if isinstance(extra, dict) else {}
