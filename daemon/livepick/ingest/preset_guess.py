"""Guess at the program that writes the micrographs of a folder, from the names in it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from livepick.config.sections import Preset
from livepick.core.formats.image_names import stem_of_name
from livepick.ingest.presets import PRESETS, is_image_name
from livepick.ingest.products import product_by_name

__all__ = ["PresetGuess", "guess_preset", "guess_preset_by_names"]

MOST_NAMES = 20_000
"""Names after which the look at a folder ends."""

ENOUGH = 0.5
"""Fraction of the images that must show the marks of a program."""


@dataclass(frozen=True, slots=True)
class PresetGuess:
    """Preset for a folder, and why."""

    preset: Preset
    reason: str
    """In words, for example ``3 of 3 images have a .star beside them``."""
    images: int
    """Number of images that were looked at."""


def guess_preset(folder: Path) -> PresetGuess:
    """Return the preset that fits what is in a folder; ``plain`` if nothing tells.

    A folder that is missing or cannot be listed has no images.
    """
    return guess_preset_by_names(list(_names(folder)))


def guess_preset_by_names(names: list[str]) -> PresetGuess:
    """Return the preset that fits paths below a folder, of files of all kinds."""
    known = set(names)
    images = [name for name in names if is_image_name(name) and product_by_name(name) is None]
    if not images:
        return PresetGuess("plain", "there are no images yet", 0)

    def with_sidecar(suffix: str) -> int:
        beside = (str(PurePosixPath(name).parent / stem_of_name(_last(name))) for name in images)
        return sum(f"{stem}{suffix}" in known for stem in beside)

    averages = sum("average" in PurePosixPath(name).parts[:-1] for name in images)
    ends = [stem_of_name(_last(name)) for name in images]
    weighted = sum(stem.endswith("_doseweighted") for stem in ends)
    pairs = sum(stem.endswith("_DW") for stem in ends)
    stars, working = with_sidecar(".star"), with_sidecar(".tmp")
    # The kinds with the clearest marks first. CryoSPARC and MotionCor write two images of each.
    marks: list[tuple[Preset, int, float, str]] = [
        ("relion", stars, ENOUGH, "have a .star beside them"),
        ("warp", averages, ENOUGH / 4, "are in a folder named average"),
        ("cryosparc", weighted, ENOUGH / 2, "are named _doseweighted"),
        ("motioncor", pairs, ENOUGH / 2, "are named _DW"),
        ("cryoem-services", working, 0, "have a .tmp beside them"),
    ]
    for preset, count, least, reason in marks:
        if count > 0 and count >= least * len(images) and _takes_any(preset, images):
            return PresetGuess(preset, f"{count} of {len(images)} images {reason}", len(images))
    return PresetGuess("plain", "the names do not show which program wrote the images", len(images))


def _takes_any(preset: Preset, images: list[str]) -> bool:
    return any(PRESETS[preset].selects(name) for name in images)


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _names(folder: Path) -> Iterator[str]:
    """Yield the paths of files below a folder, as many as are enough."""
    seen = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        relative = os.path.relpath(place, folder)
        for name in files:
            yield name if relative == "." else f"{relative}/{name}"
            seen += 1
            if seen >= MOST_NAMES:
                return
