"""Class averages in real space, and the position of the particle in them."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from livepick_trainer.classification.polar import shift_images

__all__ = ["body_centre", "sum_aligned"]

BODY_BLUR_DIAMETERS = 0.05
"""Standard deviation of the blur applied before the body of an average is located, in diameters."""

BODY_FLOOR = 0.05
"""Fraction of the peak brightness; fainter pixels are not part of the body."""

CENTRING_STEPS = 10


def body_centre(averages: Tensor, *, diameter_px: float, most_px: float) -> Tensor:
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


def sum_aligned(
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
            shift_images(images[some], -offset[some])[:, None],
            (at + box_px // 2) * 2 / (box_px - 1) - 1,
            mode="bicubic",
            padding_mode="border",
            align_corners=True,
        )
        sums.index_add_(0, column[some], turned[:, 0])
    return sums
