"""Settings that are allowed and seldom wise, with what the practice of the field advises.

The ranges and their reasons stand beside the settings, in ``livepick.config.schema``; what depends
on two settings is here. Advice is a warning: whoever sets such a value may know better.
"""

from collections.abc import Iterator

from pydantic import BaseModel

from livepick.config.error_messages import plain
from livepick.config.schema import Config

__all__ = ["advice"]

COARSEST_LOWPASS = 1 / 3
"""Of the diameter. A low-pass filter of this leaves three resolved points across a particle: its
outline, and nothing of what tells it from a blob of ice."""


def advice(config: Config) -> list[str]:
    """Return a sentence for each setting outside of what is advised, without a full stop.

    It names the setting, its value, the advised range and the reason.
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
                        f"{prefix}{name} is {plain(value)}; {plain(low)} to {plain(high)} is"
                        f" advised: {why}"
                    )


def _lowpass(config: Config) -> Iterator[str]:
    lowpass_angstrom = config.training.lowpass_angstrom
    most_angstrom = COARSEST_LOWPASS * config.particle.diameter_angstrom
    if lowpass_angstrom is not None and lowpass_angstrom > most_angstrom:
        yield (
            f"training.lowpass_angstrom is {plain(lowpass_angstrom)}; at most"
            f" {most_angstrom:.0f} Å, a third of particle.diameter_angstrom, is advised: a coarser"
            " filter leaves the outline of a particle alone"
        )
