"""Reference-free 2D classification: likelihood over class, rotation and shift, in polar Fourier space.

A particle is a set of rings in Fourier space, each a function of the angle; its coefficients
along the angle turn a rotation into a phase. So the agreement of all particles with all
references at all angles is, for each angular frequency, one matrix product over the rings, and
one inverse transform along the angle. Shifts are given to the references, of which there are
few. The same two steps backwards make the new references. That is exact (no interpolation, no
search), and what costs a program that rotates images minutes costs seconds.

Against classes that swallow all others, which noise-limited data and a plain likelihood lead to:

- the first references come from groups of particles with alike rotation-invariant spectra,
  not from random draws, so that what looks different starts apart;
- the likelihood is annealed, from a temperature that the data set;
- a class's own noise is damped by its signal-to-noise ratio in each ring, so that a small class
  does not lose for being small;
- a class pays for being larger than its share, and an empty one takes the worse half of the
  largest.

The last passes run on two half-sets, each aligned only to references of its own that start again
from low resolution: noise aligned to one common reference would agree with itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from livepick_trainer.polar import Polar, moved, shift_table, soft_disc

__all__ = ["Classification", "ClassificationRules", "Stage", "choose_classes", "classify"]

Stack = NDArray[np.float32]
Vector = NDArray[np.float32]


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

    balance: float = 0.5
    """How much a class pays for being larger than its share; 0 nothing, 1 all are made equal."""

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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Classification:
    """What became of each particle, and what the classes look like."""

    label: NDArray[np.int64]
    """(N,): its class, from 0; classes are in order of size, the largest first."""

    probability: Vector
    """(N,): of that class, over all poses."""

    angle_degrees: Vector
    """(N,): turn the class average by this much, from y towards x, to see it as the particle is."""

    shift_yx_px: NDArray[np.float32]
    """(N, 2): where the particle's centre is, seen from the pick, in pixels of the box."""

    score: Vector
    """(N,) in [-1, 1]: correlation with its class average in the best pose, noise-weighted."""

    occupancy: NDArray[np.int64]
    """(K,): particles of each class."""

    averages: Stack
    """(K, box, box)."""

    halves: Stack
    """(2, K, box, box): averages of the particles with even and with odd numbers."""

    half_sizes: NDArray[np.int64]
    """(2, K)."""


def choose_classes(particles: int, rules: ClassificationRules | None = None) -> int:
    """Return the number of classes for so many particles."""
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
    report: Callable[[str, int, int], None] = lambda _note, _done, _total: None,
) -> Classification:
    """Sort particles into classes and average each.

    Parameters
    ----------
    images
        (N, box, box), background 0 ± 1, as from ``particles.cut_particles``.
    diameter_px
        Of the particle.
    classes
        How many; None chooses by the number of particles.
    seed
        The same seed, device and number of threads give the same classes.
    device
        Where to compute.
    rules
        How to classify.
    report
        Called with a sentence, passes done, and passes in total.

    Raises
    ------
    ValueError
        Fewer than two particles a class.
    """
    rules = rules or ClassificationRules()
    classes = classes or choose_classes(len(images), rules)
    if len(images) < 2 * classes:
        raise ValueError(f"{len(images)} particles cannot make {classes} classes")
    with torch.no_grad():
        work = _Work(images, diameter_px, classes, seed, torch.device(device), rules, report)
        for stage in rules.sorting:
            work.sort(stage)
        for stage in rules.refining:
            work.refine(stage)
        return work.result()


# --- the passes -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """The best pose of each particle in a pass; all (N,)."""

    label: Tensor
    probability: Tensor
    turn: Tensor
    """In radians, from x towards y."""
    shift: Tensor
    """Number of the shift."""
    score: Tensor


