"""Measurement of the particle's diameter and contrast: its job, its evidence, and the verdict.

A worker measures each of the first micrographs (``livepick.particle.measure``). The evidence of all
of them is pooled to a verdict (``livepick.particle.decide``).
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from livepick.config.sections import Contrast, Device, Trust
from livepick.core.formats.file_version import FileVersion

__all__ = [
    "CONTRASTS",
    "DEFAULT_BOUNDS_ANGSTROM",
    "LADDER_ANGSTROM",
    "Contradiction",
    "Curves",
    "ExamplesJob",
    "ParticleEvidence",
    "ParticleGuess",
    "ParticleJob",
    "ParticleVerdict",
]

LADDER_ANGSTROM: Final = tuple(round(60 * 2 ** (step / 3), 2) for step in range(-1, 12))
"""Diameters that are tried, in steps of a third of an octave, from 48 to 762 Å. The ladder is
fixed, so that the evidence of different micrographs can be pooled."""

DEFAULT_BOUNDS_ANGSTROM: Final = (60.0, 600.0)
"""Range of diameters that a session may find by itself."""

CONTRASTS: Final[tuple[Contrast, Contrast]] = ("dark", "bright")

Values = tuple[float, ...]
"""One number for each step of the ladder; NaN for steps that were not tried."""


@dataclass(frozen=True, slots=True)
class ParticleJob:
    """Everything that a worker needs to measure the particle in one micrograph."""

    path: Path
    """Absolute path of the micrograph."""

    version: FileVersion | None = None
    """The content that was seen to be complete; None: the file as it is."""

    bundle: Path | None = None
    """Folder of the general model; None: discs and shells are used in its place."""

    device: Device = "cpu"

    pixel_size_angstrom: float | None = None
    """Pixel size from the config; None: from the header."""

    trust: Trust | None = None
    """Source of the pixel size if config and header differ; None: that is an error."""

    bounds_angstrom: tuple[float, float] = DEFAULT_BOUNDS_ANGSTROM
    """Smallest and largest diameter that matter. Steps beyond are measured only next to them."""


@dataclass(frozen=True, slots=True)
class ExamplesJob:
    """Everything that a worker needs to draw what the candidate diameters look like."""

    particle: ParticleJob
    """The micrograph and the model."""

    guesses: "tuple[ParticleGuess, ...]"
    """Candidates; each gets a picture of the same area, with circles of its diameter."""

    side_px: int = 640
    """Height and width of a picture."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Evidence for each diameter of the ladder, if particles have a certain contrast."""

    network: Values
    """Mean of the best scores of the general model, 0 to 1, if particles of that diameter are
    scaled to the size that it knows. All NaN without a general model."""

    log_odds: Values
    """Mean log-odds of the same scores, which is more sensitive to the fainter ones."""

    blobs: Values
    """Support of discs and shells of that diameter: what all their peaks explain beyond noise,
    times the square root of what one peak explains (``core.imaging.disc_support``). All NaN with a
    general model."""

    sigmas: Values
    """Median height of those peaks, in standard deviations of the noise; NaN likewise."""


@dataclass(frozen=True, slots=True)
class ParticleEvidence:
    """Evidence about the particle from one micrograph."""

    dark: Curves
    bright: Curves
    masked_fraction: float
    """Fraction of the micrograph without anything to measure: borders, contamination, carbon."""

    def curves(self, contrast: Contrast) -> Curves:
        """Return the evidence for one contrast."""
        return self.dark if contrast == "dark" else self.bright

    def to_json(self) -> str:
        """Return the evidence as a JSON object, for the ledger; NaN becomes null."""
        return json.dumps(_without_nan(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the evidence that ``to_json`` wrote.

        Raises
        ------
        ValueError
            It is of another version of livepick, whose ladder or figures are different.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            dark, bright = (_curves(values[contrast]) for contrast in CONTRASTS)
            return cls(dark, bright, float(values["masked_fraction"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the evidence about a particle: {error}") from error


@dataclass(frozen=True, slots=True)
class ParticleGuess:
    """A diameter and a contrast that the micrographs suggest."""

    diameter_angstrom: float
    contrast: Contrast
    weight: float
    """Support by the evidence, 0 to 1; the best guess has 1."""

    @property
    def words(self) -> str:
        """Diameter and contrast, as ``126 Å, dark``."""
        return f"{self.diameter_angstrom:.0f} Å, {self.contrast}"


@dataclass(frozen=True, slots=True)
class ParticleVerdict:
    """Verdict about the particle from the micrographs so far."""

    micrographs: int
    """Micrographs measured."""

    voices: int
    """Micrographs among them that show particles."""

    best: ParticleGuess | None
    """None: no micrograph shows particles, or their size is too uncertain."""

    second: ParticleGuess | None
    """Another guess that the evidence hardly distinguishes from the best one; None: there is none.
    A person should choose."""

    confidence: float
    """Probability that the best guess is right within a fifth of its diameter; 0 to 1."""

    is_settled: bool
    """True if more micrographs are unlikely to change the best guess: it may be used."""

    figures: tuple[tuple[float, float], ...] = ()
    """Pooled evidence for the contrast of the best guess, as pairs of a diameter in ångström and a
    weight from 0 to 1; for a graph."""

    likeliest: ParticleGuess | None = None
    """The best guess, even if it is too uncertain to be named; None: there are no particles."""

    chances: tuple[tuple[float, float, float], ...] = ()
    """Diameters in ångström, with the probability that they are right for dark and for bright
    particles. Their sum is lower than 1 by the probability that there are no particles."""

    @property
    def sentence(self) -> str:
        """Description without a capital letter or a full stop."""
        if self.best is None and self.voices:
            return (
                f"{self.voices} of {self.micrographs} micrographs seem to show particles, but not"
                " of which size"
            )
        if self.best is None:
            return f"none of {self.micrographs} micrographs shows particles"
        basis = f"{self.voices} of {self.micrographs} micrographs show particles"
        if self.second is not None:
            return f"{self.best.words} or {self.second.words}? {basis}, and both fit"
        sure = "" if self.is_settled else "not certain yet, "
        return f"{self.best.words} ({sure}confidence {self.confidence:.0%}; {basis})"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A given diameter or contrast that the micrographs contradict."""

    kind: Literal["diameter", "contrast"]
    given: float | str
    """The number in ångström, or the contrast, that was given."""
    found: ParticleGuess
    confidence: float
    sentence: str
    """Description without a capital letter or a full stop."""


def _curves(values: dict[str, Any]) -> Curves:
    curves = Curves(
        *(
            tuple(math.nan if v is None else float(v) for v in values[field.name])
            for field in dataclasses.fields(Curves)
        )
    )
    if any(len(values) != len(LADDER_ANGSTROM) for values in dataclasses.astuple(curves)):
        raise KeyError("another ladder of diameters")
    return curves


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
