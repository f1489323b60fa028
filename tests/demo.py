"""``make demo``: a simulated session from the first micrograph to a trained picker.

A simulated microscope writes micrographs into a folder, with ice, carbon, contamination,
aggregates and an empty field among them. The real service watches the folder, picks with the
general model, trains on the first ten, and picks them all again. Then the blob picker, the general
and the trained model are compared with the true positions, on micrographs that were not used for
training.

The demo has no time limit: it fails if nothing moves for five minutes. It ends with status 1 if
anything was not picked, or if the trained picker is not better than the others.
"""

import argparse
import re
import sys
import time
import urllib.request
from pathlib import Path

from demo_comparison import is_better
from demo_progress import DemoError
from demo_session import (
    CONSOLE,
    LIVEPICK,
    Demo,
    follow,
    microscope_command,
    prepare,
    read_address,
    say,
    show_logs,
    started,
    stop,
)
from livepick.simulate.species import SPECIES


def main() -> int:
    """Run the demo; return the exit status."""
    demo = _arguments()
    begun = time.monotonic()
    prepare(demo)
    try:
        with started(demo, "service", [str(LIVEPICK), "run", str(demo.config)]) as service:
            address = read_address(demo, service)
            say(f"The page of the session is http://{address}/ while this runs")
            with started(demo, "microscope", microscope_command(demo)) as microscope:
                follow(demo, service, microscope, begun)
            _show_metrics(address)
            stop(service)
        _check_outputs(demo)
        better = is_better(demo)
    except DemoError as failure:
        CONSOLE.print(f"[bold red]The demo failed:[/] {failure}", highlight=False)
        show_logs(demo)
        return 1
    say(f"All of it took {time.monotonic() - begun:.0f} s; the files are in {demo.place}")
    return 0 if better else 1


def _arguments() -> Demo:
    parser = argparse.ArgumentParser(description=__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, default=Path("demo-output"), help="emptied first")
    parser.add_argument("--micrographs", type=int)
    parser.add_argument("--bootstrap", type=int)
    parser.add_argument("--species", choices=SPECIES)
    parser.add_argument("--snr", type=float, dest="signal_to_noise")
    parser.add_argument(
        "--patience-seconds", type=float, help="fail if nothing moves for this long"
    )
    given = vars(parser.parse_args())
    return Demo(**given | {"place": given["place"].resolve()})


def _show_metrics(address: str) -> None:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()

    def total(name: str) -> float:
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    count = total("livepick_end_to_end_latency_seconds_count")
    latency = total("livepick_end_to_end_latency_seconds_sum") / max(count, 1)
    busy = total("livepick_stage_duration_seconds_sum")
    if not count:
        raise DemoError("/metrics does not know of a single picked micrograph")
    say(
        f"/metrics: first picks {latency:.1f} s after a micrograph landed, on average;"
        f" {busy:.1f} s of work in all stages;"
        f" {total('livepick_particles_total'):.0f} picks written"
    )


def _check_outputs(demo: Demo) -> None:
    inputs = {path.stem for path in (demo.place / "micrographs").glob("*.mrc")}
    outputs = {
        path.name.removesuffix("_autopick.star")
        for path in (demo.place / "output").rglob("*_autopick.star")
    }
    if inputs != outputs or len(inputs) != demo.micrographs:
        raise DemoError(f"no coordinates for {sorted(inputs - outputs)}")


if __name__ == "__main__":
    sys.exit(main())