class _Work:
    """What the passes know of the particles, and hand on to each other."""

    def __init__(
        self,
        images: Stack,
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
        self.bias = torch.zeros(classes, device=device)
        self.done = 0
        self.total = sum(stage.passes for stage in (*rules.sorting, *rules.refining))
        self.found: _Found | None = None

    # Sorting: every particle against every class.

    def sort(self, stage: Stage) -> None:
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
            references, noise = self._sorting_pass(polar, data, references, noise, phases, softness)
            largest = int(torch.bincount(self._poses.label).max())
            self._passed(f"the largest of {self.classes} classes holds {largest} particles")
        self._centre(shifts)

    def _sorting_pass(
        self,
        polar: Polar,
        data: Tensor,
        references: Tensor,
        noise: Tensor,
        phases: Tensor,
        softness: float,
    ) -> tuple[Tensor, Tensor]:
        """Compare all with all, and return new references (M, K, R) and noise (R,)."""
        weight = polar.density / noise
        tried = polar.shifted(references, phases[:, None]).flatten(1, 2)  # (M, S K, R)
        norm = polar.power(tried) @ weight * polar.angles
        temperature = max(1.0, softness * self._spread(polar, data, references, weight))
        sums = torch.zeros_like(tried)
        size = torch.zeros(self.classes, device=self.device)
        found = []
        columns = len(norm) * polar.angles
        for some in data.split(max(8, self._most_values // columns), dim=1):
            likelihood = _agreement(some, tried, norm, weight, polar)
            logits = (likelihood + self.bias.repeat(len(phases))[:, None]) / temperature
            share = torch.softmax(logits.flatten(1), dim=1).reshape(likelihood.shape)
            by_class = share.sum(2).reshape(len(share), -1, self.classes).sum(1)
            size += by_class.sum(0)
            found.append(self._best(likelihood, by_class, polar.power(some) @ weight, norm, polar))
            coefficients = torch.fft.rfft(share).permute(2, 1, 0)  # (M, S K, n)
            sums += coefficients.conj() @ some
        self.found = _Found(
            *(torch.cat([getattr(part, name) for part in found]) for name in _Found.__slots__)
        )
        back = sums.reshape(len(sums), len(phases), self.classes, -1)
        mean = polar.shifted(back, phases.conj()[:, None]).sum(1) / size.clamp(min=1e-3)[:, None]
        references = self._refilled(self._damped(mean, size, noise, polar), size, data)
        self._balance(size, temperature)
        return references, self._residual(polar, data, mean, size)

    @property
    def _most_values(self) -> int:
        """Likelihoods computed at once: what fits a processor's cache, or fills a GPU."""
        return 64_000_000 if self.device.type == "cuda" else 3_000_000

    @property
    def _poses(self) -> _Found:
        assert self.found is not None  # noqa: S101 -- sorting comes first
        return self.found

    def _best(
        self, likelihood: Tensor, by_class: Tensor, own: Tensor, norm: Tensor, polar: Polar
    ) -> _Found:
        """Return each particle's class, and its best pose in it."""
        each = torch.arange(len(likelihood), device=self.device)
        probability, label = by_class.max(1)
        of_class = likelihood.reshape(len(each), -1, self.classes, polar.angles)[each, :, label]
        highest, place = of_class.flatten(1).max(1)
        shift = place // polar.angles
        length = norm[shift * self.classes + label]
        score = (highest + 0.5 * length) / (own * polar.angles * length).clamp(min=1e-12).sqrt()
        turn = (place % polar.angles) * (2 * math.pi / polar.angles)
        return _Found(label, probability, turn, shift, score)

    def _spread(self, polar: Polar, data: Tensor, references: Tensor, weight: Tensor) -> float:
        """Return how much the best and the middling class differ for a middling particle."""
        some = data[:, :: max(1, data.shape[1] // 200)]
        norm = polar.power(references) @ weight * polar.angles
        best = _agreement(some, references, norm, weight, polar).amax(-1)
        return float((best.amax(1) - best.median(1).values).median())

    def _balance(self, size: Tensor, temperature: float) -> None:
        """Let a class pay for being larger than its share."""
        share = len(self.images) / self.classes
        price = self.rules.balance * temperature * (size / share).clamp(min=0.01).log()
        self.bias = (self.bias - price).clamp(-20 * temperature, 5 * temperature)
        self.bias -= self.bias.mean()

    def _refilled(self, references: Tensor, size: Tensor, data: Tensor) -> Tensor:
        """Give each empty class the worse half of the largest."""
        size, found = size.clone(), self._poses
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
            self.bias[empty] = self.bias[largest]
        return references

    # Refining: every particle within its class, and within its half.

    def refine(self, stage: Stage) -> None:
        polar, data, noise = self._begin(stage)
        found = self._poses
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
                self._find_poses(data, references[:, number], members, phases, weight, polar)
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
        phases: Tensor,
        weight: Tensor,
        polar: Polar,
    ) -> None:
        found = self._poses
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
        found = self._poses
        y, x = shifts[found.shift].unbind(1)
        cosine, sine = torch.cos(found.turn), torch.sin(found.turn)
        # The reference was moved, then turned.
        offset = self.offset + torch.stack([y * cosine + x * sine, x * cosine - y * sine], dim=1)
        most_px = self.rules.most_shift_diameters * self.diameter_px
        self.offset = offset * (most_px / offset.norm(dim=1, keepdim=True).clamp(min=most_px))

    def result(self) -> Classification:
        found = self._poses
        occupancy = torch.bincount(found.label, minlength=self.classes)
        rank = occupancy.argsort(descending=True, stable=True)
        label = rank.argsort(stable=True)[found.label]
        kept = int((occupancy > 0).sum())
        column = self.half * kept + label
        sums = _sum_images(self.images, self.offset, found.turn, column, 2 * kept)
        sizes = torch.bincount(column, minlength=2 * kept).reshape(2, kept)
        halves = sums.reshape(2, kept, self.box_px, self.box_px)
        averages = halves.sum(0) / sizes.sum(0)[:, None, None]
        halves = halves / sizes.clamp(min=1)[:, :, None, None]
        return Classification(
            label=label.cpu().numpy(),
            probability=found.probability.cpu().numpy(),
            angle_degrees=torch.rad2deg(found.turn).cpu().numpy(),
            shift_yx_px=self.offset.cpu().numpy(),
            score=found.score.cpu().numpy(),
            occupancy=occupancy[rank][:kept].cpu().numpy(),
            averages=averages.cpu().numpy(),
            halves=halves.cpu().numpy(),
            half_sizes=sizes.cpu().numpy(),
        )


def _agreement(data: Tensor, tried: Tensor, norm: Tensor, weight: Tensor, polar: Polar) -> Tensor:
    """Return log likelihoods (N, Q, A), up to what all poses of a particle share."""
    product = torch.bmm(data * weight, tried.conj().transpose(1, 2))  # (M, N, Q)
    return torch.fft.irfft(product.permute(1, 2, 0), n=polar.angles) - 0.5 * norm[:, None]


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
    return features @ directions[:12].T


def _sum_images(
    images: Tensor, offset: Tensor, turn: Tensor, column: Tensor, columns: int
) -> Tensor:
    """Return sums (columns, box, box) of particles centred and turned back."""
    box_px = images.shape[-1]
    sums = torch.zeros(columns, box_px, box_px, device=images.device)
    grid = torch.arange(box_px, device=images.device, dtype=torch.float32) - box_px // 2
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    for some in torch.arange(len(images), device=images.device).split(512):
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
