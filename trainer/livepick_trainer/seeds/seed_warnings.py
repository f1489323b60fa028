"""What is doubtful about the seeds, before anything is learned from them.

The same three sentences as of learning curves (``diagnose``): what is the matter, what shows it,
and what to do. They do not stop a run: it is the person who knows the sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from livepick.config.sections import Contrast
from livepick.core.contracts.progress import FindingKind
from livepick.core.formats.micrograph import read_micrograph
from livepick.host.atomic_files import write_atomically
from livepick_trainer.seeds.diameter_check import size_finding, size_support
from livepick_trainer.seeds.preprocess import PreparedMicrograph

__all__ = ["DOUBTS", "Doubt", "doubt_of_classes", "doubt_of_size", "read_doubts", "write_doubts"]

DOUBTS = "doubts.json"

LEAST_ACCEPTED = 0.1
"""Share of the candidates in accepted classes below which the classes are in doubt."""

VOICES = 6
"""Micrographs that are asked how large the particles are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """One thing that is doubtful about the seeds."""

    kind: FindingKind
    evidence: str
    remedy: str
    is_fault: bool = True


def doubt_of_size(
    micrographs: Sequence[PreparedMicrograph], *, diameter_angstrom: float, contrast: Contrast
) -> Doubt | None:
    """Return the doubt that the given diameter is that of the particles, if there is any.

    Raises
    ------
    MicrographError
        A micrograph that could be prepared can no longer be read.
    """
    supports = []
    for micrograph in micrographs[:: max(1, len(micrographs) // VOICES)][:VOICES]:
        pixel_size_angstrom = micrograph.original_pixel_size_angstrom
        read = read_micrograph(micrograph.path, pixel_size_angstrom=pixel_size_angstrom)
        supports.append(
            size_support(
                read.image,
                pixel_size_angstrom=pixel_size_angstrom,
                diameter_angstrom=diameter_angstrom,
                contrast=contrast,
            )
        )
    evidence = size_finding(supports, diameter_angstrom=diameter_angstrom)
    if evidence is None:
        return None
    return Doubt(
        kind="wrong_size",
        evidence=evidence,
        remedy="set particle.diameter_angstrom, and micrograph.pixel_size_angstrom if the files"
        " have it wrong",
    )


def doubt_of_classes(believed_fraction: float | None) -> Doubt | None:
    """Return the doubt that there are particles at all, given the share in accepted classes."""
    if believed_fraction is None or believed_fraction >= LEAST_ACCEPTED:
        return None
    return Doubt(
        kind="few_good_classes",
        evidence=f"only {believed_fraction:.0%} of the first picks are in classes that look like"
        " particles",
        remedy="look at classes.png; if it shows particles, name their classes in"
        " bootstrap.classes, else check particle.diameter_angstrom and raise"
        " bootstrap.micrographs",
    )


def write_doubts(folder: Path, doubts: Sequence[Doubt]) -> None:
    """Leave doubts in the folder of a stage."""
    write_atomically(folder / DOUBTS, _DOUBTS.dump_json(list(doubts), indent=1) + b"\n")


def read_doubts(folder: Path) -> list[Doubt]:
    """Return what ``write_doubts`` left."""
    return _DOUBTS.validate_json((folder / DOUBTS).read_bytes())


_DOUBTS = TypeAdapter(list[Doubt])
