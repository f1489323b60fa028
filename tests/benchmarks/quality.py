"""Compare quality verdicts on real and simulated micrographs with the README of the data.

    python tests/benchmarks/quality.py [--data FOLDER] [--each 10] [--diameter 120] [--clean]

Each micrograph is picked by a worker with the blob picker, as at the start of a session. The limits
of ``core.imaging.quality`` were chosen on every other micrograph (*), including the first of each
group, so only the rest are an independent test. ``asked`` is the right verdict according to the
README: ``good``, ``not good`` (doubtful or bad), ``bad``, or ``any`` if both are defensible.

One of the rest is WRONG and will remain so: the empty field 18jan09b contains hundreds of small
contaminants in vitreous ice. The number and scores of its picks, its contrast and its Thon rings
are in the range of fields of particles. So is the similarity of the picks: 41 % of their power is
in their mean radial profile, compared with 27 to 91 % in good fields. A limit that detects it would
fit only this picture.

With ``--clean``, the clean micrographs of ``clean_sessions`` follow, none of which should be
doubtful. Each is tested with its true diameter and with diameters that are wrong by a third, since
an operator's value is approximate. A line for each group shows how many are doubtful or bad.

The pixel size and particles of the thumbnails are not known. Most were binned from some 4000 to 512
pixels, so 7.5 Å is assumed, and a particle of ``--diameter`` unless it can be measured by eye.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from clean_sessions import clean_micrographs
from PIL import Image
from rich.console import Console
from rich.table import Table

from factories import publish_blob
from livepick.core.contracts.job import Job
from livepick.core.imaging.quality import Quality
from livepick.core.imaging.quality_limits import LIMITS, Limit, judge
from livepick.picking.worker import pick

DEFAULT_DATA = Path(__file__).parents[3] / "shared" / "data"
THUMBNAIL_ANGSTROM = 7.5
SEEN_ANGSTROM = {"18dec17a_grid3_00105": 90.0, "18feb14h": 130.0}
"""Particle diameters in thumbnails where they can be measured by eye."""

ASKED = {
    "0Great": "good",
    "1Decent": "any",
    "2Contamination": "not good",
    "3Empty": "bad",
    "4Crystalline": "not good",
    "5Empty": "not good",
    "apof_easy": "good",
    "empty_ice_contam": "bad",
    "groel": "good",
    "ribo_contam": "any",
    "spike_hard": "any",
    "ice-crystals": "not good",
    "sum": "any",
    "frame": "not good",
    "10017": "any",
}
SAID = {1.0: "true diameter", 2 / 3: "a third less", 4 / 3: "a third more"}
"""Ratio of the diameter given by an operator to the true one."""

SIMULATED_ANGSTROM = {"apof": 125.0, "groe": 150.0, "ribo": 280.0, "empt": 150.0, "spik": 165.0}
FIGURES = {
    "median_score": "score",
    "masked_fraction": "masked",
    "contamination_fraction": "contam.",
    "carbon_fraction": "carbon",
    "occupied_fraction": "occupied",
    "contrast": "contrast",
    "signal_fraction": "signal",
    "mottle": "mottle",
    "skewness": "skewness",
    "uneven_fraction": "uneven",
    "anisotropy": "anisotr.",
    "ice_ring": "ice ring",
    "ice_gradient_sigmas": "gradient",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A micrograph on disk."""

    group: str
    name: str
    path: Path
    diameter_angstrom: float
    pixel_size_angstrom: float
    chosen_on: bool
    """True if the micrograph was used for choosing the limits."""


