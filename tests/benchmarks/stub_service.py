"""The service with workers that return a ready result at once, to measure what the service costs.

    python tests/benchmarks/stub_service.py CONFIG

Everything is real except the picking: watching, ledger, jobs to the workers and back, output,
metrics and page. The process writes its CPU seconds, in all and by thread, to ``cpu.json`` beside
the config, twice a second, and the time for which the dispatch thread had no core. ``scaling.py``
starts it.
"""

import functools
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np

from livepick.core.contracts.job import Job, Result, StageSeconds
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import Quality

__all__ = ["CANDIDATES", "CPU_FILE", "stub"]

CPU_FILE = "cpu.json"
REPORT_SECONDS = 0.5
SHAPE_PX = (4096, 4096)

CANDIDATES = 600
"""Candidates in a result, half of them above the threshold: as in a crowded micrograph."""


def stub(job: Job) -> Result:
    """Return a result of the size of a real one, without reading the micrograph."""
    return _result(int(job.bundle.name))


@functools.cache
def _result(model_version: int) -> Result:
    random = np.random.default_rng(0)
    x, y = random.uniform(0, SHAPE_PX[0], (2, CANDIDATES))
    return Result(
        picks=Picks.sorted(x, y, random.uniform(0, 1, CANDIDATES).astype(np.float32)),
        threshold=0.5,
        model_version=model_version,
        model_kind="blob",
        shape_px=SHAPE_PX,
        pixel_size_angstrom=1.5,
        quality=Quality(masked_fraction=0.1, median_score=0.7, mottle=4.0, anisotropy=0.1),
        seconds=StageSeconds(0.1, 0.1, 0.1, 0.1),
        provider="CPUExecutionProvider",
    )


def _report(path: Path) -> None:
    """Write the CPU seconds of the process again and again, in all and by the names of threads."""
    ended: dict[str, float] = {}
    last: dict[int, tuple[str, float]] = {}
    while True:
        now = {
            thread.ident: (
                thread.name,
                time.clock_gettime(time.pthread_getcpuclockid(thread.ident)),
            )
            for thread in threading.enumerate()
            if thread.ident is not None
        }
        for ident, (name, seconds) in last.items():
            if now.get(ident, ("", 0.0))[1] < seconds:
                ended[name] = ended.get(name, 0.0) + seconds
        last = now
        threads = dict(ended)
        for name, seconds in now.values():
            threads[name] = threads.get(name, 0.0) + seconds
        cpu_seconds = time.process_time() - threads.pop("report")
        draft = path.with_suffix(".part")
        delays = {thread.name: _delay(thread) for thread in threading.enumerate()}
        report = {"all": cpu_seconds, "threads": threads, "delay": delays.get("dispatch", 0.0)}
        draft.write_text(json.dumps(report))
        draft.rename(path)
        time.sleep(REPORT_SECONDS)


def _delay(thread: threading.Thread) -> float:
    """Return the time for which a thread could run and had no core, in seconds."""
    try:
        text = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
    except OSError:  # it has just ended
        return 0.0
    return int(text.split()[1]) / 1e9


def main() -> None:
    """Run the service."""
    if len(sys.argv) < 2:
        sys.stdout.write(f"{__doc__}\n")
        return
    from stub_service import stub as work  # noqa: PLC0415 - a name that workers can import

    import livepick.service  # noqa: PLC0415 - the workers import this file, and need less
    from livepick.commands.run import run  # noqa: PLC0415

    vars(livepick.service)["pick"] = work
    config = Path(sys.argv[1])
    threading.Thread(
        target=_report, args=(config.with_name(CPU_FILE),), name="report", daemon=True
    ).start()
    run(config)


if __name__ == "__main__":
    main()
