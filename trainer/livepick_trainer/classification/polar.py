"""Images sampled on rings in Fourier space; a rotation is a phase of each angular frequency."""

import math

import torch
from torch import Tensor

__all__ = ["Polar", "shift_images", "shift_table", "soft_disc"]


class Polar:
    """Rings 1 to R of Fourier space sampled at A angles, and the transform of images to them."""

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
        phase = (
            -2
            * math.pi
            * (y.flatten()[self.inside, None] * half[0] + x.flatten()[self.inside, None] * half[1])
        )
        weight = mask.flatten()[self.inside, None] / box_px
        self.matrix = torch.cat([torch.cos(phase) * weight, torch.sin(phase) * weight], dim=1)

    def transform(self, images: Tensor) -> Tensor:
        """Return angular coefficients (A/2 + 1, N, R) of images (N, box, box)."""
        parts = []
        for first in range(0, len(images), 1024):
            some = images[first : first + 1024].flatten(1)
            values = some[:, self.inside] @ self.matrix
            real, imaginary = values.reshape(len(some), 2, self.rings, -1).unbind(1)
            parts.append(self._coefficients(torch.complex(real, imaginary)))
        return torch.cat(parts, dim=1)

    def _coefficients(self, half: Tensor) -> Tensor:
        whole = torch.cat([half, half.conj()], dim=-1)  # the image is real
        return self._forward(whole)

    def shifted(self, coefficients: Tensor, phases: Tensor) -> Tensor:
        """Multiply the samples of coefficients (M, ..., R) by phases broadcast to (..., R, A)."""
        return self._forward(self.values(coefficients) * phases)

    def power(self, coefficients: Tensor) -> Tensor:
        """Return the mean power of the rings, (..., R), of coefficients (M, ..., R)."""
        total = coefficients.abs().square()
        return (2 * total.sum(0) - total[0] - total[-1]) / self.angles**2

    def values(self, coefficients: Tensor) -> Tensor:
        """Return the samples (..., R, A) of coefficients (M, ..., R)."""
        some = coefficients.movedim(0, -1)  # (..., R, M)
        sign = torch.ones(self.angles // 2 + 1, device=some.device)
        sign[1::2] = -1
        negative = (some * sign).conj()[..., 1:-1].flip(-1)
        samples: Tensor = torch.fft.ifft(torch.cat([some, negative], dim=-1))
        return samples

    def _forward(self, values: Tensor) -> Tensor:
        transformed: Tensor = torch.fft.fft(values)
        return transformed[..., : self.angles // 2 + 1].movedim(-1, 0).contiguous()

    def phases(self, shifts: Tensor) -> Tensor:
        """Return the phases (S, R, A) that move an image by shifts (S, 2), (y, x) in pixels."""
        angle = -2 * math.pi * torch.einsum("sd,dra->sra", shifts, self.k)
        return torch.polar(torch.ones_like(angle), angle)


def soft_disc(box_px: int, radius_px: float, device: torch.device, edge_px: float = 3.0) -> Tensor:
    """Return a mask that is 1 in a disc around pixel ``box_px // 2`` and falls to 0 outside it."""
    grid = torch.arange(box_px, device=device) - box_px // 2
    distance = torch.hypot(*(g.float() for g in torch.meshgrid(grid, grid, indexing="ij")))
    beyond = ((distance - radius_px) / edge_px).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(math.pi * beyond)


def shift_table(radii_px: tuple[float, ...], device: torch.device) -> Tensor:
    """Return shifts (S, 2), (y, x): zero, then 6, 12, ... on circles of these radii."""
    shifts = [(0.0, 0.0)]
    for number, radius in enumerate(radii_px, start=1):
        for step in range(6 * number):
            angle = 2 * math.pi * step / (6 * number)
            shifts.append((radius * math.sin(angle), radius * math.cos(angle)))
    return torch.tensor(shifts, device=device)


def shift_images(images: Tensor, shifts_px: Tensor) -> Tensor:
    """Return images (N, box, box) moved by shifts (N, 2), with periodic boundaries."""
    box_px = images.shape[-1]
    moved = []
    for first in range(0, len(images), 512):
        some, shift = (each[first : first + 512] for each in (images, shifts_px))
        ky = torch.fft.fftfreq(box_px, device=images.device)
        kx = torch.fft.rfftfreq(box_px, device=images.device)
        angle = (
            -2 * math.pi * (shift[:, 0, None, None] * ky[:, None] + shift[:, 1, None, None] * kx)
        )
        spectrum = torch.fft.rfft2(some) * torch.polar(torch.ones_like(angle), angle)
        moved.append(torch.fft.irfft2(spectrum, s=(box_px, box_px)))
    return torch.cat(moved)
