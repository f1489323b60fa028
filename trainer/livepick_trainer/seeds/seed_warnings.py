"""Warnings about the seeds, issued before training.

A warning does not stop a run, because it is the user who knows the sample.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from livepick.config.sections import Contrast
from livepick.core.contracts.finding import Finding
from livepick.core.contracts.progress import FindingKind
from livepick.host.atomic_files import write_atomically
from livepick_trainer.seeds.diameter_check import size_finding, size_support
from livepick_trainer.seeds.originals import original
from livepick_trainer.seeds.preprocess import PreparedMicrograph

__all__ = ["WARNINGS", "class_warning", "read_warnings", "size_warning", "write_warnings"]

WARNINGS = "doubts.json"

LEAST_ACCEPTED = 0.1
"""Share of the candidates in accepted classes below which there is a warning."""

VOICES = 6
"""Number of micrographs on which the particle size is checked."""


def size_warning(
    micrographs: Sequence[PreparedMicrograph], *, diameter_angstrom: float, contrast: Contrast
) -> Finding[FindingKind] | None:
    """Return a warning if the particles do not look as large as the configured diameter.

    Raises
    ------
    OriginalError
        A micrograph that could be prepared can no longer be read.
    """
    supports = []
    for micrograph in micrographs[:: max(1, len(micrographs) // VOICES)][:VOICES]:
        pixel_size_angstrom = micrograph.original_pixel_size_angstrom
        with original(micrograph) as read:
            support = size_support(
                read.image,
                pixel_size_angstrom=pixel_size_angstrom,
                diameter_angstrom=diameter_angstrom,
                contrast=contrast,
            )
        supports.append(support)
    evidence = size_finding(supports, diameter_angstrom=diameter_angstrom)
    if evidence is None:
        return None
    return Finding(
        kind="wrong_size",
        evidence=evidence,
        remedy="correct particle.diameter_angstrom, or set micrograph.pixel_size_angstrom if the"
        " pixel size in the files is wrong",
    )


def class_warning(believed_fraction: float | None) -> Finding[FindingKind] | None:
    """Return a warning if too small a share of the candidates is in accepted classes."""
    if believed_fraction is None or believed_fraction >= LEAST_ACCEPTED:
        return None
    return Finding(
        kind="few_good_classes",
        evidence=f"only {believed_fraction:.0%} of the first picks are in classes that look like"
        " particles",
        remedy="look at classes.png: if it shows particles, accept their classes with"
        " bootstrap.classes.accept; otherwise check particle.diameter_angstrom and raise"
        " bootstrap.micrographs",
    )


def write_warnings(folder: Path, warnings: Sequence[Finding[FindingKind]]) -> None:
    """Write the warnings to the folder of a stage."""
    write_atomically(folder / WARNINGS, _WARNINGS.dump_json(list(warnings), indent=1) + b"\n")


def read_warnings(folder: Path) -> list[Finding[FindingKind]]:
    """Return the warnings that ``write_warnings`` wrote."""
    return _WARNINGS.validate_json((folder / WARNINGS).read_bytes())


_WARNINGS = TypeAdapter(list[Finding[FindingKind]])
