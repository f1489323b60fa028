"""The passes of the 2D classification: particles find their poses, references are made anew.

How and why is said in ``classify2d``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from livepick_trainer.polar import Polar, moved, shift_table, soft_disc

__all__ = ["Alignment", "ClassificationRules", "Poses", "Stage"]

Stack = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Some passes at one resolution; after it, each particle is centred where it was found."""

    passes: int
    most_ring: int
    """Finest ring that is compared, as cycles over the box."""
    angles: int
    shifts_px: tuple[float, ...]
    """Radii of the circles on which shifts are tried, with 6 and 12 of them, besides none."""
    temperature: tuple[float, float]
    """At its begin and end, as a fraction of how much the classes differ for a particle; the
    likelihood is never sharpened beyond its own temperature of 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationRules:
    """What the classification is made of; not to be tuned to a data set."""

    particles_per_class: int = 50
    """Fewer in a class show little but noise."""

    least_classes: int = 5
    most_classes: int = 40

    mask_diameters: float = 1.0
    """Diameter of the soft disc that is compared: little of the neighbours, and room to shift."""

    most_shift_diameters: float = 0.3
    """Further off is another particle."""

    empty_share: float = 0.15
    """A class with less than this part of its share is empty."""

    sorting: tuple[Stage, ...] = (
        Stage(passes=6, most_ring=5, angles=32, shifts_px=(3.0,), temperature=(1.0, 0.2)),
        Stage(passes=6, most_ring=6, angles=48, shifts_px=(2.0, 4.0), temperature=(0.2, 0.1)),
    )
    """Particles are sorted by what they are at low resolution: a sixth of the box is a quarter of
    the diameter. On real data finer rings, though weighted by their noise, sorted worse: by
    chance agreement of the noise, and by what denoising and neighbours left."""

    refining: tuple[Stage, ...] = (
        Stage(passes=2, most_ring=10, angles=64, shifts_px=(1.5,), temperature=(0, 0)),
        Stage(passes=2, most_ring=18, angles=96, shifts_px=(1.0,), temperature=(0, 0)),
    )
    """Within its class, each half-set then finds its poses at higher resolution on its own."""

    common_ring: int = 4
    """What the two half-sets' first references have in common."""


@dataclass(slots=True)
class Poses:
    """The best pose of each particle in a pass; all (N,)."""

    label: Tensor
    probability: Tensor
    turn: Tensor
    """In radians, from x towards y."""
    shift: Tensor
    """Number of the shift."""
    score: Tensor


