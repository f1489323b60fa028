"""Passes of the 2D classification: find the particles' poses, then recompute the references.

The method and its reasons are described in ``classify2d``.
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

from livepick_trainer.classification.polar import Polar, moved, shift_table, soft_disc

__all__ = ["Alignment", "ClassificationRules", "Poses", "Stage", "sum_images"]

Stack = NDArray[np.float32]

BODY_BLUR_DIAMETERS = 0.05
"""Standard deviation of the blur applied before the body of an average is located, in diameters."""

BODY_FLOOR = 0.05
"""Fraction of the peak brightness; fainter pixels are not part of the body."""

CENTRING_STEPS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Passes at one resolution; afterwards each particle is centred where it was found."""

    passes: int
    most_ring: int
    """Finest ring that is compared, in cycles per box."""
    angles: int
    shifts_px: tuple[float, ...]
    """Radii of the circles on which shifts are tried, with 6 shifts on the first and 12 on the
    second; no shift is always tried, too."""
    temperature: tuple[float, float]
    """Temperature at the start and at the end, as a fraction of how much the classes differ for
    a particle; the likelihood is never sharpened beyond its own temperature of 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationRules:
    """Parameters of the classification; do not tune them to a data set."""

    particles_per_class: int = 50
    """Particles per class; the average of fewer shows mostly noise."""

    least_classes: int = 5
    most_classes: int = 40

    mask_diameters: float = 1.0
    """Diameter of the soft disc that is compared: it holds little of the neighbours and leaves room
    to shift."""

    most_shift_diameters: float = 0.4
    """Longest shift; anything further away is another particle."""

    most_centring_diameters: float = 0.25
    """Longest shift when a class is centred; a class whose body is further off its centre shows
    something between particles."""

    empty_share: float = 0.15
    """A class with less than this fraction of its share counts as empty."""

    sorting: tuple[Stage, ...] = (
        Stage(passes=6, most_ring=5, angles=32, shifts_px=(3.0,), temperature=(1.0, 0.2)),
        Stage(passes=6, most_ring=6, angles=48, shifts_px=(2.0, 4.0), temperature=(0.2, 0.1)),
    )
    """Sorting stages. Particles are sorted at low resolution: a sixth of the box is a quarter of
    the diameter. On real data, finer rings gave worse classes even though they are weighted by
    their noise: particles were sorted by chance agreement of the noise, and by traces of denoising
    and neighbours."""

    refining: tuple[Stage, ...] = (
        Stage(passes=2, most_ring=10, angles=64, shifts_px=(1.5,), temperature=(0, 0)),
        Stage(passes=2, most_ring=18, angles=96, shifts_px=(1.0,), temperature=(0, 0)),
    )
    """Refining stages. Within a class, each half-set finds its poses at higher resolution,
    independently of the other."""

    common_ring: int = 4
    """Rings up to this one are shared by the first references of the two half-sets."""


@dataclass(slots=True)
class Poses:
    """Best pose of each particle in a pass; all fields are (N,)."""

    label: Tensor
    probability: Tensor
    turn: Tensor
    """In-plane rotation, in radians, from x towards y."""
    shift: Tensor
    """Index of the shift in the shift table."""
    score: Tensor


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

    def sort(self, stage: Stage) -> None:
        """Run a stage in which every particle is compared with every class."""
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
        centre = self._centre_classes()
        softened = self._temperature(polar, data, references, noise, last)
        trial = _Trial.of(polar, references, noise, phases, temperature=softened)
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
            self._best(some, likelihood, by_class * there, trial)
            for some, likelihood, _, by_class in self._compared(data, trial)
        ]
        poses = _joined(found)
        from_reference = shifts[poses.shift] + centre[poses.label]
        return poses, self._limited(_displacement(from_reference, poses.turn))

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
        """Yield batches of particles with their likelihoods, shares, and shares by class."""
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
        """Return the temperature by which likelihoods are divided, at least 1."""
        return max(1.0, softness * self._spread(polar, data, references, polar.density / noise))

    @property
    def _most_values(self) -> int:
        """Number of likelihoods computed at once: fits a processor's cache, or fills a GPU."""
        return 64_000_000 if self.device.type == "cuda" else 3_000_000

    @property
    def poses(self) -> Poses:
        """Poses found in the last pass."""
        assert self.found is not None  # noqa: S101 -- sorting comes first
        return self.found

    def _best(self, some: Tensor, likelihood: Tensor, by_class: Tensor, trial: "_Trial") -> Poses:
        """Return each particle's class and its best pose in that class."""
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
        """Return how far the best class is above the median class, for the median particle."""
        some = data[:, :: max(1, data.shape[1] // 200)]
        norm = polar.power(references) @ weight * polar.angles
        best = _agreement(some, references, norm, weight, polar).amax(-1)
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
            references[:, empty] = _mean(data[:, worse], found.turn[worse], group, 1)[0][:, 0]
            found.label[worse] = empty
            size[empty] = size[largest] = size[largest] / 2
        return references

    # Refining: every particle stays within its class and its half-set.

    def refine(self, stage: Stage) -> None:
        """Run a stage that compares each particle with its class average in its own half-set."""
        polar, data, noise = self._begin(stage)
        found = self.poses
        column = self.half * self.classes + found.label
        mean, size = _mean(data, found.turn, column, 2 * self.classes)
        if stage is self.rules.refining[0]:  # remove what the halves know about each other
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

    # Shared by sorting and refining.

    def _begin(self, stage: Stage) -> tuple[Polar, Tensor, Tensor]:
        """Return a stage's polar geometry, the centred particles in it, and their noise."""
        polar = Polar(self.box_px, stage.most_ring, stage.angles, self.mask)
        data = polar.transform(moved(self.images, -self.offset))
        noise = polar.power(data).mean(0)
        if self.found is not None:
            mean, size = _mean(data, self.found.turn, self.found.label, self.classes)
            noise = self._residual(polar, data, mean, size)
        return polar, data, noise

    def _residual(self, polar: Polar, data: Tensor, mean: Tensor, size: Tensor) -> Tensor:
        """Return the power in each ring that the averages do not explain."""
        total = polar.power(data).mean(0)
        explained = (polar.power(mean) * size[:, None]).sum(0) / data.shape[1]
        return (total - explained).clamp(min=0.05 * total)

    def _damped(self, mean: Tensor, size: Tensor, noise: Tensor, polar: Polar) -> Tensor:
        """Return averages (M, K, R), multiplied by the signal's share of each ring's power."""
        power = polar.power(mean)
        of_noise = noise / size.clamp(min=1)[:, None]
        wide = functional.pad((power - of_noise)[:, None], (1, 1), "replicate")
        signal = functional.avg_pool1d(wide, 3, 1)[:, 0].clamp(min=0)
        return mean * (signal / (signal + of_noise).clamp(min=1e-12))

    def _passed(self, note: str) -> None:
        self.done += 1
        self.report(note, self.done, self.total)

    def _centre(self, shifts: Tensor) -> None:
        """Add the shifts that were found to each particle's offset."""
        found = self.poses
        moved_by = _displacement(shifts[found.shift], found.turn)
        self.offset = self._limited(self.offset + moved_by)

    def _centre_classes(self) -> Tensor:
        """Centre each class on the body of its average; return the former centres, (K, 2)."""
        found = self.poses
        size = torch.bincount(found.label, minlength=self.classes).clamp(min=1)
        sums = sum_images(self.images, self.offset, found.turn, found.label, self.classes)
        centre = _body_centre(
            sums / size[:, None, None],
            diameter_px=self.diameter_px,
            most_px=self.rules.most_centring_diameters * self.diameter_px,
        )
        moved_by = _displacement(centre[found.label], found.turn)
        self.offset = self._limited(self.offset + moved_by)
        return centre

    def _limited(self, offset: Tensor) -> Tensor:
        """Return offsets (N, 2), limited to the longest allowed length."""
        most_px = self.rules.most_shift_diameters * self.diameter_px
        length = offset.norm(dim=1, keepdim=True)
        limited: Tensor = offset * (most_px / length.clamp(min=most_px))
        return limited


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """References at all shifts, ready to be compared with particles."""

    polar: Polar
    tried: Tensor
    """Shifted references, (M, S K, R)."""
    norm: Tensor
    """Weighted power of each, (S K,)."""
    weight: Tensor
    """Weight of each ring, (R,)."""
    temperature: float

    @classmethod
    def of(
        cls, polar: Polar, references: Tensor, noise: Tensor, phases: Tensor, *, temperature: float
    ) -> Self:
        """Return references (M, K, R) moved by all shifts, weighted by a noise (R,)."""
        weight = polar.density / noise
        tried = polar.shifted(references, phases[:, None]).flatten(1, 2)
        return cls(polar, tried, polar.power(tried) @ weight * polar.angles, weight, temperature)


def _joined(found: Sequence[Poses]) -> Poses:
    return Poses(*(torch.cat([getattr(part, name) for part in found]) for name in Poses.__slots__))


def _displacement(shift: Tensor, turn: Tensor) -> Tensor:
    """Return the displacement of particles whose reference was shifted, then rotated; (N, 2)."""
    y, x = shift.unbind(1)
    cosine, sine = torch.cos(turn), torch.sin(turn)
    return torch.stack([y * cosine + x * sine, x * cosine - y * sine], dim=1)


def _agreement(data: Tensor, tried: Tensor, norm: Tensor, weight: Tensor, polar: Polar) -> Tensor:
    """Return log likelihoods (N, Q, A), up to a term that all poses of a particle share."""
    product = torch.bmm(data * weight, tried.conj().transpose(1, 2))  # (M, N, Q)
    cross: Tensor = torch.fft.irfft(product.permute(1, 2, 0), n=polar.angles)
    return cross - 0.5 * norm[:, None]


def _mean(data: Tensor, turn: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return averages (M, K, R) of particles (M, N, R) rotated back, and the group sizes (K,)."""
    order = torch.arange(len(data), device=data.device)
    phase = torch.polar(torch.ones(1, device=data.device), order[:, None] * turn)
    share = functional.one_hot(group, groups).T.to(data.dtype)
    size = torch.bincount(group, minlength=groups).float()
    return share @ (data * phase[..., None]) / size.clamp(min=1)[:, None], size


def _invariants(data: Tensor, noise: Tensor) -> Tensor:
    """Return rotation-invariant features, (N, F), of amplitudes by angular frequency and ring."""
    features = (data[:9].abs() / noise.sqrt()).permute(1, 0, 2).flatten(1)
    features = features - features.mean(0)
    _, _, directions = torch.linalg.svd(
        features[:: max(1, len(features) // 4000)], full_matrices=False
    )
    few: Tensor = features @ directions[:12].T
    return few


def _k_means(features: Tensor, groups: int, generator: torch.Generator, passes: int = 15) -> Tensor:
    """Return the group of each row; the initial centres are drawn far apart."""
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


def _body_centre(averages: Tensor, *, diameter_px: float, most_px: float) -> Tensor:
    """Return the centre (K, 2) of the bright body in averages (K, box, box), from the middle.

    A disc as wide as the particle is moved to its own centre of mass, ``CENTRING_STEPS`` times
    (mean shift: Comaniciu and Meer 2002, *IEEE PAMI* 24, 603).
    """
    box_px = averages.shape[-1]
    ky = torch.fft.fftfreq(box_px, device=averages.device)[:, None]
    kx = torch.fft.rfftfreq(box_px, device=averages.device)
    blur = torch.exp(-2 * (math.pi * BODY_BLUR_DIAMETERS * diameter_px) ** 2 * (ky**2 + kx**2))
    smooth = torch.fft.irfft2(torch.fft.rfft2(averages) * blur, s=(box_px, box_px))
    grid = torch.arange(box_px, device=averages.device, dtype=torch.float32) - box_px // 2
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    inside = torch.hypot(y, x) <= diameter_px / 2
    above = smooth - smooth[:, ~inside].median(1).values[:, None, None]
    highest = (above * inside).amax((1, 2))[:, None, None]
    mass = (above - BODY_FLOOR * highest).clamp(min=0)
    centre = torch.zeros(len(averages), 2, device=averages.device)
    for _ in range(CENTRING_STEPS):
        away = torch.hypot(y - centre[:, :1, None], x - centre[:, 1:, None])
        here = mass * (away <= diameter_px / 2)
        total = here.sum((1, 2)).clamp(min=1e-6)
        centre = torch.stack([(here * y).sum((1, 2)), (here * x).sum((1, 2))], dim=1)
        centre = centre / total[:, None]
        length = centre.norm(dim=1, keepdim=True)
        centre = centre * (most_px / length.clamp(min=most_px))
    return centre


def sum_images(
    images: Tensor, offset: Tensor, turn: Tensor, column: Tensor, columns: int
) -> Tensor:
    """Return sums (columns, box, box) of the centred particles, rotated back.

    Parameters
    ----------
    images
        (N, box, box).
    offset
        (N, 2): positions of their centres relative to the picks, (y, x) in pixels.
    turn
        (N,): rotations in radians, from x towards y.
    column, columns
        (N,): index of the sum that each particle is added to, and the number of sums.
    """
    box_px = images.shape[-1]
    sums = torch.zeros(columns, box_px, box_px, device=images.device)
    grid = torch.arange(box_px, device=images.device, dtype=torch.float32) - box_px // 2
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    for first in range(0, len(images), 512):
        some = slice(first, first + 512)
        cosine, sine = (f(turn[some])[:, None, None] for f in (torch.cos, torch.sin))
        at = torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)
        turned = functional.grid_sample(
            moved(images[some], -offset[some])[:, None],
            (at + box_px // 2) * 2 / (box_px - 1) - 1,
            mode="bicubic",
            padding_mode="border",
            align_corners=True,
        )
        sums.index_add_(0, column[some], turned[:, 0])
    return sums
