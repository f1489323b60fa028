"""Drift: after how many micrographs a change is found, and how often none is found where none is.

    python tests/benchmarks/drift.py [--work FOLDER] [--bundle FOLDER] [--calibrate]
        [--square-sigma 0.1]

Simulated sessions (``drift_sessions``), picked by the real worker with a trained bundle: ten
without any change, and some in which the specimen becomes another, or the particles half as many,
after 60 micrographs. Every session is looked at after every micrograph, as the service does, once
there are a reference and a window. What was picked is kept in ``--work``, for another run.

To reach: each change is found within 25 micrographs, and ten stationary sessions raise nothing. The
limits in ``livepick.core.evaluation.drift_test`` were chosen on the sessions that ``--calibrate``
shows, with the largest size (1 is a finding, if it is no chance as well) that each figure has in a
session without change. No other session was looked at before they stood.

What it cannot do: a square of half the density that fills the window is a change like another. The
more the squares differ (``--square-sigma``) and the larger they are, the more often that happens.
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
"""Another specimen covers as much of the area as the first."""

CALIBRATION = (1, 11, 12)
CALIBRATION_STATIONARY = (101, 102, 103, *range(201, 211))
REPORTED, REPORTED_STATIONARY = (21, 22), tuple(range(301, 311))
"""Seeds, which share no session."""


def main() -> int:
    """Print the table; return 1 if a change is found too late, or where there is none."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="keep models and picks in this folder")
    parser.add_argument("--bundle", type=Path, help="of apoferritin; else one is trained")
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
        table = Table(title=f"a reference of {REFERENCE}, a window of {WINDOW} micrographs")
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
    """Add a row for each change; return how many are found too late."""
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
    """Add a row for each session without a change; return how many have a finding."""
    false = 0
    for seed in seeds:
        name = f"stationary-{seed}"
        looks = _looks(
            picked(name, bundle, work, seed, STATIONARY, Change(), square_sigma=square_sigma)
        )
        false += _row(table, "stationary", seed, looks, after=0) is not None
    return false


def _looks(micrographs: Sequence[Picked]) -> list[tuple[int, Drift]]:
    """Return what is found after each micrograph, from the first look that can be."""
    looks: list[tuple[int, Drift]] = []
    active: tuple[DriftKind, ...] = ()
    for count in range(REFERENCE + WINDOW, len(micrographs) + 1):
        window = micrographs[count - WINDOW : count]
        drift = compare(micrographs[:REFERENCE], window, model_version=1, active=active)
        active = tuple(finding.kind for finding in drift.findings)
        looks.append((count, drift))
    return looks


def _row(
    table: Table, name: str, seed: int, looks: Sequence[tuple[int, Drift]], *, after: int
) -> int | None:
    """Add a session to the table; return after how many micrographs it had a finding."""
    first: dict[str, int] = {}
    for count, drift in looks:
        for finding in drift.findings:
            first.setdefault(finding.kind, count - after)
    found = min(first.values(), default=None)
    sizes = [f"{max(drift.size(figure) for _, drift in looks):.2f}" for figure in DRIFT_FIGURES]
    words = ", ".join(f"{kind} {count}" for kind, count in first.items())
    table.add_row(name, str(seed), "-" if found is None else str(found), words, *sizes)
    return found


if __name__ == "__main__":
    sys.exit(main())
