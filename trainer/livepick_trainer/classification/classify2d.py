"""Reference-free 2D classification: likelihood over class, rotation and shift.

A particle is represented as a set of rings in Fourier space, each a function of the angle. In the
Fourier coefficients along the angle, a rotation is a phase. The agreement of all particles with all
references at all angles is therefore one matrix product over the rings for each angular frequency,
and one inverse transform along the angle. Shifts are applied to the references, since there are few
of them. The new references are made by the same two steps in reverse. This is exact (no
interpolation, no search), and takes seconds where a program that rotates images takes minutes.

With noise-limited data, a plain likelihood leads to one class that swallows all others. Against
this:

- the first references come from groups of particles with similar rotation-invariant spectra,
  not from random draws, so that different-looking particles start in different classes;
- the likelihood is annealed, from a temperature that is set by the data;
- a class's own noise is damped by its signal-to-noise ratio in each ring, so that a small class
  is not at a disadvantage for being small;
- an empty class takes the worse half of the largest.

After each sorting stage, each class is centred on the body of its average. Otherwise a particle of
two lobes is found twice, once for each lobe, and half of its seeds are off by a lobe.

An earlier version penalized classes that were larger than their share. The penalties oscillated,
and in the end the largest of 17 classes held 2,732 of 4,000 simulated proteasomes. Without
penalties, the largest of 36 holds 349, and the classes are purer on every set.

The last passes run on two half-sets, each aligned only to its own references, which start again
from low resolution: noise aligned to one common reference would agree with itself.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from livepick_trainer.classification.alignment import Alignment
from livepick_trainer.classification.class_averages import sum_aligned
from livepick_trainer.classification.classification_rules import ClassificationRules
from livepick_trainer.classification.poses import Poses

__all__ = ["Classification", "choose_classes", "classify"]

Stack = NDArray[np.float32]
Vector = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Assignment:
    """Classes of particles that were not used to make them; fields as in Classification."""

    label: NDArray[np.int64]
    probability: Vector
    shift_yx_px: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Classification:
    """Result of a classification: class and pose of each particle, and the class averages."""

    label: NDArray[np.int64]
    """(N,): class of each particle, from 0; classes are sorted by size, the largest first."""

    probability: Vector
    """(N,): probability of that class, summed over all poses."""

    angle_degrees: Vector
    """(N,): rotation, from y towards x, that brings the class average to the particle."""

    shift_yx_px: NDArray[np.float32]
    """(N, 2): position of the particle's centre relative to the pick, in pixels of the box."""

    score: Vector
    """(N,) in [-1, 1]: noise-weighted correlation with its class average in the best pose."""

    occupancy: NDArray[np.int64]
    """(K,): number of particles in each class."""

    averages: Stack
    """(K, box, box): class averages."""

    classes: int
    """Number of classes to choose from; K of them have particles."""

    halves: Stack
    """(2, K, box, box): averages of the even- and of the odd-numbered particles."""

    half_sizes: NDArray[np.int64]
    """(2, K): number of particles in each half."""

    rest: Assignment
    """Classes of the particles that were not used to make the classes."""

    decoys: Assignment
    """Classes of the decoys."""


def choose_classes(particles: int, rules: ClassificationRules | None = None) -> int:
    """Return the number of classes for this number of particles."""
    rules = rules or ClassificationRules()
    wanted = particles // rules.particles_per_class
    return int(np.clip(wanted, rules.least_classes, rules.most_classes))


def classify(
    images: Stack,
    *,
    diameter_px: float,
    classes: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    rules: ClassificationRules | None = None,
    rest: Iterable[Stack] = (),
    decoys: Iterable[Stack] = (),
    report: Callable[[str, int, int], None] = lambda _note, _done, _total: None,
) -> Classification:
    """Sort particles into classes and average each class.

    Parameters
    ----------
    images
        (N, box, box), background 0 ± 1, as from ``particles.FineMicrograph.cut``.
    diameter_px
        Particle diameter, in pixels.
    classes
        Number of classes. None: chosen by the number of particles.
    seed
        The same seed, device and number of threads give the same classes.
    device
        Device to compute on.
    rules
        Parameters of the classification. None: the defaults.
    rest
        Further particles, in several stacks: each is assigned to one of the classes made from
        ``images``. The cost is linear in their number, and the memory is that of the largest stack.
    decoys
        The same for places that a picker found where there are no particles.
    report
        Called with a sentence, the number of passes done, and the total.

    Raises
    ------
    ValueError
        Fewer than two particles per class.
    """
    rules = rules or ClassificationRules()
    classes = classes or choose_classes(len(images), rules)
    if len(images) < 2 * classes:
        raise ValueError(f"{len(images)} particles cannot make {classes} classes")
    with torch.no_grad():
        work = Alignment(
            images,
            diameter_px=diameter_px,
            classes=classes,
            seed=seed,
            device=torch.device(device),
            rules=rules,
            report=report,
        )
        for stage in rules.sorting:
            work.sort(stage)
        for stage in rules.refining:
            work.refine(stage)
        assigned, of_decoys = (
            [work.assign(stack) for stack in stacks if len(stack)] for stacks in (rest, decoys)
        )
        return _result(work, assigned, of_decoys)


Assigned = Sequence[tuple[Poses, Tensor]]


def _result(work: Alignment, rest: Assigned = (), decoys: Assigned = ()) -> Classification:
    found = work.poses
    occupancy = torch.bincount(found.label, minlength=work.classes)
    rank = occupancy.argsort(descending=True, stable=True)
    place = rank.argsort(stable=True)
    label = place[found.label]
    kept = int((occupancy > 0).sum())
    column = work.half * kept + label
    sums = sum_aligned(work.images, work.offset, found.turn, column, 2 * kept)
    sizes = torch.bincount(column, minlength=2 * kept).reshape(2, kept)
    halves = sums.reshape(2, kept, work.box_px, work.box_px)
    averages = halves.sum(0) / sizes.sum(0)[:, None, None]
    halves = halves / sizes.clamp(min=1)[:, :, None, None]
    return Classification(
        label=label.cpu().numpy(),
        probability=found.probability.cpu().numpy(),
        angle_degrees=torch.rad2deg(found.turn).cpu().numpy(),
        shift_yx_px=work.offset.cpu().numpy(),
        score=found.score.cpu().numpy(),
        occupancy=occupancy[rank][:kept].cpu().numpy(),
        averages=averages.cpu().numpy(),
        classes=work.classes,
        halves=halves.cpu().numpy(),
        half_sizes=sizes.cpu().numpy(),
        rest=_assignment(rest, place),
        decoys=_assignment(decoys, place),
    )


def _assignment(assigned: Assigned, place: Tensor) -> Assignment:
    return Assignment(
        label=_stacked([place[poses.label] for poses, _ in assigned], np.int64),
        probability=_stacked([poses.probability for poses, _ in assigned], np.float32),
        shift_yx_px=_stacked([offset for _, offset in assigned], np.float32).reshape(-1, 2),
    )


def _stacked(parts: Sequence[Tensor], dtype: type) -> NDArray[Any]:
    return np.concatenate([part.cpu().numpy() for part in parts]) if parts else np.zeros(0, dtype)
