"""The acquisition: micrographs at a fixed pace, with the true positions of each.

The content of a micrograph depends only on the session and the micrograph's number; its time of
arrival depends only on the clock. The next micrograph is made while the microscope "waits", so the
pace is kept as long as one core makes a micrograph faster than that. The true positions are written
*before* their micrograph, so that they exist as soon as the micrograph is visible.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.mrc import mrc_bytes
from livepick.core.formats.star import Table, star_file
from livepick.core.imaging.picks import Picks
from livepick.host.atomic_files import write_atomically
from livepick.simulate.delivery import Stopped, WriteMode, deliver
from livepick.simulate.exposure import Simulated, simulate_micrograph
from livepick.simulate.field import Session

__all__ = ["NOTES", "Pace", "Plan", "acquire", "truth_star"]

NOTES = "acquisition.jsonl"
"""Name of a file in the truth folder, with one JSON line per micrograph about its content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Content, location and timing of the files to write."""

    session: Session
    output: Path
    """Folder that the micrographs are written to."""

    truth: Path
    """Folder of the true positions, outside ``output``."""

    micrographs: int | None
    """Number of micrographs; None: continue until stopped."""

    every_seconds: float
    """Time from one micrograph to the next, in seconds."""

    write_seconds: float
    """Time to write one micrograph, in seconds."""

    mode: WriteMode = "inplace"
    first: int = 1
    """Number of the first micrograph, and the seed of its content."""

    prefix: str = "sim"
    half: bool = False
    """Write float16 (mode 12), as Warp does."""

    def name(self, index: int) -> str:
        """Return the file name of a micrograph."""
        return f"{self.prefix}_{index:04d}.mrc"


class Pace:
    """The clock of an acquisition. ``stop`` may be called from any thread or signal handler."""

    def __init__(self, every_seconds: float) -> None:
        self._every = every_seconds
        self._due = time.monotonic()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the acquisition at its next wait."""
        self._stopped.set()

    def pause(self, seconds: float) -> None:
        """Wait for some seconds; raise ``Stopped`` if the acquisition is stopped."""
        if self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set():
            raise Stopped

    def next_exposure(self) -> None:
        """Wait until the next micrograph is due; after a late one, the others are not hurried."""
        self.pause(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due, time.monotonic() - self._every) + self._every


def acquire(plan: Plan, pace: Pace, landed: Callable[[Path, Simulated], None]) -> int:
    """Run an acquisition, call ``landed`` for each micrograph, and return their number.

    Raises
    ------
    OSError
        A file could not be written.
    """
    plan.output.mkdir(parents=True, exist_ok=True)
    plan.truth.mkdir(parents=True, exist_ok=True)
    done = 0
    try:
        for index in _indices(plan):
            path = plan.output / plan.name(index)
            simulated = simulate_micrograph(plan.session, index)
            content = _file_of(plan, simulated.image)
            undose = _without_dose_weighting(plan, simulated) if plan.mode == "mc2" else b""
            pace.next_exposure()
            star = plan.truth / f"{path.stem}_truth.star"
            write_atomically(star, truth_star(simulated.truth))
            try:
                deliver(
                    path,
                    content,
                    plan.mode,
                    seconds=plan.write_seconds,
                    pause=pace.pause,
                    undose=undose,
                )
            except BaseException:
                star.unlink(missing_ok=True)
                raise
            _note(plan, path, simulated)
            done += 1
            landed(path, simulated)
    except Stopped:
        pass  # the only place that handles this: stopping an acquisition is not an error
    return done


def truth_star(truth: Picks) -> bytes:
    """Return true positions as a RELION coordinates file."""
    rows = [[f"{x:12.3f}", f"{y:12.3f}"] for x, y in zip(truth.x_px, truth.y_px, strict=True)]
    return star_file([Table(["rlnCoordinateX", "rlnCoordinateY"], rows)])


def _indices(plan: Plan) -> Iterator[int]:
    if plan.micrographs is None:
        return count_from(plan.first)
    return iter(range(plan.first, plan.first + plan.micrographs))


def _without_dose_weighting(plan: Plan, simulated: Simulated) -> bytes:
    """Return the same exposure with more noise, so that picking it by mistake can be detected."""
    rng = np.random.default_rng([plan.session.seed, simulated.index, 1])
    noise = rng.standard_normal(simulated.image.shape, dtype=np.float32)
    noisy = simulated.image + 2 * simulated.image.std() * noise
    return _file_of(plan, noisy)


def _file_of(plan: Plan, image: NDArray[np.float32]) -> bytes:
    """Return the content of a micrograph's file."""
    stored = image.astype(np.float16) if plan.half else image
    pixel_size_angstrom = plan.session.pixel_size_angstrom
    return mrc_bytes(stored, pixel_size_angstrom, label="livepick simulated micrograph")


def _note(plan: Plan, path: Path, simulated: Simulated) -> None:
    optics, field = simulated.field.optics, simulated.field
    line = {
        "micrograph": path.name,
        "particles": len(simulated.truth),
        "defocus_u_angstrom": round(optics.defocus_u_angstrom, 1),
        "defocus_v_angstrom": round(optics.defocus_v_angstrom, 1),
        "carbon": field.carbon is not None,
        "crystals": len(field.crystals),
        "aggregates": len(field.lumps) > 0,
        "empty": field.empty,
    }
    with (plan.truth / NOTES).open("a") as file:
        file.write(json.dumps(line) + "\n")
