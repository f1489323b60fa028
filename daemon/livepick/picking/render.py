"""Pictures of micrographs for the page, made by the workers.

They are made when somebody looks, not when a micrograph is picked. Nobody looks at most of ten
thousand micrographs; each picking would pay for a picture, and a cache that is bounded would have
to ask for lost ones later all the same. A thumbnail costs a worker little more than reading the
file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livepick.config.sections import Contrast
from livepick.core.formats.micrograph import FileVersion, read_micrograph
from livepick.core.formats.png import encode_grey, encode_mask

__all__ = ["LONGEST_PX", "Kind", "RenderJob", "render"]

Kind = Literal["thumbnail", "full", "mask"]

LONGEST_PX: dict[Kind, int] = {"thumbnail": 200, "full": 1024, "mask": 1024}
"""Pixels along the longer side."""

LEVELS: dict[Kind, int] = {"thumbnail": 24, "full": 32}
"""Grey levels: see ``core.formats.png``."""

MASK_RGBA = (255, 138, 61, 110)
"""Of what is not picked in, over a grey picture."""


@dataclass(frozen=True, slots=True)
class RenderJob:
    """All that a worker needs to draw one micrograph."""

    path: Path
    """Absolute path of the micrograph."""

    version: FileVersion
    """The content that was picked."""

    kind: Kind

    pixel_size_angstrom: float
    """As it was picked with."""

    diameter_angstrom: float
    """Of the particle."""

    contrast: Contrast
    """Of the particle in the micrograph."""


def render(job: RenderJob) -> bytes:
    """Return a PNG picture of a micrograph, or of its mask.

    Raises
    ------
    MicrographError
        The file is gone, has changed, or holds no picture.
    """
    from livepick.core.imaging.thumbnail import draw, spread  # noqa: PLC0415 - scipy is for workers only

    micrograph = read_micrograph(
        job.path, pixel_size_angstrom=job.pixel_size_angstrom, version=job.version
    )
    image, longest_px = micrograph.image, LONGEST_PX[job.kind]
    if job.kind == "mask":
        from livepick.core.imaging.preprocess import prepare  # noqa: PLC0415 - likewise

        prepared = prepare(
            image,
            pixel_size_angstrom=micrograph.pixel_size_angstrom,
            diameter_angstrom=job.diameter_angstrom,
            contrast=job.contrast,
        )
        scale_yx = (prepared.scale_y, prepared.scale_x)
        shape_px = (image.shape[0], image.shape[1])
        mask = spread(prepared.mask, scale_yx=scale_yx, shape_px=shape_px, longest_px=longest_px)
        return encode_mask(mask, rgba=MASK_RGBA)
    picture = draw(
        image,
        longest_px=longest_px,
        pixel_size_angstrom=micrograph.pixel_size_angstrom,
        diameter_angstrom=job.diameter_angstrom,
    )
    return encode_grey(picture, levels=LEVELS[job.kind])
