"""Measure what the junk mask covers: scored where the truth is known, optionally drawn.

    python tests/benchmarks/masks.py [--data FOLDER] [--kinds NAME ...] [--draw FOLDER]

There is one line per micrograph. It shows the masked fraction by reason; the number of true
particles in the mask (particles that the data flag as next to contamination are counted
separately); the masked fractions of the true junk and of the rest; and the number of blob picks
that the mask removes, separately for false and true particles. Simulated sessions with plenty of
junk come first, since its true position is known there. The real data are stored outside the
repository (``--data``, or ``LIVEPICK_DATA``) and are skipped if they are missing. The kinds marked
* were used to choose most of the mask's parameters. The other kinds led to a few corrections (the
heap's, the margin of ice, that a rim must leave the image), so they are not an independent test of
those; new seeds are.
"""

import argparse
import csv
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from scipy.spatial import cKDTree

from livepick.core.imaging.blob_detector import blob_graph
from livepick.core.imaging.peaks import find_peaks
from livepick.core.imaging.preprocess import DIAMETER_PX, Prepared, prepare
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Crystal, Field, Junk, Session
from livepick.simulate.species import specimen

CONSOLE = Console(width=150)
DEFAULT_DATA = Path(__file__).parents[3] / "shared" / "data"
THRESHOLD = 0.5
"""Threshold of the blob bundle."""

CLOSEST = 0.6
"""Minimum distance between two picks as a fraction of the diameter, as in the example config."""

HIT = 0.5
"""Maximum distance of a correct pick from a true particle, as a fraction of the particle radius."""

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """A micrograph and its ground truth; positions are ``(y, x)`` in its own pixels."""

    kind: str
    name: str
    image: NDArray[Any]
    pixel_size_angstrom: float
    diameter_angstrom: float
    particles: Points | None = None
    """True positions, shape (N, 2); None if unknown."""

    beside_junk: Mask | None = None
    """Particles that may be masked, shape (N,)."""

    junk: Mask | None = None
    """Junk mask ``[y, x]``, True on carbon, ice and contamination; None if unknown."""


@dataclass(frozen=True, slots=True)
class Score:
    """Figures of one micrograph: counts and fractions."""

    kind: str
    name: str
    masked: float
    reasons: tuple[float, ...]
    seconds: float
    true: int = 0
    true_masked: int = 0
    beside: int = 0
    beside_masked: int = 0
    junk: float = math.nan
    junk_masked: float = math.nan
    """Masked fraction of the area of the junk."""

    rest_masked: float = math.nan
    """Masked fraction of the area that is more than half a diameter away from junk."""

    picks: int = 0
    wrong: int = 0
    wrong_masked: int = 0
    right: int = 0
    right_masked: int = 0


