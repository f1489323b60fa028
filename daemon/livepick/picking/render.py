"""Images of micrographs for the page, made by the workers.

They are made on request, not when a micrograph is picked. Most of ten thousand micrographs are
never looked at, but every one would pay for an image, and a bounded cache would still have to
request evicted images again. A thumbnail costs a worker little more than reading the file.
"""

from livepick.core.contracts.job import ImageKind, RenderJob
from livepick.core.formats.micrograph import read_picked
from livepick.core.formats.png import encode_grey, encode_mask
from livepick.core.imaging.preprocess import prepare
from livepick.core.imaging.thumbnail import draw_thumbnail, resample_mask

__all__ = ["render"]

LONGEST_PX: dict[ImageKind, int] = {"thumbnail": 200, "full": 1024, "mask": 1024}
"""Pixels along the longer side."""

LEVELS: dict[ImageKind, int] = {"thumbnail": 24, "full": 32}
"""Number of grey levels; see ``core.formats.png``."""

MASK_RGBA = (255, 138, 61, 110)
"""Colour of the masked area, drawn over a grey image."""


def render(job: RenderJob) -> bytes:
    """Return a PNG image of a micrograph, or of its mask.

    Raises
    ------
    MicrographError
        The file is missing, has changed, or contains no image.
    """
    micrograph = read_picked(job.path, job.version, job.pixel_size_angstrom)
    image, longest_px = micrograph.image, LONGEST_PX[job.kind]
    if job.kind == "mask":
        prepared = prepare(
            image,
            pixel_size_angstrom=micrograph.pixel_size_angstrom,
            diameter_angstrom=job.diameter_angstrom,
            contrast=job.contrast,
        )
        scale_yx = (prepared.scale_y, prepared.scale_x)
        shape_px = (image.shape[0], image.shape[1])
        mask = resample_mask(
            prepared.mask, scale_yx=scale_yx, shape_px=shape_px, longest_px=longest_px
        )
        return encode_mask(mask, rgba=MASK_RGBA)
    picture = draw_thumbnail(
        image,
        longest_px=longest_px,
        pixel_size_angstrom=micrograph.pixel_size_angstrom,
        diameter_angstrom=job.diameter_angstrom,
    )
    return encode_grey(picture, levels=LEVELS[job.kind])
