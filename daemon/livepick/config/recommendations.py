"""Warnings about settings that are allowed but outside the usual practice of the field.

The ranges and their reasons are declared on the settings; advice that depends on two settings is
here. Advice is only a warning: the user may know better.
"""

from collections.abc import Iterator

from pydantic import BaseModel

from livepick.config.error_messages import plain
from livepick.config.schema import Config

__all__ = ["advice"]

COARSEST_LOWPASS = 1 / 3
"""Coarsest recommended low-pass filter, as a fraction of the particle diameter.

It leaves three resolved points across a particle: its outline, and nothing that distinguishes it
from a blob of ice.
"""


def advice(config: Config) -> list[str]:
    """Return a sentence, without a full stop, for each setting outside its recommended range.

    The sentence names the setting, its value, the recommended range and the reason.
    """
    return [*_outside(config, ""), *_lowpass(config)]


def _outside(section: BaseModel, prefix: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _outside(value, f"{prefix}{name}.")
            continue
        extra = field.json_schema_extra
        if not isinstance(extra, dict) or not isinstance(value, int | float):
            continue
        match extra:
            case {"advised": [int() | float() as low, int() | float() as high], "advice": why}:
                if not low <= value <= high:
                    yield (
                        f"{prefix}{name} is {plain(value)}; the recommended range is"
                        f" {plain(low)} to {plain(high)}: {why}"
                    )


def _lowpass(config: Config) -> Iterator[str]:
    lowpass_angstrom = config.training.lowpass_angstrom
    most_angstrom = COARSEST_LOWPASS * config.particle.diameter_angstrom
    if lowpass_angstrom is not None and lowpass_angstrom > most_angstrom:
        yield (
            f"training.lowpass_angstrom is {plain(lowpass_angstrom)}; the recommended"
            f" maximum is {most_angstrom:.0f} Å, a third of particle.diameter_angstrom: a coarser"
            " filter leaves only the outline of a particle"
        )