def main() -> int:
    """Print a line per micrograph, and the number of correct verdicts in each half."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LIVEPICK_DATA", DEFAULT_DATA))
    )
    parser.add_argument("--each", type=int, default=10, help="maximum number per EMPIAR group")
    parser.add_argument(
        "--diameter", type=float, default=120.0, help="particle diameter of the thumbnails, in Å"
    )
    parser.add_argument(
        "--clean", action="store_true", help="include clean micrographs; takes minutes"
    )
    given = parser.parse_args()
    table = Table(title="Quality (*: used to choose the limits)", padding=(0, 1, 0, 0), box=None)
    for column in ("group", "micrograph", "picks", *FIGURES.values(), "verdict", "asked", "reason"):
        table.add_column(column, justify="left", no_wrap=column != "reason")
    right: dict[bool, list[bool]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="livepick-quality-") as name:
        bundle = publish_blob(Path(name) / "models", diameter_angstrom=100.0)
        for case in cases(given.data, Path(name), given.each, given.diameter):
            quality, picks = measured(case, bundle)
            verdict, reason = judge(quality)
            wanted = asked(case)
            fits = {"good": verdict == "good", "bad": verdict == "bad"}.get(
                wanted, wanted == "any" or verdict != "good"
            )
            if wanted != "any":
                right[case.chosen_on].append(fits)
            figures = (number(getattr(quality, figure)) for figure in FIGURES)
            table.add_row(
                case.group + (" *" if case.chosen_on else ""),
                case.name,
                str(picks),
                *figures,
                verdict,
                wanted if fits else f"{wanted} WRONG",
                reason,
            )
            case.path.unlink()
        alarms = false_alarms(given.data, Path(name), bundle) if given.clean else None
    console = Console(width=250)
    console.print(table)
    for chosen_on, title in ((True, "limits chosen on"), (False, "the rest")):
        console.print(f"{title}: {sum(right[chosen_on])} of {len(right[chosen_on])} as expected")
    if alarms is not None:
        console.print(alarms)
    return 0


def false_alarms(data: Path, scratch: Path, bundle: Path) -> Table:
    """Return the number of clean micrographs that are not good, for each group and half."""
    counts: dict[tuple[str, bool, float], list[int]] = {}
    why: Counter[str] = Counter()
    path = scratch / "clean.mrc"
    for clean in clean_micrographs(data):
        with mrcfile.new(path, clean.image, overwrite=True) as mrc:
            mrc.voxel_size = clean.pixel_size_angstrom
        for factor in SAID:
            diameter_angstrom = factor * clean.diameter_angstrom
            job = Job(path, None, bundle, diameter_angstrom=diameter_angstrom, contrast="dark")
            quality = pick(job).quality
            verdict, _ = judge(quality)
            why.update(x.figure for x in LIMITS if not_good(x, quality))
            for group in (*clean.groups, "all"):
                count = counts.setdefault((group, clean.chosen_on, factor), [0, 0])
                count[0] += verdict != "good"
                count[1] += 1
    caption = ", ".join(f"{figure} {count}" for figure, count in why.most_common()) or "none"
    table = Table(
        title="Clean micrographs that are not good (*: limits were chosen on it)",
        caption=f"By figure: {caption}",
        box=None,
    )
    columns = [(chosen_on, factor) for chosen_on in (True, False) for factor in SAID]
    heads = (f"{SAID[factor]}{' *' * chosen_on}" for chosen_on, factor in columns)
    for column in ("group", *heads):
        table.add_column(column)
    for group in dict.fromkeys(group for group, _, _ in counts):
        cells = (counts.get((group, *column), [0, 0]) for column in columns)
        table.add_row(group, *(f"{bad} of {all_}" if all_ else "-" for bad, all_ in cells))
    return table


def not_good(limit: Limit, quality: Quality) -> bool:
    """Return True if a figure makes a micrograph doubtful or bad."""
    return limit.verdict(getattr(quality, limit.figure), quality) != "good"


def measured(case: Case, bundle: Path) -> tuple[Quality, int]:
    """Return the figures of a micrograph, and its number of picks."""
    job = Job(case.path, None, bundle, diameter_angstrom=case.diameter_angstrom, contrast="dark")
    result = pick(job)
    return result.quality, len(result.picks.above(result.threshold))


def asked(case: Case) -> str:
    """Return the right verdict according to the README."""
    return next(v for k, v in ASKED.items() if case.group.startswith(k) or case.name.startswith(k))


def number(value: float | None) -> str:
    """Return a figure as text."""
    return "-" if value is None else f"{value:.2f}"


def cases(data: Path, scratch: Path, each: int, diameter_angstrom: float) -> Iterator[Case]:
    """Yield the available micrographs, each written as MRC into ``scratch``."""
    for folder in sorted((data / "quality").glob("[0-9]*")):
        for index, path in enumerate(sorted(folder.glob("*.png"))):
            seen = (v for k, v in SEEN_ANGSTROM.items() if path.name.startswith(k))
            size = next(seen, diameter_angstrom)
            yield case(folder.name[:14], path, scratch, (size, THUMBNAIL_ANGSTROM), index)
    for index, path in enumerate(sorted((data / "simulated").glob("*.mrc"))):
        yield case("simulated", path, scratch, (SIMULATED_ANGSTROM[path.name[:4]], None), index)
    for path in sorted((data / "ice-crystals").glob("Ucsf*.mrc")):
        yield case("ice-crystals", path, scratch, (46 / 1.3 * 4.0, 4.0), 1)
    for name in ("sum", "frame"):
        for index, path in enumerate(sorted((data / "empiar-10146" / name).glob("*.png"))[:each]):
            yield case(f"{name} 10146", path, scratch, (125.0, 1.5), index)
    for index, path in enumerate(sorted((data / "empiar-10017" / "image").glob("*.jpg"))[:each]):
        yield case("10017", path, scratch, (180.0, 1.77), index)


def case(
    group: str,
    path: Path,
    scratch: Path,
    size: tuple[float, float | None],
    index: int,
) -> Case:
    """Write a micrograph as MRC; ``size`` is its particle diameter and pixel size, in ångström.

    If the pixel size is None, the file keeps its own.
    """
    diameter_angstrom, pixel_size_angstrom = size
    if path.suffix == ".mrc":
        with mrcfile.open(path) as mrc:
            image, own_angstrom = np.array(mrc.data), float(mrc.voxel_size.x)
    else:
        image, own_angstrom = np.asarray(Image.open(path)), 0.0
        image = image if image.ndim == 2 else np.asarray(Image.open(path).convert("L"))
    pixel_size_angstrom = pixel_size_angstrom or own_angstrom
    place = scratch / f"{path.stem}.mrc"
    with mrcfile.new(place, image.astype(np.float32), overwrite=True) as mrc:
        mrc.voxel_size = pixel_size_angstrom
    tail = group.endswith(("10017", "10146"))  # their names begin with the same characters
    name = path.stem[-22:] if tail else path.stem[:22]
    return Case(group, name, place, diameter_angstrom, pixel_size_angstrom, index % 2 == 0)


if __name__ == "__main__":
    sys.exit(main())