class Alignment:
    """What the passes know of the particles, and hand on to each other."""

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
        self.offset = torch.zeros(len(images), 2, device=device)  # centre seen from the pick
        self.half = torch.arange(len(images), device=device) % 2
        self.generator = torch.Generator().manual_seed(seed)
        self.done = 0
        self.total = sum(stage.passes for stage in (*rules.sorting, *rules.refining))
        self.found: Poses | None = None

    # Sorting: every particle against every class.

    def sort(self, stage: Stage) -> None:
        """Do the passes of a stage in which every particle meets every class."""
        polar, data, noise = self._begin(stage)
        if self.found is None:
            group = _k_means(_invariants(data, noise), self.classes, self.generator)
            turn = torch.rand(data.shape[1], generator=self.generator) * (2 * math.pi)
            references = self._damped(
                *_mean(data, turn.to(self.device), group, self.classes), noise, polar
            )
        else:
            size_and_mean = _mean(data, self.found.turn, self.found.label, self.classes)
            references = self._damped(*size_and_mean, noise, polar)
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
        self.learned = (
            _Trial.of(
                polar,
                references,
                noise,
                phases,
                temperature=self._temperature(polar, data, references, noise, last),
            ),
            shifts,
        )

    def assign(self, images: Stack) -> tuple[Poses, Tensor]:
        """Find the class of particles that the classes were not made from.

        Call it after ``sort``. Each particle is compared once, at the resolution of the last
        sorting stage, so the cost is that of one pass.

        Parameters
        ----------
        images
            (N, box, box), normalized as the particles that were sorted.

        Returns
        -------
        poses
            Of each particle.
        offset
            (N, 2): its centre seen from the pick, (y, x) in pixels of the box.
        """
        trial, shifts = self.learned
        data = trial.polar.transform(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
        there = torch.bincount(self.poses.label, minlength=self.classes) > 0
        found = [
            self._best(some, likelihood, by_class * there, trial)
            for some, likelihood, _, by_class in self._compared(data, trial)
        ]
        poses = _joined(found)
        return poses, self._limited(_displacement(shifts[poses.shift], poses.turn))

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
        """Compare all with all, and return new references (M, K, R) and noise (R,)."""
        trial = _Trial.of(
            polar,
            references,
            noise,
            phases,
            temperature=self._temperature(polar, data, references, noise, softness),
        )
        sums = torch.zeros_like(trial.tried)
        size = torch.zeros(self.classes, device=self.device)
        found = []
        for some, likelihood, share, by_class in self._compared(data, trial):
            size += by_class.sum(0)
            found.append(self._best(some, likelihood, by_class, trial))
            coefficients = torch.fft.rfft(share).permute(2, 1, 0)  # (M, S K, n)
            sums += coefficients.conj() @ some
        self.found = _joined(found)
        back = sums.reshape(len(sums), len(phases), self.classes, -1)
        mean = polar.shifted(back, phases.conj()[:, None]).sum(1) / size.clamp(min=1e-3)[:, None]
        references = self._refilled(self._damped(mean, size, noise, polar), size, data)
        return references, self._residual(polar, data, mean, size)

    def _compared(
        self, data: Tensor, trial: "_Trial"
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield some particles at a time, their likelihoods, shares, and shares by class."""
        step = max(8, self._most_values // (len(trial.norm) * trial.polar.angles))
        for start in range(0, data.shape[1], step):
            some = data[:, start : start + step]
            likelihood = _agreement(some, trial.tried, trial.norm, trial.weight, trial.polar)
            flat = (likelihood / trial.temperature).flatten(1)
            share = torch.softmax(flat, dim=1).reshape(likelihood.shape)
            by_class = share.sum(2).reshape(len(share), -1, self.classes).sum(1)
            yield some, likelihood, share, by_class

    def _temperature(
        self, polar: Polar, data: Tensor, references: Tensor, noise: Tensor, softness: float
    ) -> float:
        """Return by how much likelihoods are softened, at least 1."""
        return max(1.0, softness * self._spread(polar, data, references, polar.density / noise))

    @property
    def _most_values(self) -> int:
        """Likelihoods computed at once: what fits a processor's cache, or fills a GPU."""
        return 64_000_000 if self.device.type == "cuda" else 3_000_000

    @property
    def poses(self) -> Poses:
        """What the last pass found."""
        assert self.found is not None  # noqa: S101 -- sorting comes first
        return self.found

    def _best(self, some: Tensor, likelihood: Tensor, by_class: Tensor, trial: "_Trial") -> Poses:
        """Return each particle's class, and its best pose in it."""
        polar, norm = trial.polar, trial.norm
        own = polar.power(some) @ trial.weight
        each = torch.arange(len(likelihood), device=self.device)
        probability, label = by_class.max(1)
        of_class = likelihood.reshape(len(each), -1, self.classes, polar.angles)[each, :, label]
        highest, place = of_class.flatten(1).max(1)
        shift = place // polar.angles
        length = norm[shift * self.classes + label]
        score = (highest + 0.5 * length) / (own * polar.angles * length).clamp(min=1e-12).sqrt()
        turn = (place % polar.angles) * (2 * math.pi / polar.angles)
        return Poses(label, probability, turn, shift, score)

    def _spread(self, polar: Polar, data: Tensor, references: Tensor, weight: Tensor) -> float:
        """Return how much the best and the middling class differ for a middling particle."""
        some = data[:, :: max(1, data.shape[1] // 200)]
        norm = polar.power(references) @ weight * polar.angles
        best = _agreement(some, references, norm, weight, polar).amax(-1)
        return float((best.amax(1) - best.median(1).values).median())

    def _refilled(self, references: Tensor, size: Tensor, data: Tensor) -> Tensor:
        """Give each empty class the worse half of the largest."""
        size, found = size.clone(), self.poses
        least = self.rules.empty_share * len(self.images) / self.classes
        for empty in torch.nonzero(size < least)[:, 0].tolist():
            largest = int(size.argmax())
            members = torch.nonzero(found.label == largest)[:, 0]
            if len(members) < 4:
                break
            worse = members[found.score[members].argsort(stable=True)[: len(members) // 2]]
            group = torch.zeros_like(worse)
            references[:, empty] = _mean(data[:, worse], found.turn[worse], group, 1)[0][:, 0]
            found.label[worse] = empty
            size[empty] = size[largest] = size[largest] / 2
        return references

    # Refining: every particle within its class, and within its half.

    def refine(self, stage: Stage) -> None:
        """Do the passes of a stage in which a particle meets its class's average of its half."""
        polar, data, noise = self._begin(stage)
        found = self.poses
        column = self.half * self.classes + found.label
        mean, size = _mean(data, found.turn, column, 2 * self.classes)
        if stage is self.rules.refining[0]:  # forget what the halves know of each other
            both, of_both = _mean(data, found.turn, found.label, self.classes)
            mean, size = both.repeat(1, 2, 1), of_both.repeat(2)
            mean[..., self.rules.common_ring :] = 0
        references = self._damped(mean, size, noise, polar)
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
            data = polar.transform(moved(self.images, -self.offset))
            mean, size = _mean(data, found.turn, column, 2 * self.classes)
            references = self._damped(mean, size, noise, polar)
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
        likelihood = _agreement(data[:, members], tried, norm, weight, polar)
        highest, place = likelihood.flatten(1).max(1)
        shift = place // polar.angles
        found.shift[members] = shift
        found.turn[members] = (place % polar.angles) * (2 * math.pi / polar.angles)
        length = norm[shift]
        score = (highest + 0.5 * length) / (own * length).clamp(min=1e-12).sqrt()
        found.score[members] = score

    # Both.

    def _begin(self, stage: Stage) -> tuple[Polar, Tensor, Tensor]:
        """Return a stage's geometry, the centred particles in it, and their noise."""
        polar = Polar(self.box_px, stage.most_ring, stage.angles, self.mask)
        data = polar.transform(moved(self.images, -self.offset))
        noise = polar.power(data).mean(0)
        if self.found is not None:
            mean, size = _mean(data, self.found.turn, self.found.label, self.classes)
            noise = self._residual(polar, data, mean, size)
        return polar, data, noise

    def _residual(self, polar: Polar, data: Tensor, mean: Tensor, size: Tensor) -> Tensor:
        """Return the power of each ring that the averages leave unexplained."""
        total = polar.power(data).mean(0)
        explained = (polar.power(mean) * size[:, None]).sum(0) / data.shape[1]
        return (total - explained).clamp(min=0.05 * total)

    def _damped(self, mean: Tensor, size: Tensor, noise: Tensor, polar: Polar) -> Tensor:
        """Return averages (M, K, R) times their signal's share of each ring's power."""
        power = polar.power(mean)
        of_noise = noise / size.clamp(min=1)[:, None]
        wide = functional.pad((power - of_noise)[:, None], (1, 1), "replicate")
        signal = functional.avg_pool1d(wide, 3, 1)[:, 0].clamp(min=0)
        return mean * (signal / (signal + of_noise).clamp(min=1e-12))

    def _passed(self, note: str) -> None:
        self.done += 1
        self.report(note, self.done, self.total)

    def _centre(self, shifts: Tensor) -> None:
        """Take the shifts found into each particle's offset."""
        found = self.poses
        moved_by = _displacement(shifts[found.shift], found.turn)
        self.offset = self._limited(self.offset + moved_by)

    def _limited(self, offset: Tensor) -> Tensor:
        """Return offsets (N, 2) shortened to the longest that is allowed."""
        most_px = self.rules.most_shift_diameters * self.diameter_px
        length = offset.norm(dim=1, keepdim=True)
        limited: Tensor = offset * (most_px / length.clamp(min=most_px))
        return limited


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """References with all shifts, ready to be compared with particles."""

    polar: Polar
    tried: Tensor
    """(M, S K, R)."""
    norm: Tensor
    """(S K,)."""
    weight: Tensor
    """Of each ring, (R,)."""
    temperature: float

    @classmethod
    def of(
        cls, polar: Polar, references: Tensor, noise: Tensor, phases: Tensor, *, temperature: float
    ) -> Self:
        """Return references (M, K, R) moved by all shifts, against a noise (R,)."""
        weight = polar.density / noise
        tried = polar.shifted(references, phases[:, None]).flatten(1, 2)
        return cls(polar, tried, polar.power(tried) @ weight * polar.angles, weight, temperature)


def _joined(found: Sequence[Poses]) -> Poses:
    return Poses(*(torch.cat([getattr(part, name) for part in found]) for name in Poses.__slots__))


def _displacement(shift: Tensor, turn: Tensor) -> Tensor:
    """Return where particles' centres are whose reference was moved, then turned; (N, 2)."""
    y, x = shift.unbind(1)
    cosine, sine = torch.cos(turn), torch.sin(turn)
    return torch.stack([y * cosine + x * sine, x * cosine - y * sine], dim=1)


def _agreement(data: Tensor, tried: Tensor, norm: Tensor, weight: Tensor, polar: Polar) -> Tensor:
    """Return log likelihoods (N, Q, A), up to what all poses of a particle share."""
    product = torch.bmm(data * weight, tried.conj().transpose(1, 2))  # (M, N, Q)
    cross: Tensor = torch.fft.irfft(product.permute(1, 2, 0), n=polar.angles)
    return cross - 0.5 * norm[:, None]


def _mean(data: Tensor, turn: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return the averages (M, K, R) of particles (M, N, R) turned back, and their numbers (K,)."""
    order = torch.arange(len(data), device=data.device)
    phase = torch.polar(torch.ones(1, device=data.device), order[:, None] * turn)
    share = functional.one_hot(group, groups).T.to(data.dtype)
    size = torch.bincount(group, minlength=groups).float()
    return share @ (data * phase[..., None]) / size.clamp(min=1)[:, None], size


def _invariants(data: Tensor, noise: Tensor) -> Tensor:
    """Return what rotation does not change, (N, F): amplitudes by angular frequency and ring."""
    features = (data[:9].abs() / noise.sqrt()).permute(1, 0, 2).flatten(1)
    features = features - features.mean(0)
    _, _, directions = torch.linalg.svd(
        features[:: max(1, len(features) // 4000)], full_matrices=False
    )
    few: Tensor = features @ directions[:12].T
    return few


def _k_means(features: Tensor, groups: int, generator: torch.Generator, passes: int = 15) -> Tensor:
    """Return the group of each row; the first centres are drawn far from each other."""
    first = int(torch.randint(len(features), (1,), generator=generator))
    centres = features[first : first + 1]
    for _ in range(1, groups):
        distance = torch.cdist(features, centres).amin(1).square().cpu().double()
        drawn = torch.multinomial(distance + 1e-12, 1, generator=generator)
        centres = torch.cat([centres, features[drawn.to(features.device)]])
    group = torch.zeros(len(features), dtype=torch.int64, device=features.device)
    for _ in range(passes):
        group = torch.cdist(features, centres).argmin(1)
        weight = functional.one_hot(group, groups).to(features.dtype)
        size = weight.sum(0)
        mean = (weight.T @ features) / size.clamp(min=1)[:, None]
        centres = torch.where(size[:, None] > 0, mean, centres)
    return group
