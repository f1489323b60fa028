"""Measure how long a session on a Dask cluster takes to recover from faults.

    python tests/benchmarks/cluster_faults.py [--times N] [--seed S] [FAULT ...]

For each fault, a scheduler, two workers of one process each and a service are started; small
micrographs land, five a second, and the fault comes at a random moment. The table has the seconds
from the fault until all micrographs that had landed by then were picked, and the longest time
without a pick, as median and maximum, and the number of sessions after which something was wrong:
a micrograph that was not picked exactly once or was blamed, or other files than on processes of
this machine. The exit status is 1 if there was one. Faults of the network need root.

The scenes are those of the acceptance tests (``tests/acceptance/fault_scenes.py``). Here the
programs wait as long as in a session, unless --impatient is given.
"""

import argparse
import importlib
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))
# The harness of the acceptance tests has no annotations.
scenes: Any = importlib.import_module("fault_scenes")
machines: Any = importlib.import_module("machine")

ELSEWHERE = {"network of a worker": "worker", "network of the cluster": "cluster"}
"""Programs on another machine, by the first words of the name of the fault."""

MOMENTS_SECONDS = (0.2, 3.0)
"""First and last moment of the fault, in seconds after the first micrograph."""

CONSOLE = Console(width=110, highlight=False)


def one_session(
    fault: str, after_seconds: float, folder: Path, checksums: Mapping[str, str], *, patient: bool
) -> tuple[float, float, list[str]]:
    """Return the two times of a session with a fault, and what was wrong at its end."""
    name = fault.partition(",")[0]
    scene = scenes.Scene(folder, elsewhere=ELSEWHERE.get(name, ""), patient=patient)
    try:
        scene.start()
        recovery, gap = scene.run(fault, after_seconds=after_seconds)
        restarts = int(name == "service killed")
        return recovery, gap, scenes.faults_of(scene, checksums, restarts=restarts)
    finally:
        scene.end()


def main() -> int:
    """Measure, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=2, help="sessions for each fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--impatient", action="store_true", help="with the waits of the tests")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="by default all of them")
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 - the same moments at each run
    table = Table("fault", "sessions", "recovered after, s", "longest gap, s", "wrong")
    any_wrong = False
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        (place / "local").mkdir()
        checksums = scenes.on_processes(place / "local")
        for fault in options.faults or list(scenes.FAULTS):
            if (why := machines.why_none()) and fault.startswith(tuple(ELSEWHERE)):
                CONSOLE.print(f"{fault}: left out: {why}")
                continue
            recoveries, gaps, wrong = [], [], 0
            for number in range(options.times):
                folder = place / re.sub(r"\W+", "-", f"{fault} {number}")  # no comma: CSV quotes it
                folder.mkdir()
                after_seconds = rng.uniform(*MOMENTS_SECONDS)
                try:
                    recovery, gap, faults = one_session(
                        fault, after_seconds, folder, checksums, patient=not options.impatient
                    )
                except AssertionError as error:
                    faults = [str(error)]
                else:
                    recoveries.append(recovery)
                    gaps.append(gap)
                wrong += bool(faults)
                for each in faults:
                    CONSOLE.print(f"{fault}, {after_seconds:.2f} s: {each}")
            any_wrong |= wrong > 0
            table.add_row(
                fault, str(options.times), _summary(recoveries), _summary(gaps), str(wrong)
            )
    CONSOLE.print(table)
    return int(any_wrong)


def _summary(seconds: list[float]) -> str:
    if not seconds:
        return "-"
    return f"{statistics.median(seconds):.1f} ({max(seconds):.1f})"


if __name__ == "__main__":
    sys.exit(main())
