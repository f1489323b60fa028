"""View of the particle's measurement: a sentence, and pictures with circles of each diameter."""

from dataclasses import dataclass

import numpy as np

from livepick.config.measured_particle import ParticleMeasured
from livepick.core.contracts.particle_state import ParticleExample, ParticleState
from livepick.monitoring.particle_status import guess_in_words, particle_sentence

__all__ = ["ExampleView", "ParticleView", "view_particle"]

SHOWN_DIAMETERS = 14.0
"""Side of the shown part of a micrograph, in diameters of the largest particle."""


@dataclass(frozen=True, slots=True)
class ExampleView:
    """Part of a micrograph, with circles around what was found at one diameter."""

    label: str
    micrograph_id: int
    version: str
    """Key for the browser's cache."""
    width_px: int
    height_px: int
    """Size of the micrograph."""
    view_box: str
    """Shown part, in pixels of the micrograph, as in SVG."""
    path: str
    """SVG path with one vertex for each circle."""
    ring_px: float
    """Radius of the circles."""


@dataclass(frozen=True, slots=True)
class ParticleView:
    """Sentences and pictures about the particle, for the page."""

    sentence: str
    is_in_doubt: bool
    """True if somebody should look at it."""
    examples: tuple[ExampleView, ...]


def view_particle(state: ParticleState | None) -> ParticleView | None:
    """Return what the page shows about the particle; None if there is nothing to show."""
    if state is None:
        return None
    box = _view_box(state.examples)
    return ParticleView(
        particle_sentence(state),
        bool(state.contradiction or state.is_asking),
        tuple(_view(example, box) for example in state.examples),
    )


def _view(example: ParticleExample, box: str) -> ExampleView:
    xy = np.round(np.array(example.positions).reshape(-1, 2)).astype(int)
    guess = ParticleMeasured(example.diameter_angstrom, example.contrast)
    return ExampleView(
        label=guess_in_words(guess),
        micrograph_id=example.micrograph_id,
        version=f"{example.content}-{example.diameter_angstrom:g}",
        width_px=example.width_px,
        height_px=example.height_px,
        view_box=box,
        path="M" + " ".join(f"{x} {y}" for x, y in xy.tolist()) if len(xy) else "",
        ring_px=round(example.diameter_angstrom / 2 / example.pixel_size_angstrom, 1),
    )


def _view_box(examples: tuple[ParticleExample, ...]) -> str:
    """Return the part of the micrograph that all examples show, around the first's best one."""
    if not examples:
        return ""
    first = examples[0]
    largest = max(example.diameter_angstrom for example in examples)
    side = min(
        SHOWN_DIAMETERS * largest / first.pixel_size_angstrom, first.width_px, first.height_px
    )
    x, y = first.positions[0] if first.positions else (first.width_px / 2, first.height_px / 2)
    left = min(max(x - side / 2, -0.5), first.width_px - 0.5 - side)
    top = min(max(y - side / 2, -0.5), first.height_px - 0.5 - side)
    return f"{left:.1f} {top:.1f} {side:.1f} {side:.1f}"
