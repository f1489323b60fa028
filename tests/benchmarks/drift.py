"""Measure the drift monitor: micrographs until a change is found, and rate of false alarms.

    python tests/benchmarks/drift.py [--work FOLDER] [--bundle FOLDER] [--calibrate]
        [--square-sigma 0.1]

The sessions are simulated (``drift_sessions``) and picked by the real worker with a trained bundle.
Ten have no change. In the others, the specimen is replaced or the number of particles is halved
after 60 micrographs. As in the service, every session is tested after each micrograph once there
are a reference and a window. The picks are kept in ``--work`` for later runs.

Target: each change is found within 25 micrographs, and ten stationary sessions have no finding. The
limits in ``livepick.core.evaluation.drift_test`` were chosen on the sessions that ``--calibrate``
shows, with the largest size of each figure in a session without change (1 is a finding, if it is
also significant). No other session was examined before the limits were fixed.

Limitation: a grid square with half the density that fills the window looks like any other change.
The more the squares differ (``--square-sigma``) and the larger they are, the more often this
happens.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from drift_sessions import Change, picked, trained_bundle
from rich.console import Console
from rich.table import Table

from livepick.core.evaluation.drift_test import (
    DRIFT_FIGURES,
    REFERENCE,
    WINDOW,
    Drift,
    DriftKind,
    Picked,
    compare,
)

CONSOLE = Console(width=150)
BEFORE, AFTER = 60, 25
STATIONARY = 120
WITHIN = 25

CHANGES = {
    "density halved": Change(BEFORE, density=0.5),
    "to proteasome": Change(BEFORE, "proteasome"),
    "to beta-galactosidase": Change(BEFORE, "beta-galactosidase"),
    "to ribosome": Change(BEFORE, "ribosome"),
}
"""Changes of a session. Another specimen covers as much of the area as the first."""

CALIBRATION = (1, 11, 12)
CALIBRATION_STATIONARY = (101, 102, 103, *range(201, 211))
REPORTED, REPORTED_STATIONARY = (21, 22), tuple(range(301, 311))
"""Seeds of the reported sessions; calibration and reported sessions are all different."""


def main() -> int:
    """Print the table; return 1 if a change is found too late or there is a false alarm."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="keep models and picks in this folder")
    parser.add_argument("--bundle", type=Path, help="bundle for apoferritin; trained if not given")
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--square-sigma", type=float, default=0.1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="livepick-drift-") as temporary:
        work = given.work or Path(temporary)
        bundle = given.bundle or trained_bundle(work)
        changed, stationary = (
            (CALIBRATION, CALIBRATION_STATIONARY)
            if given.calibrate
            else (REPORTED, REPORTED_STATIONARY)
        )
        table = Table(title=f"Reference of {REFERENCE} and window of {WINDOW} micrographs")
        for name in ("session", "seed", "found after", "findings", *DRIFT_FIGURES):
            table.add_column(name)
        late = _changes(table, bundle, work, changed, given.square_sigma)
        table.add_section()
        false = _stationary(table, bundle, work, stationary, given.square_sigma)
        CONSOLE.print(table)
    CONSOLE.print(
        f"{late} of {len(changed) * len(CHANGES)} changes not found within {WITHIN} micrographs;"
        f" findings in {false} of {len(stationary)} stationary sessions"
    )
    return 1 if late or false else 0


def _changes(
    table: Table, bundle: Path, work: Path, seeds: Sequence[int], square_sigma: float
) -> int:
    """Add a row for each change; return the number of changes that are found too late."""
    late = 0
    for seed in seeds:
        before = picked(
            f"base-{seed}", bundle, work, seed, BEFORE, Change(), square_sigma=square_sigma
        )
        for name, change in CHANGES.items():
            after = picked(
                f"{name.replace(' ', '-')}-{seed}",
                bundle,
                work,
                seed,
                BEFORE + AFTER,
                change,
                square_sigma=square_sigma,
                first=BEFORE,
            )
            looks = _looks([*before, *after])
            late += _row(table, name, seed, looks, after=BEFORE) not in range(1, WITHIN + 1)
    return late


def _stationary(
    table: Table, bundle: Path, work: Path, seeds: Sequence[int], square_sigma: float
) -> int:
    """Add a row for each session without a change; return the number that have a finding."""
    false = 0
    for seed in seeds:
        name = f"stationary-{seed}"
        looks = _looks(
            picked(name, bundle, work, seed, STATIONARY, Change(), square_sigma=square_sigma)
        )
        false += _row(table, "stationary", seed, looks, after=0) is not None
    return false


def _looks(micrographs: Sequence[Picked]) -> list[tuple[int, Drift]]:
    """Return the drift after each micrograph, starting with the first possible test."""
    looks: list[tuple[int, Drift]] = []
    active: tuple[DriftKind, ...] = ()
    for count in range(REFERENCE + WINDOW, len(micrographs) + 1):
        window = micrographs[count - WINDOW : count]
        drift = compare(micrographs[:REFERENCE], window, model_version=1, active=active)
        active = tuple(change.kind for change in drift.changes)
        looks.append((count, drift))
    return looks


def _row(
    table: Table, name: str, seed: int, looks: Sequence[tuple[int, Drift]], *, after: int
) -> int | None:
    """Add a session to the table; return the number of micrographs until its first finding."""
    first: dict[str, int] = {}
    for count, drift in looks:
        for change in drift.changes:
            first.setdefault(change.kind, count - after)
    found = min(first.values(), default=None)
    sizes = [f"{max(drift.size(figure) for _, drift in looks):.2f}" for figure in DRIFT_FIGURES]
    words = ", ".join(f"{kind} {count}" for kind, count in first.items())
    table.add_row(name, str(seed), "-" if found is None else str(found), words, *sizes)
    return found


if __name__ == "__main__":
    sys.exit(main())
