"""The demo's verdict: all pickers compared with the true positions, as a table and pictures."""

import json
import subprocess
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from demo_progress import DemoError
from demo_session import CONSOLE, LIVEPICK, PIXEL_SIZE_ANGSTROM, Demo, say
from livepick.config.yaml_loader import load_config
from livepick.core.contracts.bundle import read_card
from livepick.core.contracts.run import RUNS, RunSpec
from livepick.core.evaluation.matching import Figures, Matches, figures, match, precision_recall_f1
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.imaging.pick_area import PickArea
from livepick.models.registry import MODELS, Models
from livepick.simulate.acquisition import NOTES

PICTURES = 4
"""Number of micrographs that are drawn."""


def is_better(demo: Demo) -> bool:
    """Compare all pickers with the truth; return True if the trained one is better."""
    models = demo.state / MODELS
    promoted = Models(models).promoted()
    if promoted is None:
        raise DemoError(f"{models} has no promoted model")
    pickers = {"blob": models / "0000", "general": models / "0001", "trained": promoted.path}
    files = sorted((demo.place / "micrographs").glob("*.mrc"))
    for name, bundle in pickers.items():
        output = demo.place / "candidates" / name
        command = ["pick", bundle, "--threshold", "0", "--output", output, *files]
        subprocess.run([str(LIVEPICK), *map(str, command)], check=True, stdout=subprocess.DEVNULL)
    run = RunSpec.read(demo.state / RUNS / pickers["trained"].name)
    used = {Path(micrograph.path).stem for micrograph in run.micrographs}
    unseen = [path.stem for path in files if path.stem not in used]

    say(f"{len(used)} micrographs were used for training; {len(unseen)} were not")
    thresholds = {name: read_card(path).threshold for name, path in pickers.items()}
    precision = _show_table(demo, thresholds, [path.stem for path in files], unseen)
    _draw(demo, unseen, thresholds)
    gain = precision["trained"] - max(precision["blob"], precision["general"])
    verdict = "[bold green]better[/]" if gain > 0 else "[bold red]not better[/]"
    CONSOLE.print(f"The trained picker is {verdict} than both first pickers (AP {gain:+.3f})")
    return gain > 0


def _show_table(
    demo: Demo, thresholds: dict[str, float], stems: list[str], unseen: list[str]
) -> dict[str, float]:
    """Print the figures of all pickers; return their average precision on unseen micrographs."""
    table = Table(title="Compared with the truth", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("micrographs", no_wrap=True)
    table.add_column("picker", no_wrap=True)
    for heading in ("AP", "F1", "precision", "recall", "Å error", "F1 written"):
        table.add_column(heading, justify="right", no_wrap=True)
    average_precision: dict[str, float] = {}
    for title, chosen in ((f"{len(unseen)} unseen", unseen), (f"all {len(stems)}", stems)):
        for name, threshold in thresholds.items():
            matches = [_matches(demo, name, stem) for stem in chosen]
            found = figures(matches)
            average_precision.setdefault(name, found.average_precision)
            written = precision_recall_f1(matches, threshold)[2]
            table.add_row(title, name, *_cells(found), f"{written:.3f}")
        table.add_section()
    CONSOLE.print(table)
    say(
        f"One-to-one within {demo.diameter_angstrom / 4:.0f} Å; precision, recall and error"
        " where F1 is best; all candidates count for AP; F1 written: at the model's own threshold"
    )
    return average_precision


def _matches(demo: Demo, picker: str, stem: str) -> Matches:
    picks = read_coordinates(demo.place / "candidates" / picker / f"{stem}_autopick.star")
    truth = read_coordinates(demo.place / "truth" / f"{stem}_truth.star")
    return match(picks, truth, radius_px=demo.radius_px, area=_area(demo, stem))


def _area(demo: Demo, stem: str) -> PickArea:
    """Return the area in which all pickers may pick, by the config's edge rule."""
    import mrcfile  # noqa: PLC0415 - needed at the end only

    with mrcfile.mmap(demo.place / "micrographs" / f"{stem}.mrc", mode="r") as mrc:
        height, width = mrc.data.shape
    particle = load_config(demo.config).particle
    edge_px = particle.edge_fraction * particle.diameter_angstrom / PIXEL_SIZE_ANGSTROM
    return PickArea.of_image((height, width), edge_px=edge_px)


def _cells(found: Figures) -> list[str]:
    ratios = (found.average_precision, found.best_f1, found.precision, found.recall)
    error = found.localisation_mean_px * PIXEL_SIZE_ANGSTROM
    return [*(f"{ratio:.3f}" for ratio in ratios), f"{error:.1f}"]


def _draw(demo: Demo, stems: list[str], thresholds: dict[str, float]) -> None:
    """Draw the picks of all pickers, and the truth, on the worst micrographs."""
    from matplotlib import use  # noqa: PLC0415 - seconds to load, and needed at the end only

    use("Agg")
    import mrcfile  # noqa: PLC0415
    from matplotlib import pyplot  # noqa: PLC0415
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415

    notes = [json.loads(line) for line in (demo.place / "truth" / NOTES).read_text().splitlines()]
    trouble = {
        Path(note["micrograph"]).stem: note["carbon"] + bool(note["crystals"]) + note["aggregates"]
        for note in notes
    }
    folder = demo.place / "pictures"
    folder.mkdir()
    for stem in sorted(stems, key=lambda stem: -trouble[stem])[:PICTURES]:
        image = gaussian_filter(mrcfile.read(demo.place / "micrographs" / f"{stem}.mrc"), 2)
        truth = read_coordinates(demo.place / "truth" / f"{stem}_truth.star")
        middle = np.median(image)  # of ice: carbon and crystals may be black
        reach = 7 * np.median(np.abs(image - middle))
        size = (8 * len(thresholds), 8.4)
        figure, axes = pyplot.subplots(1, len(thresholds), figsize=size, layout="constrained")
        for axis, (name, threshold) in zip(axes, thresholds.items(), strict=True):
            path = demo.place / "candidates" / name / f"{stem}_autopick.star"
            picks = read_coordinates(path).above(threshold)
            hit = match(picks, truth, radius_px=demo.radius_px).hit
            axis.imshow(image, cmap="gray", vmin=middle - reach, vmax=middle + reach)
            ring = {"s": 160, "facecolors": "none", "linewidths": 1.2}
            axis.scatter(truth.x_px, truth.y_px, edgecolors="gold", label="truth", **ring)
            for found, colour, label in ((hit, "lime", "right"), (~hit, "red", "wrong")):
                axis.scatter(picks.x_px[found], picks.y_px[found], 14, c=colour, label=label)
            axis.set_title(f"{stem}, {name}: {hit.sum()} right, {(~hit).sum()} wrong")
            axis.set_axis_off()
            axis.legend(loc="upper right")
        figure.savefig(folder / f"{stem}.png", dpi=80)
        pyplot.close(figure)
    say(f"Pictures with the picks drawn in: {folder}")
