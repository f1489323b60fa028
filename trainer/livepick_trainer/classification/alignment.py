"""Passes of the 2D classification: find the particles' poses, then recompute the references.

The method and its reasons are described in ``classify2d``.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from livepick_trainer.classification.class_averages import body_centre, sum_aligned
from livepick_trainer.classification.classification_rules import (
    ClassificationRules,
    ClassificationStage,
)
from livepick_trainer.classification.initial_groups import group_by_spectrum
from livepick_trainer.classification.polar import Polar, shift_images, shift_table, soft_disc
from livepick_trainer.classification.poses import (
    Poses,
    ShiftedReferences,
    best_poses,
    displacement,
    join_poses,
    log_likelihood,
    with_scores,
)
from livepick_trainer.classification.references import average, damped, residual_noise

__all__ = ["Alignment"]

Stack = NDArray[np.float32]


class Alignment:
    """State of the classification that one pass hands to the next."""

    def __init__(
        self,
        images: Stack,
        *,
        diameter_px: float,
        classes: int,
        seed: int,
        device: torch.device,
        rules: ClassificationRules,
        report: Callable[[str, int, int], None],
    ) -> None:
        self.rules, self.classes, self.device, self.report = rules, classes, device, report
        self.diameter_px, self.box_px = diameter_px, images.shape[-1]
        self.images = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).to(device)
        self.mask = soft_disc(self.box_px, rules.mask_diameters * diameter_px / 2, device)
        self.offset = torch.zeros(len(images), 2, device=device)  # from pick to centre
        self.half = torch.arange(len(images), device=device) % 2
        self.generator = torch.Generator().manual_seed(seed)
        self.done = 0
        self.total = sum(stage.passes for stage in (*rules.sorting, *rules.refining))
        self.found: Poses | None = None

    # Sorting: every particle is compared with every class.

    def sort(self, stage: ClassificationStage) -> None:
        """Run a stage in which every particle is compared with every class."""
        polar, data, noise = self._begin(stage)
        if self.found is None:
            group = group_by_spectrum(data, noise, self.classes, self.generator)
            turn = torch.rand(data.shape[1], generator=self.generator) * (2 * math.pi)
            references = damped(
                *average(data, turn.to(self.device), group, self.classes), noise, polar
            )
        else:
            size_and_mean = average(data, self.found.turn, self.found.label, self.classes)
            references = damped(*size_and_mean, noise, polar)
        shifts = shift_table(stage.shifts_px, self.device)
        phases = polar.phases(shifts)
        first, last = stage.temperature
        for number in range(stage.passes):
            softness = first * (last / first) ** (number / max(1, stage.passes - 1))
            references, noise = self._sorting_pass(
                polar, data, references, noise, phases=phases, softness=softness
            )
            largest = int(torch.bincount(self.poses.label).max())
            self._passed(f"the largest of {self.classes} classes holds {largest} particles")
        self._centre(shifts)
        centre = self._centre_classes()
        softened = self._temperature(polar, data, references, noise, last)
        trial = ShiftedReferences.of(polar, references, noise, phases, temperature=softened)
        self.learned = (trial, shifts, centre)

    def assign(self, images: Stack) -> tuple[Poses, Tensor]:
        """Assign particles that were not used to make the classes.

        Call it after ``sort``. Each particle is compared once, at the resolution of the last
        sorting stage, so the cost is that of one pass.

        Parameters
        ----------
        images
            (N, box, box), normalized in the same way as the sorted particles.

        Returns
        -------
        poses
            Best pose of each particle.
        offset
            (N, 2): position of its centre relative to the pick, (y, x) in pixels of the box.
        """
        trial, shifts, centre = self.learned
        data = trial.polar.transform(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
        there = torch.bincount(self.poses.label, minlength=self.classes) > 0
        found = [
            best_poses(softened, by_class * there)
            for _, softened, _, by_class in self._compared(data, trial)
        ]
        poses = with_scores(join_poses(found), data, trial)
        from_reference = shifts[poses.shift] + centre[poses.label]
        return poses, self._limited(displacement(from_reference, poses.turn))

    def _sorting_pass(
        self,
        polar: Polar,
        data: Tensor,
        references: Tensor,
        noise: Tensor,
        *,
        phases: Tensor,
        softness: float,
    ) -> tuple[Tensor, Tensor]:
        """Compare all particles with all references; return the new references and the noise.

        References are (M, K, R), the noise is (R,).
        """
        trial = ShiftedReferences.of(
            polar,
            references,
            noise,
            phases,
            temperature=self._temperature(polar, data, references, noise, softness),
        )
        sums = torch.zeros_like(trial.against.transpose(1, 2))  # (M, S K, R), conjugate
        size = torch.zeros(self.classes, device=self.device)
        found = []
        for some, softened, share, by_class in self._compared(data, trial):
            size += by_class.sum(0)
            found.append(best_poses(softened, by_class))
            coefficients = torch.fft.rfft(share).permute(2, 1, 0)  # (M, S K, n)
            sums += coefficients @ some.conj()
        self.found = with_scores(join_poses(found), data, trial)
        back = sums.conj().reshape(len(sums), len(phases), self.classes, -1)
        mean = polar.shifted(back, phases.conj()[:, None]).sum(1) / size.clamp(min=1e-3)[:, None]
        references = self._refilled(damped(mean, size, noise, polar), size, data)
        return references, residual_noise(polar, data, mean, size)

    def _compared(
        self, data: Tensor, trial: ShiftedReferences
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield batches of particles: data, softened likelihoods, shares, and shares by class."""
        step = max(8, self._most_values // (len(trial.norm) * trial.polar.angles))
        for start in range(0, data.shape[1], step):
            some = data[:, start : start + step]
            softened = trial.softened(some)
            share = torch.softmax(softened.flatten(1), dim=1).reshape(softened.shape)
            by_class = share.sum(2).reshape(len(share), -1, self.classes).sum(1)
            yield some, softened, share, by_class

    def _temperature(
        self, polar: Polar, data: Tensor, references: Tensor, noise: Tensor, softness: float
    ) -> float:
        """Return the temperature by which likelihoods are divided, at least 1."""
        return max(1.0, softness * self._spread(polar, data, references, polar.density / noise))

    @property
    def _most_values(self) -> int:
        """Number of likelihoods computed at once: fits a processor's cache, or fills a GPU.

        With batches that are ten times larger, a pass takes half as long again on the CPU, because
        everything goes through the main memory.
        """
        return 64_000_000 if self.device.type == "cuda" else 300_000

    @property
    def poses(self) -> Poses:
        """Poses found in the last pass."""
        assert self.found is not None  # noqa: S101 -- sorting comes first
        return self.found

    def _spread(self, polar: Polar, data: Tensor, references: Tensor, weight: Tensor) -> float:
        """Return how far the best class is above the median class, for the median particle."""
        some = data[:, :: max(1, data.shape[1] // 200)]
        norm = polar.power(references) @ weight * polar.angles
        best = log_likelihood(some, references, norm, weight, polar).amax(-1)
        return float((best.amax(1) - best.median(1).values).median())

    def _refilled(self, references: Tensor, size: Tensor, data: Tensor) -> Tensor:
        """Give each empty class the worse half of the largest class."""
        size, found = size.clone(), self.poses
        least = self.rules.empty_share * len(self.images) / self.classes
        for empty in torch.nonzero(size < least)[:, 0].tolist():
            largest = int(size.argmax())
            members = torch.nonzero(found.label == largest)[:, 0]
            if len(members) < 4:
                break
            worse = members[found.score[members].argsort(stable=True)[: len(members) // 2]]
            group = torch.zeros_like(worse)
            references[:, empty] = average(data[:, worse], found.turn[worse], group, 1)[0][:, 0]
            found.label[worse] = empty
            size[empty] = size[largest] = size[largest] / 2
        return references

    # Refining: every particle stays within its class and its half-set.

    def refine(self, stage: ClassificationStage) -> None:
        """Run a stage that compares each particle with its class average in its own half-set."""
        polar, data, noise = self._begin(stage)
        found = self.poses
        column = self.half * self.classes + found.label
        mean, size = average(data, found.turn, column, 2 * self.classes)
        if stage is self.rules.refining[0]:  # remove what the halves know about each other
            both, of_both = average(data, found.turn, found.label, self.classes)
            mean, size = both.repeat(1, 2, 1), of_both.repeat(2)
            mean[..., self.rules.common_ring :] = 0
        references = damped(mean, size, noise, polar)
        shifts = shift_table(stage.shifts_px, self.device)
        phases = polar.phases(shifts)
        weight = polar.density / noise
        for _ in range(stage.passes):
            for number in torch.unique(column).tolist():
                members = torch.nonzero(column == number)[:, 0]
                self._find_poses(
                    data, references[:, number], members, phases=phases, weight=weight, polar=polar
                )
            self._centre(shifts)
            data = polar.transform(shift_images(self.images, -self.offset))
            mean, size = average(data, found.turn, column, 2 * self.classes)
            references = damped(mean, size, noise, polar)
            self._passed(f"poses from rings to {stage.most_ring}")

    def _find_poses(
        self,
        data: Tensor,
        reference: Tensor,
        members: Tensor,
        *,
        phases: Tensor,
        weight: Tensor,
        polar: Polar,
    ) -> None:
        found = self.poses
        tried = polar.shifted(reference, phases)  # (M, S, R)
        norm = polar.power(tried) @ weight * polar.angles
        own = polar.power(data[:, members]) @ weight * polar.angles
        likelihood = log_likelihood(data[:, members], tried, norm, weight, polar)
        highest, place = likelihood.flatten(1).max(1)
        shift = place // polar.angles
        found.shift[members] = shift
        found.turn[members] = (place % polar.angles) * (2 * math.pi / polar.angles)
        length = norm[shift]
        score = (highest + 0.5 * length) / (own * length).clamp(min=1e-12).sqrt()
        found.score[members] = score

    # Shared by sorting and refining.

    def _begin(self, stage: ClassificationStage) -> tuple[Polar, Tensor, Tensor]:
        """Return a stage's polar geometry, the centred particles in it, and their noise."""
        polar = Polar(self.box_px, stage.most_ring, stage.angles, self.mask)
        data = polar.transform(shift_images(self.images, -self.offset))
        noise = polar.power(data).mean(0)
        if self.found is not None:
            mean, size = average(data, self.found.turn, self.found.label, self.classes)
            noise = residual_noise(polar, data, mean, size)
        return polar, data, noise

    def _passed(self, note: str) -> None:
        self.done += 1
        self.report(note, self.done, self.total)

    def _centre(self, shifts: Tensor) -> None:
        """Add the shifts that were found to each particle's offset."""
        found = self.poses
        moved_by = displacement(shifts[found.shift], found.turn)
        self.offset = self._limited(self.offset + moved_by)

    def _centre_classes(self) -> Tensor:
        """Centre each class on the body of its average; return the former centres, (K, 2)."""
        found = self.poses
        size = torch.bincount(found.label, minlength=self.classes).clamp(min=1)
        sums = sum_aligned(self.images, self.offset, found.turn, found.label, self.classes)
        centre = body_centre(
            sums / size[:, None, None],
            diameter_px=self.diameter_px,
            most_px=self.rules.most_centring_diameters * self.diameter_px,
        )
        moved_by = displacement(centre[found.label], found.turn)
        self.offset = self._limited(self.offset + moved_by)
        return centre

    def _limited(self, offset: Tensor) -> Tensor:
        """Return offsets (N, 2), limited to the longest allowed length."""
        most_px = self.rules.most_shift_diameters * self.diameter_px
        length = offset.norm(dim=1, keepdim=True)
        limited: Tensor = offset * (most_px / length.clamp(min=most_px))
        return limited
