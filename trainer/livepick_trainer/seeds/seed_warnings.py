"""Warnings about the seeds, issued before training.

They have the same three parts as the findings on learning curves (``diagnose``): the problem, the
evidence, and the remedy. They do not stop a run, because it is the user who knows the sample.
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
"""Share of the candidates in accepted classes below which there is a warning."""

VOICES = 6
"""Number of micrographs on which the particle size is checked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """One warning about the seeds."""

    kind: FindingKind
    evidence: str
    remedy: str
    is_fault: bool = True


def doubt_of_size(
    micrographs: Sequence[PreparedMicrograph], *, diameter_angstrom: float, contrast: Contrast
) -> Doubt | None:
    """Return a warning if the particles do not look as large as the configured diameter.

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
    """Return a warning if too small a share of the candidates is in accepted classes."""
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
    """Write the warnings to the folder of a stage."""
    write_atomically(folder / DOUBTS, _DOUBTS.dump_json(list(doubts), indent=1) + b"\n")


def read_doubts(folder: Path) -> list[Doubt]:
    """Return the warnings that ``write_doubts`` wrote."""
    return _DOUBTS.validate_json((folder / DOUBTS).read_bytes())


_DOUBTS = TypeAdapter(list[Doubt])