def main() -> int:
    """Run all kinds, and print a line per micrograph and a line per kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LIVEPICK_DATA", DEFAULT_DATA))
    )
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--draw", type=Path, help="write a PNG of each micrograph to this folder")
    given = parser.parse_args()
    graph = onnxruntime.InferenceSession(
        blob_graph(DIAMETER_PX), providers=["CPUExecutionProvider"]
    )
    table = Table(title="Area of the junk mask, in percent")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "micrograph" else "right")
    for kind in given.kinds:
        scores = []
        for case in KINDS[kind](given.data):
            scores.append(judge(case, graph, given.draw))
            table.add_row(scores[-1].name[-28:], *cells([scores[-1]]))
        if len(scores) > 1:
            table.add_row(f"[bold]{kind}: all {len(scores)}[/]", *cells(scores), style="bold")
        table.add_section()
    CONSOLE.print(table)
    return 0


COLUMNS = (
    "micrograph", "masked", "border", "contam.", "carbon", "true lost", "beside junk",
    "junk masked", "rest masked", "wrong picks masked", "right picks masked", "CPU s",
)  # fmt: skip


def cells(scores: list[Score]) -> list[str]:
    """Return the cells of one line: means of fractions, sums of counts."""

    def percent(values: Iterable[float]) -> str:
        known = [v for v in values if not math.isnan(v)]
        return f"{100 * statistics.mean(known):.1f}" if known else "-"

    def share(part: str, whole: str) -> str:
        parts, wholes = (sum(getattr(s, n) for s in scores) for n in (part, whole))
        return f"{parts}/{wholes}" if wholes else "-"

    return [
        percent(s.masked for s in scores),
        *(percent(s.reasons[i] for s in scores) for i in range(3)),
        share("true_masked", "true"),
        share("beside_masked", "beside"),
        percent(s.junk_masked for s in scores),
        percent(s.rest_masked for s in scores),
        share("wrong_masked", "wrong"),
        share("right_masked", "right"),
        f"{statistics.mean(s.seconds for s in scores):.3f}",
    ]


def judge(case: Case, graph: onnxruntime.InferenceSession, draw: Path | None) -> Score:
    """Prepare and pick a micrograph, draw it, and return its figures."""
    started = time.process_time()
    prepared = prepare(
        case.image,
        pixel_size_angstrom=case.pixel_size_angstrom,
        diameter_angstrom=case.diameter_angstrom,
        contrast="dark",
    )
    seconds = time.process_time() - started
    picks = blob_picks(prepared, graph)
    picks_masked = at(prepared.mask, picks)
    if draw is not None:
        draw.mkdir(parents=True, exist_ok=True)
        picture(case, prepared, picks).save(draw / f"{case.kind}_{case.name}.png")
    figures: dict[str, Any] = {"picks": len(picks)}
    scale = (prepared.scale_y, prepared.scale_x)
    if case.particles is not None:
        true = case.particles / scale
        beside = np.zeros(len(true), bool) if case.beside_junk is None else case.beside_junk
        lost = at(prepared.mask, true)
        right = hits(picks, true)
        figures |= {
            "true": int((~beside).sum()), "true_masked": int((lost & ~beside).sum()),
            "beside": int(beside.sum()), "beside_masked": int((lost & beside).sum()),
            "wrong": int((~right).sum()), "wrong_masked": int((picks_masked & ~right).sum()),
            "right": int(right.sum()), "right_masked": int((picks_masked & right).sum()),
        }  # fmt: skip
    else:
        figures |= {"wrong": len(picks), "wrong_masked": int(picks_masked.sum())}
    if case.junk is not None:
        junk = to_prepared(case.junk, prepared)
        far = ndimage.distance_transform_edt(~junk) > DIAMETER_PX / 2
        figures["junk"] = float(junk.mean())
        if junk.any():
            figures["junk_masked"] = float(prepared.mask[junk].mean())
        figures["rest_masked"] = float(prepared.mask[far].mean())
    return Score(
        case.kind, case.name, float(prepared.mask.mean()), reasons(prepared), seconds, **figures
    )


def reasons(prepared: Prepared) -> tuple[float, ...]:
    """Return the masked fraction for each reason."""
    by = getattr(prepared, "masked", None)
    return (math.nan,) * 3 if by is None else (by.border, by.contamination, by.carbon)


def blob_picks(prepared: Prepared, graph: onnxruntime.InferenceSession) -> Points:
    """Return the picks (y, x) of the blob picker without a mask, in prepared pixels."""
    padded = np.pad(prepared.image, [(0, -n % 16) for n in prepared.image.shape], mode="symmetric")[
        None, None
    ]
    (score,) = graph.run(["score"], {"image": padded})
    height, width = prepared.image.shape
    y, x, _ = find_peaks(
        score[0, 0, :height, :width], min_distance_px=CLOSEST * DIAMETER_PX, floor=THRESHOLD
    )
    return np.column_stack([y, x]).astype(np.float64)


def at(mask: Mask, points: Points) -> Mask:
    """Return True for each point (y, x) that is in the mask."""
    y, x = (
        np.clip(np.rint(points[:, axis]).astype(int), 0, mask.shape[axis] - 1) for axis in (0, 1)
    )
    return np.asarray(mask[y, x])


def hits(picks: Points, true: Points) -> Mask:
    """Return True for each pick that is near a true particle."""
    if not len(true) or not len(picks):
        return np.zeros(len(picks), dtype=bool)
    distance, _ = cKDTree(true).query(picks)
    return np.asarray(distance < HIT * DIAMETER_PX / 2)


def to_prepared(area: Mask, prepared: Prepared) -> Mask:
    """Return an area of the micrograph, resampled to prepared pixels."""
    y, x = (
        np.clip(np.rint(np.arange(n) * scale).astype(int), 0, size - 1)
        for n, scale, size in zip(
            prepared.mask.shape, (prepared.scale_y, prepared.scale_x), area.shape, strict=True
        )
    )
    return np.asarray(area[np.ix_(y, x)])


# --- the picture ---------------------------------------------------------------------------


def picture(case: Case, prepared: Prepared, picks: Points) -> Image.Image:
    """Return a picture of the micrograph, without and with its mask.

    The mask has a red outline, the true junk a blue one. True particles are green. Yellow circles
    are picks that remain, and orange crosses are picks that the mask removes.
    """
    smooth = ndimage.gaussian_filter(prepared.image, 0.7)
    grey = (255 * np.clip((2.5 - smooth) / 5, 0, 1)).astype(np.uint8)
    plain = np.repeat(grey[:, :, None], 3, axis=2)
    drawn = plain.copy()
    tint = drawn[prepared.mask].astype(float) * (1, 0.75, 0.75)
    drawn[prepared.mask] = tint.astype(np.uint8)
    drawn[outline(prepared.mask)] = (255, 0, 0)
    if case.junk is not None:
        drawn[outline(to_prepared(case.junk, prepared))] = (60, 120, 255)
    sheet = Image.fromarray(np.hstack([plain, drawn]))
    pen = ImageDraw.Draw(sheet)
    width = grey.shape[1]
    for (y, x), gone in zip(picks, at(prepared.mask, picks), strict=True):
        box = (x + width - 6, y - 6, x + width + 6, y + 6)
        if gone:
            pen.line(box, fill=(255, 140, 0), width=2)
        else:
            pen.ellipse(box, outline=(255, 255, 0))
    if case.particles is not None:
        for y, x in case.particles / (prepared.scale_y, prepared.scale_x):
            pen.ellipse((x + width - 2, y - 2, x + width + 2, y + 2), fill=(0, 255, 0))
    return sheet


def outline(mask: Mask) -> Mask:
    """Return the rim of a mask."""
    return np.asarray(ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask))


# --- the micrographs -----------------------------------------------------------------------


def table_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))


def points_of(rows: list[dict[str, str]]) -> Points:
    """Return positions (y, x), shape (N, 2)."""
    return np.array([(float(r["y_px"]), float(r["x_px"])) for r in rows]).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class Expert:
    """A set of micrographs with expert picks."""

    images: str
    """Glob pattern of the images, relative to the data folder."""

    picks: str
    """Folder with one CSV file per micrograph."""

    pixel_size_angstrom: float
    diameter_angstrom: float


def empiar(data: Path, expert: Expert, which: slice) -> Iterator[Case]:
    """Yield real micrographs with expert picks."""
    paths = sorted(data.glob(expert.images))[which]
    for path in paths:
        stem = path.name.removesuffix(path.suffix)
        rows = [
            row
            for row in table_of(data / expert.picks / f"{stem}.csv")
            if float(row.get("fraction_of_disc_inside_image") or 1) >= 0.5
        ]
        yield Case(
            kind=expert.images.split("/*", maxsplit=1)[0].replace("/image", "").replace("/", "-"),
            name=stem,
            image=np.asarray(Image.open(path)),
            pixel_size_angstrom=expert.pixel_size_angstrom,
            diameter_angstrom=expert.diameter_angstrom,
            particles=points_of(rows),
        )


def multislice(data: Path, names: tuple[str, ...]) -> Iterator[Case]:
    """Yield micrographs from another simulator, with exact ground truth."""
    for name in names:
        path = data / "simulated" / f"{name}.mrc"
        if not path.is_file():
            continue
        with mrcfile.open(path) as mrc:
            image, pixel = mrc.data.copy(), float(mrc.voxel_size.x)
        rows = table_of(path.with_name(f"{name}_truth.csv"))
        flags = [
            row.get("on_carbon") == "1" or row.get("near_contamination") == "1" for row in rows
        ]
        yield Case(
            kind="multislice",
            name=name,
            image=image,
            pixel_size_angstrom=pixel,
            diameter_angstrom=float(rows[0]["diameter_A"]) if rows else 150.0,
            particles=points_of(rows),
            beside_junk=np.array(flags, dtype=bool),
        )


def thumbnails(data: Path, which: int) -> Iterator[Case]:
    """Yield one thumbnail of each class, with an assumed particle width of 22 pixels."""
    for folder in sorted((data / "quality").glob("[0-9]*")):
        for path in sorted(folder.glob("*.png"))[which : which + 1]:
            image = np.asarray(Image.open(path).convert("L"))
            yield Case(
                kind="quality",
                name=f"{folder.name[:12]}_{which}",
                image=image,
                pixel_size_angstrom=1.0,
                diameter_angstrom=22.0,
            )


def crystals(data: Path) -> Iterator[Case]:
    """Yield the micrograph with ice crystals; its junk was annotated by another program."""
    folder = data / "ice-crystals"
    for path in sorted(folder.glob("Ucsf*.mrc")):
        other = mrcfile.read(folder / f"mask_{path.name}") > 0.5
        yield Case(
            kind="ice-crystals",
            name=path.stem,
            image=mrcfile.read(path),
            pixel_size_angstrom=1.0,
            diameter_angstrom=46 / 1.5,
            junk=other,
        )


JUNK = Junk(crystal_probability=0.7, carbon_probability=0.7, aggregate_probability=0.7)
SPECIES = ("apoferritin", "beta-galactosidase", "ribosome")


def simulated(seeds: range) -> Iterator[Case]:
    """Yield sessions of one micrograph each, of all species, the last one without junk."""
    for seed in seeds:
        species = SPECIES[seed % len(SPECIES)]
        session = Session(
            species=species,
            shape_px=(2048, 2048),
            junk=JUNK if seed != seeds[-1] else Junk.none(),
            seed=seed,
        )
        made = simulate_micrograph(session, 1)
        pixel = session.pixel_size_angstrom
        true = np.column_stack([made.truth.y_px, made.truth.x_px]).astype(np.float64)
        junk = junk_of(made.field, made.image.shape, pixel)
        away_px = ndimage.distance_transform_edt(~junk) if junk.any() else np.full(junk.shape, 1e9)
        radius_px = specimen(species).diameter_angstrom / pixel / 2
        yield Case(
            kind="own",
            name=f"{species}_{seed}",
            image=made.image,
            pixel_size_angstrom=pixel,
            diameter_angstrom=specimen(species).diameter_angstrom,
            particles=true,
            beside_junk=at(away_px < radius_px, true),
            junk=junk,
        )


def junk_of(layout: Field, shape: tuple[int, ...], pixel: float) -> Mask:
    """Return a mask of carbon and crystals."""
    y, x = (a * np.float32(pixel) for a in np.ogrid[: shape[0], : shape[1]])
    area = np.zeros(shape, dtype=bool)
    if layout.carbon is not None:
        film = layout.carbon
        off = np.hypot(x - film.x_angstrom, y - film.y_angstrom)
        area |= off > film.hole_radius_angstrom
    for crystal in layout.crystals:
        area |= crystal_of(crystal, y, x)
    return area


def crystal_of(crystal: Crystal, y: NDArray[np.float32], x: NDArray[np.float32]) -> Mask:
    """Return a mask of a crystal, with the same outline as in the simulator."""
    dy, dx = y - crystal.y_angstrom, x - crystal.x_angstrom
    angle = np.arctan2(dy, dx)
    outer = np.ones_like(angle)
    for order, (cosine, sine) in enumerate(crystal.harmonics, start=2):
        outer += cosine * np.cos(order * angle) + sine * np.sin(order * angle)
    return np.asarray(np.hypot(dx, dy) < crystal.radius_angstrom * outer.clip(0.35))


FALCON = Expert("empiar-10017/image/*.jpg", "empiar-10017/picks", 1.77, 180.0)
SUMS = Expert("empiar-10146/sum/*.png", "empiar-10146/picks", 1.5, 125.0)
FRAMES = Expert("empiar-10146/frame/*.png", "empiar-10146/picks", 1.5, 125.0)

KINDS: dict[str, Any] = {
    "own*": lambda data: simulated(range(101, 106)),
    "10017*": lambda data: empiar(data, FALCON, slice(None, 5)),
    "10146-frames*": lambda data: empiar(data, FRAMES, slice(None)),
    "multislice*": lambda data: multislice(data, ("ribo_contam", "apof_easy", "groel_tilt25")),
    "quality*": lambda data: thumbnails(data, 0),
    "own": lambda data: simulated(range(106, 112)),
    "10017": lambda data: empiar(data, FALCON, slice(5, None)),
    "10146-sums": lambda data: empiar(data, SUMS, slice(None)),
    "multislice": lambda data: multislice(
        data, ("empty_ice_contam", "groel_crowded", "spike_hard_00")
    ),
    "quality": lambda data: thumbnails(data, 1),
    "ice-crystals": crystals,
}

if __name__ == "__main__":
    sys.exit(main())
