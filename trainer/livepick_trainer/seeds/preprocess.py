"""Preparation of a run's micrographs for the network, into one pair of files each.

``NNNN.npy`` is the prepared image. Later stages memory-map it rather than read it whole, so that a
run over thousands of micrographs needs little memory. ``NNNN.npz`` holds the rest and is written
after the image: if it exists, the micrograph is done. The numbers are those of ``run.json``.

Without ``training.normalize``, all images are divided by one number in the end: the median noise of
the micrographs that are trained on. It is stored in ``noise.json``, and each image in
``NNNN-common.npy``, which replaces ``NNNN.npy``. Each micrograph is thus read once, and the image
that the worker prepares is bit-identical.
"""

import io
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.run import RunMicrograph, RunSpec
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.micrograph import read_picked
from livepick.core.imaging.ctf import Ctf
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.preprocess import divided_by, prepare
from livepick.errors import MicrographError, TrainerError
from livepick.host.atomic_files import write_atomically
from livepick_trainer.seeds.labels import Candidates, Points

__all__ = [
    "LEAST_CANDIDATES",
    "LEAST_MICROGRAPHS",
    "PreparedMicrograph",
    "load_prepared",
    "noise_sigma",
    "prepare_micrographs",
    "refuse_too_few",
    "split_held_out",
]

_log = logging.getLogger(__name__)

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

LEAST_MICROGRAPHS = 3
"""Fewest micrographs that can be split into training and held-out micrographs."""

LEAST_CANDIDATES = 10
"""Fewest candidates above the seeding threshold, in total; a network memorizes fewer."""

_NOISE = "noise.json"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedMicrograph:
    """One micrograph of the run, as the network sees it."""

    path: Path
    """Path of the original."""

    held_out: bool

    original_pixel_size_angstrom: float

    image: Image
    """Prepared image, ``[y, x]``, particles bright; memory-mapped from its file, read-only."""

    mask: Mask
    """True where nothing is learned or picked; ``Prepared.unpicked`` of the original."""

    scale_y: float
    """Original pixels per prepared pixel."""

    scale_x: float

    candidates: Candidates
    """Candidates, in prepared pixels."""

    version: FileVersion | None = None
    """Content of the original that was prepared; None: unknown."""

    ctf: Ctf | None = None
    """CTF of the original; None if unknown."""

    area: PickArea | None = None
    """Area where picks are allowed, in prepared pixels. None: anywhere."""

    def to_original(self, yx_px: Points, score: NDArray[np.float32]) -> Picks:
        """Return prepared positions as picks in pixels of the original micrograph."""
        yx_px = yx_px.astype(np.float32)
        return Picks.sorted(
            yx_px[:, 1] * np.float32(self.scale_x), yx_px[:, 0] * np.float32(self.scale_y), score
        )


def prepare_micrographs(
    spec: RunSpec, folder: Path, report: Callable[[str, int], None] = lambda _note, _done: None
) -> dict[Path, str]:
    """Write each prepared micrograph of ``spec`` to ``folder``, unless it is already there.

    Parameters
    ----------
    spec
        Specification of the run.
    folder
        Existing folder for the prepared files.
    report
        Called with a sentence and the count so far after each micrograph.

    Returns
    -------
    dict
        Micrographs that could not be read, each with the error.

    Raises
    ------
    TrainerError
        Fewer than three micrographs can be read, or they hold fewer than ten good candidates.
    """
    left_out: dict[Path, str] = {}
    good = 0
    for number, micrograph in enumerate(spec.micrographs):
        note = f"{micrograph.path.name}: {len(micrograph.seeds)} candidates"
        good_here = sum(score >= spec.seed_threshold for _, _, score in micrograph.seeds)
        if not _rest_of(folder, number).exists():
            try:
                _prepare_one(spec, micrograph, folder, number)
            except MicrographError as error:
                left_out[micrograph.path] = error.what
                good_here = 0
                note = f"{micrograph.path.name}: left out: {error.what}"
                _log.warning("%s", note)
        good += good_here
        report(note, number + 1)
    left = len(spec.micrographs) - len(left_out)
    refuse_too_few(left, len(spec.micrographs))
    if good < LEAST_CANDIDATES:
        raise TrainerError(
            f"{f'only {good}' if good else 'no'} candidate{'' if good == 1 else 's'} in {left}"
            f" micrographs {'has' if good == 1 else 'have'} a score of at least"
            f" {spec.seed_threshold:g}; training needs at least {LEAST_CANDIDATES}",
            "Check particle.diameter_angstrom, particle.contrast and the pixel size; if particles"
            " really are this rare, raise bootstrap.minimum_picks.",
        )
    if not spec.training.normalize:
        _divide_by_common_noise(spec, folder)
    return left_out


def refuse_too_few(left: int, total: int) -> None:
    """Raise TrainerError if too few of a run's micrographs are left to train on."""
    if left < LEAST_MICROGRAPHS:
        raise TrainerError(
            f"{f'only {left}' if left else 'none'} of the run's {total} micrographs"
            f" can be read; training needs at least {LEAST_MICROGRAPHS}",
            "See trainer.log for the error of each file; then raise training.generation to start"
            " another run.",
        )


