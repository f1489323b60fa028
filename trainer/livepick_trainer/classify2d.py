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
    halves: bool = False
    """Whether the two half-sets have references of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationRules:
    """What the classification is made of; not to be tuned to a data set."""

    particles_per_class: int = 50
    """Fewer in a class show little but noise."""

    least_classes: int = 5
    most_classes: int = 40

    mask_diameters: float = 1.3
    """Diameter of the soft disc that is compared: little of the neighbours, and room to shift."""

    most_shift_diameters: float = 0.3
    """Further off is another particle."""

    balance: float = 0.5
    """How much a class pays for being larger than its share; 0 nothing, 1 all are made equal."""

    empty_share: float = 0.15
    """A class with less than this part of its share is empty."""

    stages: tuple[Stage, ...] = (
        Stage(passes=8, most_ring=8, angles=48, shifts_px=(3.0,), temperature=(1.0, 0.1)),
        Stage(passes=5, most_ring=12, angles=72, shifts_px=(2.0, 4.0), temperature=(0.2, 0.05)),
        Stage(
            passes=4,
            most_ring=18,
            angles=96,
            shifts_px=(1.5,),
            temperature=(0.05, 0.02),
            halves=True,
        ),
    )

    common_ring: int = 5
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
        for stage in rules.stages:
            work.run(stage)
        return work.result()


# --- geometry ---------------------------------------------------------------------------------


class _Polar:
    """Rings 1 to R of Fourier space at A angles, and the transform of images to them."""

    def __init__(self, box_px: int, rings: int, angles: int, mask: Tensor) -> None:
        device = mask.device
        self.angles, self.rings, self.box_px = angles, rings, box_px
        theta = torch.arange(angles, device=device) * (2 * math.pi / angles)
        radius = torch.arange(1, rings + 1, device=device, dtype=torch.float32)
        ky = radius[:, None] * torch.sin(theta) / box_px  # cycles per pixel, (R, A)
        kx = radius[:, None] * torch.cos(theta) / box_px
        self.k = torch.stack([ky, kx])  # (2, R, A)
        self.density = (2 * math.pi / angles) * radius * mask.mean()
        """Independent values of the masked image per sample, (R,)."""
        self.inside = mask.flatten() > 0
        grid = torch.arange(box_px, device=device) - box_px // 2
        y, x = torch.meshgrid(grid, grid, indexing="ij")
        half = self.k[:, :, : angles // 2].reshape(2, -1)
        phase = -2 * math.pi * (
            y.flatten()[self.inside, None] * half[0] + x.flatten()[self.inside, None] * half[1]
        )
        weight = mask.flatten()[self.inside, None] / box_px
        self.matrix = torch.cat([torch.cos(phase) * weight, torch.sin(phase) * weight], dim=1)

    def transform(self, images: Tensor) -> Tensor:
        """Return angular coefficients (A/2 + 1, N, R) of images (N, box, box)."""
        parts = []
        for some in images.flatten(1).split(1024):
            values = some[:, self.inside] @ self.matrix
            real, imaginary = values.reshape(len(some), 2, self.rings, -1).unbind(1)
            parts.append(self._coefficients(torch.complex(real, imaginary)))
        return torch.cat(parts, dim=1)

    def _coefficients(self, half: Tensor) -> Tensor:
        whole = torch.cat([half, half.conj()], dim=-1)  # the image is real
        return torch.fft.fft(whole)[..., : self.angles // 2 + 1].permute(2, 0, 1).contiguous()

    def shifted(self, coefficients: Tensor, phases: Tensor) -> Tensor:
        """Multiply (M, ..., R) by phases that broadcast to (..., R, A) in the angle's own space."""
        return self._forward(self.values(coefficients) * phases)

    def values(self, coefficients: Tensor) -> Tensor:
        """Return the samples (..., R, A) of coefficients (M, ..., R)."""
        some = coefficients.movedim(0, -1)  # (..., R, M)
        sign = torch.ones(self.angles // 2 + 1, device=some.device)
        sign[1::2] = -1
        negative = (some * sign).conj()[..., 1:-1].flip(-1)
        return torch.fft.ifft(torch.cat([some, negative], dim=-1))

    def _forward(self, values: Tensor) -> Tensor:
        return torch.fft.fft(values)[..., : self.angles // 2 + 1].movedim(-1, 0).contiguous()

    def phases(self, shifts: Tensor) -> Tensor:
        """Return the phases (S, R, A) that move an image by shifts (S, 2), (y, x) in pixels."""
        angle = -2 * math.pi * torch.einsum("sd,dra->sra", shifts, self.k)
        return torch.polar(torch.ones_like(angle), angle)


def _soft_disc(box_px: int, radius_px: float, device: torch.device, edge_px: float = 3.0) -> Tensor:
    grid = torch.arange(box_px, device=device) - box_px // 2
    distance = torch.hypot(*(g.float() for g in torch.meshgrid(grid, grid, indexing="ij")))
    beyond = ((distance - radius_px) / edge_px).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(math.pi * beyond)


def _shift_table(radii_px: tuple[float, ...], device: torch.device) -> Tensor:
    shifts = [(0.0, 0.0)]
    for number, radius in enumerate(radii_px, start=1):
        for step in range(6 * number):
            angle = 2 * math.pi * step / (6 * number)
            shifts.append((radius * math.sin(angle), radius * math.cos(angle)))
    return torch.tensor(shifts, device=device)


def _moved(images: Tensor, shifts_px: Tensor) -> Tensor:
    """Return images (N, box, box) moved by shifts (N, 2), around the edges."""
    box_px = images.shape[-1]
    moved = []
    for some, shift in zip(images.split(512), shifts_px.split(512), strict=True):
        ky = torch.fft.fftfreq(box_px, device=images.device)
        kx = torch.fft.rfftfreq(box_px, device=images.device)
        angle = -2 * math.pi * (
            shift[:, 0, None, None] * ky[:, None] + shift[:, 1, None, None] * kx
        )
        spectrum = torch.fft.rfft2(some) * torch.polar(torch.ones_like(angle), angle)
        moved.append(torch.fft.irfft2(spectrum, s=(box_px, box_px)))
    return torch.cat(moved)


# --- the passes -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """The best pose of each particle in a pass."""

    label: Tensor
    probability: Tensor
    angle: Tensor
    """Number of the angle."""
    shift: Tensor
    """Number of the shift."""
    score: Tensor


class _Work:
    """State between the passes."""

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
        self.diameter_px = diameter_px
        self.images = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        self.box_px = images.shape[-1]
        self.mask = _soft_disc(self.box_px, rules.mask_diameters * diameter_px / 2, device)
        self.offset = torch.zeros(len(images), 2, device=device)  # centre seen from the pick
        self.generator = torch.Generator().manual_seed(seed)
        self.bias = torch.zeros(classes, device=device)
        self.references: Tensor | None = None  # (M, halves, K, R)
        self.noise: Tensor | None = None
        self.half = torch.arange(len(images), device=device) % 2
        self.done, self.total = 0, sum(stage.passes for stage in rules.stages)
        self.found: _Found

    # A stage: transform at its resolution, passes, centre.
    def run(self, stage: Stage) -> None:
        polar = _Polar(self.box_px, stage.most_ring, stage.angles, self.mask)
        data = polar.transform(_moved(self.images, -self.offset))
        power = self._ring_power(data, stage.angles)
        if self.references is None:
            noise = power.mean(0)
            references = self._first_references(polar, data, noise)[:, None]
        else:
            noise, references = self._carried(polar, data, power, stage)
        shifts = _shift_table(stage.shifts_px, self.device)
        phases = polar.phases(shifts)
        first, last = stage.temperature
        for number in range(stage.passes):
            part = number / max(1, stage.passes - 1)
            references, noise = self._pass(
                polar, data, power, references, noise, phases, first * (last / first) ** part
            )
            self.done += 1
            occupied = torch.bincount(self.found.label, minlength=self.classes)
            self.report(
                f"rings to {stage.most_ring}: the largest of {self.classes} classes holds"
                f" {int(occupied.max())} of {len(self.images)} particles",
                self.done,
                self.total,
            )
        self._centre(shifts, stage.angles)
        self.references, self.noise = references, noise

    def _ring_power(self, data: Tensor, angles: int) -> Tensor:
        """Return the mean power of each particle's rings, (N, R)."""
        total = data.abs().square()
        whole = 2 * total.sum(0) - total[0] - total[-1]
        return whole / angles**2

    def _carried(
        self, polar: _Polar, data: Tensor, power: Tensor, stage: Stage
    ) -> tuple[Tensor, Tensor]:
        """Return noise and references at a stage's resolution, from the poses found before."""
        found = self.found
        turn = found.angle.float() * (2 * math.pi / self.angles_before)
        sets = self.half if stage.halves else torch.zeros_like(self.half)
        count = 2 if stage.halves else 1
        weight = torch.zeros(len(data[0]), count * self.classes, device=self.device)
        weight[torch.arange(len(weight)), sets * self.classes + found.label] = 1
        order = torch.arange(data.shape[0], device=self.device)
        aligned = data * torch.polar(torch.ones(1, device=self.device), order[:, None] * turn)[..., None]
        sums = torch.einsum("nk,mnr->mkr", weight.to(aligned.dtype), aligned)
        size = weight.sum(0)
        noise = power.mean(0)
        references = sums / size.clamp(min=1)[None, :, None]
        references = references.reshape(len(order), count, self.classes, -1)
        if stage.halves:
            common = references.mean(1, keepdim=True)
            ring = torch.arange(1, polar.rings + 1, device=self.device)
            references = torch.where(ring <= self.rules.common_ring, common, torch.zeros_like(common))
            references = references.expand(-1, 2, -1, -1).clone()
        kept = min(polar.rings, len(self.noise)) if self.noise is not None else 0
        if self.noise is not None:
            noise = noise.clone()
            noise[:kept] = self.noise[:kept]
        return noise, references

    def _first_references(self, polar: _Polar, data: Tensor, noise: Tensor) -> Tensor:
        """Return references (M, K, R): averages, not aligned, of particles with alike spectra."""
        features = self._invariants(data, noise)
        group = _k_means(features, self.classes, self.generator)
        turn = torch.rand(data.shape[1], generator=self.generator).to(self.device) * (2 * math.pi)
        order = torch.arange(data.shape[0], device=self.device)
        turned = data * torch.polar(torch.ones(1, device=self.device), order[:, None] * turn)[..., None]
        weight = functional.one_hot(group, self.classes).to(turned.dtype)
        sums = torch.einsum("nk,mnr->mkr", weight, turned)
        size = weight.real.sum(0)
        return self._damped(sums / size.clamp(min=1)[:, None], size, noise, polar.angles)

    @staticmethod
    def _invariants(data: Tensor, noise: Tensor) -> Tensor:
        """Return what rotation does not change: amplitudes by angular frequency and ring."""
        few = data[:9].abs() / noise.sqrt()  # (9, N, R)
        features = few.permute(1, 0, 2).flatten(1)
        features = features - features.mean(0)
        _, _, directions = torch.linalg.svd(features[:4096], full_matrices=False)
        return features @ directions[:12].T

    def _damped(self, mean: Tensor, size: Tensor, noise: Tensor, angles: int) -> Tensor:
        """Return averages (M, ..., R) times their signal's share of each ring's power."""
        total = mean.abs().square()
        power = (2 * total.sum(0) - total[0] - total[-1]) / angles**2  # (..., R)
        of_noise = noise / size.clamp(min=1)[..., None]
        smooth = functional.avg_pool1d(
            functional.pad((power - of_noise).reshape(-1, 1, power.shape[-1]), (1, 1), "replicate"), 3, 1
        ).reshape(power.shape)
        smooth_power = (smooth + of_noise).clamp(min=1e-12)
        return mean * (smooth / smooth_power).clamp(0, 1)

    def _pass(
        self,
        polar: _Polar,
        data: Tensor,
        power: Tensor,
        references: Tensor,
        noise: Tensor,
        phases: Tensor,
        softness: float,
    ) -> tuple[Tensor, Tensor]:
        """Compare all particles with all references, and return new references and noise."""
        count = references.shape[1]
        weight = polar.density / noise  # (R,)
        sums = torch.zeros_like(references)
        size = torch.zeros(count, self.classes, device=self.device)
        found: list[tuple[Tensor, _Found]] = []
        explained = torch.zeros_like(noise)
        spread = self._spread(polar, data, references, phases, weight)
        temperature = max(1.0, softness * spread)
        for half in range(count):
            members = (
                torch.arange(data.shape[1], device=self.device)
                if count == 1
                else torch.nonzero(self.half == half)[:, 0]
            )
            moved = polar.shifted(references[:, half], phases[:, None]) # (M, S, K, R)
            moved = moved.flatten(1, 2)
            norm = self._norm(moved, weight, polar.angles)
            gathered = torch.zeros_like(moved)
            for some in members.split(self._chunk(moved.shape[1], polar.angles)):
                result, share, chosen = self._compare(
                    data[:, some], power[some], moved, norm, weight, polar, temperature
                )
                gathered += torch.einsum("mnq,mnr->mqr", share.conj(), data[:, some])
                size[half] += share[0].real.reshape(len(some), -1, self.classes).sum((0, 1))
                found.append((some, chosen))
                explained += result
            back = gathered.reshape(len(gathered), len(phases), self.classes, -1)
            sums[:, half] = polar.shifted(back, phases.conj()[:, None]).sum(1)
        self.found = _in_order(found, data.shape[1])
        self.angles_before = polar.angles
        mean = sums / size.clamp(min=1e-3)[None, :, :, None]
        new = self._damped(mean, size, noise, polar.angles)
        new = self._refill(new, size, data, polar)
        fair = len(self.images) / self.classes
        crowd = (size.sum(0).clamp(min=0.01 * fair) / fair).log()
        self.bias = (self.bias - self.rules.balance * temperature * crowd).clamp(
            -20 * temperature, 5 * temperature
        )
        self.bias -= self.bias.mean()
        residual = power.mean(0) - explained / data.shape[1]
        return new, residual.clamp(min=0.05 * power.mean(0))

    def _chunk(self, columns: int, angles: int) -> int:
        most = 64_000_000 if self.device.type == "cuda" else 3_000_000
        return max(8, most // (columns * angles))

    def _norm(self, moved: Tensor, weight: Tensor, angles: int) -> Tensor:
        total = moved.abs().square()
        power = (2 * total.sum(0) - total[0] - total[-1]) / angles  # sum over angles
        return power @ weight  # (Q,)

    def _agreement(
        self, data: Tensor, moved: Tensor, norm: Tensor, weight: Tensor, polar: _Polar
    ) -> Tensor:
        """Return log likelihoods (N, Q, A) up to what all poses of a particle share."""
        product = torch.bmm(data * weight, moved.conj().transpose(1, 2))  # (M, N, Q)
        cross = torch.fft.irfft(product.permute(1, 2, 0), n=polar.angles)
        return cross - 0.5 * norm[:, None]

    def _spread(
        self, polar: _Polar, data: Tensor, references: Tensor, phases: Tensor, weight: Tensor
    ) -> float:
        """Return how much the best and the middling class differ for a middling particle."""
        some = data[:, :: max(1, data.shape[1] // 200)]
        still = references[:, 0]
        likelihood = self._agreement(
            some, still, self._norm(still, weight, polar.angles), weight, polar
        ).amax(-1)
        return float((likelihood.amax(1) - likelihood.median(1).values).median())

    def _compare(
        self,
        data: Tensor,
        power: Tensor,
        moved: Tensor,
        norm: Tensor,
        weight: Tensor,
        polar: _Polar,
        temperature: float,
    ) -> tuple[Tensor, Tensor, _Found]:
        likelihood = self._agreement(data, moved, norm, weight, polar)
        number = len(likelihood)
        bias = self.bias.repeat(len(norm) // self.classes)
        logits = ((likelihood + bias[:, None]) / temperature).flatten(1)
        share = torch.softmax(logits, dim=1).reshape(likelihood.shape)
        by_class = share.sum(2).reshape(number, -1, self.classes).sum(1)
        probability, label = by_class.max(1)
        own = likelihood.reshape(number, -1, self.classes, polar.angles)[
            torch.arange(number, device=data.device), :, label
        ]  # (N, S, A)
        best = own.flatten(1).argmax(1)
        shift, angle = best // polar.angles, best % polar.angles
        column = shift * self.classes + label
        chosen = likelihood[torch.arange(number, device=data.device), column, angle]
        cross = chosen + 0.5 * norm[column]
        own_norm = power @ (weight * polar.angles)
        score = cross / (own_norm * norm[column]).clamp(min=1e-12).sqrt()
        coefficients = torch.fft.rfft(share).permute(2, 0, 1)
        # Power that the references explain, ring by ring: 2 <P, R> - |R|^2 in the best pose.
        order = torch.arange(len(coefficients), device=data.device)
        turn = torch.polar(
            torch.ones(1, device=data.device), order[:, None] * angle * (2 * math.pi / polar.angles)
        )
        reference = moved[:, column]
        difference = 2 * (data * turn[..., None] * reference.conj()).real - reference.abs().square()
        whole = (2 * difference.sum(0) - difference[0] - difference[-1]) / polar.angles**2
        return whole.sum(0), coefficients, _Found(label, probability, angle, shift, score)

    def _refill(self, references: Tensor, size: Tensor, data: Tensor, polar: _Polar) -> Tensor:
        """Give each empty class the worse half of the largest, which keeps the better half."""
        occupied = size.sum(0)
        least = self.rules.empty_share * len(self.images) / self.classes
        found = self.found
        order = torch.arange(data.shape[0], device=self.device)
        for empty in torch.nonzero(occupied < least)[:, 0].tolist():
            largest = int(occupied.argmax())
            members = torch.nonzero(found.label == largest)[:, 0]
            if len(members) < 4:
                break
            worse = members[found.score[members].argsort(stable=True)[: len(members) // 2]]
            turn = found.angle[worse] * (2 * math.pi / polar.angles)
            phase = torch.polar(torch.ones(1, device=self.device), order[:, None] * turn)
            mean = (data[:, worse] * phase[..., None]).mean(1)  # (M, R)
            references[:, :, empty] = mean[:, None]
            found.label[worse] = empty
            occupied[empty] = occupied[largest] = occupied[largest] / 2
            self.bias[empty] = self.bias[largest]
        return references

    def _centre(self, shifts: Tensor, angles: int) -> None:
        """Take the shifts found into each particle's offset."""
        turn = self.found.angle * (2 * math.pi / angles)
        y, x = shifts[self.found.shift].unbind(1)
        # The reference was moved, then turned; angles run from x towards y.
        turned = torch.stack(
            [y * torch.cos(turn) + x * torch.sin(turn), x * torch.cos(turn) - y * torch.sin(turn)], 1
        )
        offset = self.offset + turned
        most = self.rules.most_shift_diameters * self.diameter_px
        length = offset.norm(dim=1, keepdim=True).clamp(min=1e-6)
        self.offset = offset * (most / length).clamp(max=1)

    def result(self) -> Classification:
        found = self.found
        occupancy = torch.bincount(found.label, minlength=self.classes)
        rank = occupancy.argsort(descending=True, stable=True)
        place = rank.argsort(stable=True)
        label = place[found.label]
        turn = found.angle.float() * (2 * math.pi / self.angles_before)
        sums, sizes = _average(self.images, self.offset, turn, label, self.half, self.classes)
        averages = sums.sum(0) / sizes.sum(0).clamp(min=1)[:, None, None]
        halves = sums / sizes.clamp(min=1)[:, :, None, None]
        return Classification(
            label=label.cpu().numpy(),
            probability=found.probability.cpu().numpy(),
            angle_degrees=torch.rad2deg(turn).cpu().numpy(),
            shift_yx_px=self.offset.cpu().numpy(),
            score=found.score.cpu().numpy(),
            occupancy=occupancy[rank].cpu().numpy(),
            averages=averages.cpu().numpy(),
            halves=halves.cpu().numpy(),
            half_sizes=sizes.to(torch.int64).cpu().numpy(),
        )


def _in_order(found: list[tuple[Tensor, _Found]], number: int) -> _Found:
    index = torch.cat([some for some, _ in found])
    place = torch.empty(number, dtype=torch.int64, device=index.device)
    place[index] = torch.arange(number, device=index.device)
    return _Found(
        *(
            torch.cat([getattr(part, name) for _, part in found])[place]
            for name in ("label", "probability", "angle", "shift", "score")
        )
    )


def _average(
    images: Tensor, offset: Tensor, turn: Tensor, label: Tensor, half: Tensor, classes: int
) -> tuple[Tensor, Tensor]:
    """Return sums (2, K, box, box) of particles turned into their class's frame, and counts."""
    box_px = images.shape[-1]
    sums = torch.zeros(2 * classes, box_px, box_px, device=images.device)
    column = half * classes + label
    middle = box_px // 2
    for some in torch.arange(len(images), device=images.device).split(512):
        centred = _moved(images[some], -offset[some])
        cosine, sine = torch.cos(turn[some]), torch.sin(turn[some])
        grid = torch.arange(box_px, device=images.device, dtype=torch.float32) - middle
        y, x = torch.meshgrid(grid, grid, indexing="ij")
        from_x = cosine[:, None, None] * x - sine[:, None, None] * y
        from_y = sine[:, None, None] * x + cosine[:, None, None] * y
        at = torch.stack([from_x, from_y], -1)
        at = (at + middle) * 2 / (box_px - 1) - 1
        turned = functional.grid_sample(
            centred[:, None], at, mode="bicubic", padding_mode="border", align_corners=True
        )[:, 0]
        sums.index_add_(0, column[some], turned)
    sizes = torch.bincount(column, minlength=2 * classes).float()
    return sums.reshape(2, classes, box_px, box_px), sizes.reshape(2, classes)


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