def noise_sigma(folder: Path) -> float | None:
    """Return the noise that all images in ``folder`` are divided by; None: each by its own."""
    try:
        return float(json.loads((folder / _NOISE).read_bytes()))
    except FileNotFoundError:
        return None


def load_prepared(spec: RunSpec, folder: Path) -> list[PreparedMicrograph]:
    """Return the micrographs that ``prepare_micrographs`` wrote to ``folder``, in order."""
    return [
        _load_one(micrograph, folder, number)
        for number, micrograph in enumerate(spec.micrographs)
        if _rest_of(folder, number).exists()
    ]


def split_held_out(
    micrographs: Iterable[PreparedMicrograph],
) -> tuple[list[PreparedMicrograph], list[PreparedMicrograph]]:
    """Return the training micrographs and the held-out micrographs; neither list is empty.

    The run defines which is which. If none of one kind could be read, the last micrograph of the
    other kind takes its place.
    """
    training: list[PreparedMicrograph] = []
    held_out: list[PreparedMicrograph] = []
    for micrograph in micrographs:
        (held_out if micrograph.held_out else training).append(micrograph)
    for poor, rich in ((held_out, training), (training, held_out)):
        if not poor:
            poor.append(rich.pop())
            _log.warning("%s: changes sides, as one was empty", poor[0].path.name)
    return training, held_out


def _prepare_one(spec: RunSpec, micrograph: RunMicrograph, folder: Path, number: int) -> None:
    raw = read_picked(micrograph.path, micrograph.version, micrograph.pixel_size_angstrom)
    prepared = prepare(
        raw.image,
        pixel_size_angstrom=micrograph.pixel_size_angstrom,
        diameter_angstrom=spec.particle.diameter_angstrom,
        contrast=spec.particle.contrast,
        lowpass_angstrom=spec.training.lowpass_angstrom,
        edge_fraction=spec.particle.edge_fraction,
    )
    area = prepared.area.scaled(scale_y=prepared.scale_y, scale_x=prepared.scale_x)
    scale = np.array([prepared.scale_y, prepared.scale_x])
    image, rest = io.BytesIO(), io.BytesIO()
    np.save(image, prepared.image.astype(np.float32))
    np.savez(
        rest,
        mask=prepared.unpicked,
        area=np.array([area.top, area.bottom, area.left, area.right]),
        scale=scale,
        noise=np.array(prepared.noise_sigma),
    )
    write_atomically(_image_of(folder, number), image.getvalue())
    write_atomically(_rest_of(folder, number), rest.getvalue())


def _divide_by_common_noise(spec: RunSpec, folder: Path) -> None:
    """Rewrite each image, divided by the median noise of the training micrographs."""
    own = {
        number: _own_noise(folder, number)
        for number in range(len(spec.micrographs))
        if _rest_of(folder, number).exists()
    }
    learned = [sigma for number, sigma in own.items() if not spec.micrographs[number].held_out]
    common = float(np.median(learned or list(own.values())))
    for number, sigma in own.items():
        normalized = _image_of(folder, number)
        if normalized.exists():  # otherwise it was done before the trainer was killed
            image = io.BytesIO()
            flat = divided_by(np.load(normalized), own_sigma=sigma, noise_sigma=common)
            np.save(image, flat)
            write_atomically(_common_image_of(folder, number), image.getvalue())
            normalized.unlink()
    write_atomically(folder / _NOISE, json.dumps(common).encode())


def _own_noise(folder: Path, number: int) -> float:
    with np.load(_rest_of(folder, number)) as rest:
        return float(rest["noise"])


def _load_one(micrograph: RunMicrograph, folder: Path, number: int) -> PreparedMicrograph:
    common = _common_image_of(folder, number)
    place = common if common.exists() else _image_of(folder, number)
    image: Image = np.load(place, mmap_mode="r")
    with np.load(_rest_of(folder, number)) as rest:
        scale_y, scale_x = (float(s) for s in rest["scale"])
        return PreparedMicrograph(
            path=micrograph.path,
            held_out=micrograph.held_out,
            original_pixel_size_angstrom=micrograph.pixel_size_angstrom,
            image=image,
            mask=rest["mask"],
            scale_y=scale_y,
            scale_x=scale_x,
            candidates=_candidates(micrograph.seeds, scale_y=scale_y, scale_x=scale_x),
            version=micrograph.version,
            ctf=micrograph.ctf,
            area=PickArea(*rest["area"].tolist()),
        )


def _candidates(
    seeds: Sequence[tuple[float, float, float]],
    *,
    scale_y: float,
    scale_x: float,
) -> Candidates:
    table = np.asarray(seeds, dtype=np.float32).reshape(-1, 3)  # x, y, score
    yx_px = np.column_stack([table[:, 1] / scale_y, table[:, 0] / scale_x])
    return Candidates(yx_px.astype(np.float32), table[:, 2])


def _image_of(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.npy"


def _common_image_of(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}-common.npy"


def _rest_of(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.npz"
