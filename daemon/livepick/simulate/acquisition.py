"""The acquisition: micrographs at a pace, each with its true positions beside it.

What is simulated depends on the session and the number of the micrograph alone; when it lands
depends on the clock alone. The next micrograph is made while the microscope "waits", so a pace
holds as long as one core makes a micrograph faster than that. Truth is written *before* its
micrograph: who sees the one finds the other.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import Path

import numpy as np

from livepick.core.imaging.picks import Picks
from livepick.host.atomic_files import write_atomically
from livepick.simulate.delivery import Stopped, WriteMode, deliver, mrc_bytes
from livepick.simulate.exposure import Simulated, simulate_micrograph
from livepick.simulate.field import Session

__all__ = ["NOTES", "Pace", "Plan", "acquire", "truth_star"]

NOTES = "acquisition.jsonl"
"""In the folder of the truth: one JSON line a micrograph, with what there is to see on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to write, where, and when."""

    session: Session
    output: Path
    """Folder that the micrographs land in."""

    truth: Path
    """Folder of the true positions, outside ``output``."""

    micrographs: int | None
    """How many; None goes on until it is stopped."""

    every_seconds: float
    """From one micrograph to the next."""

    write_seconds: float
    """How long one takes to be written."""

    mode: WriteMode = "inplace"
    first: int = 1
    """Number of the first one, and the seed of its content."""

    prefix: str = "sim"
    half: bool = False
    """Write float16 (mode 12), as Warp does."""

    def name(self, index: int) -> str:
        """Return the file name of a micrograph."""
        return f"{self.prefix}_{index:04d}.mrc"


class Pace:
    """The clock of an acquisition, which ``stop`` ends from any thread or signal handler."""

    def __init__(self, every_seconds: float) -> None:
        self._every = every_seconds
        self._due = time.monotonic()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the acquisition at its next wait."""
        self._stopped.set()

    def pause(self, seconds: float) -> None:
        """Wait; raise ``Stopped`` if the acquisition ends."""
        if self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set():
            raise Stopped

    def next_exposure(self) -> None:
        """Wait until the next micrograph is due; one that is late does not hurry the others."""
        self.pause(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due, time.monotonic() - self._every) + self._every


def acquire(plan: Plan, pace: Pace, landed: Callable[[Path, Simulated], None]) -> int:
    """Run an acquisition; ``landed`` is told of each micrograph. Return how many there were.

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
            content = mrc_bytes(simulated.image, plan.session.pixel_size_angstrom, half=plan.half)
            undose = _without_dose_weighting(plan, simulated) if plan.mode == "mc2" else b""
            pace.next_exposure()
            star = plan.truth / f"{path.stem}_truth.star"
            write_atomically(star, truth_star(simulated.truth).encode())
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
        pass  # the one place that decides: an acquisition that is told to end has ended well
    return done


def truth_star(truth: Picks) -> str:
    """Return true positions as a RELION coordinates file."""
    lines = ["", "# version 30001", "", "data_", "", "loop_"]
    lines += ["_rlnCoordinateX #1", "_rlnCoordinateY #2"]
    lines += [f"{x:12.3f} {y:12.3f}" for x, y in zip(truth.x_px, truth.y_px, strict=True)]
    return "\n".join([*lines, "", ""])


def _indices(plan: Plan) -> Iterator[int]:
    if plan.micrographs is None:
        return count_from(plan.first)
    return iter(range(plan.first, plan.first + plan.micrographs))


def _without_dose_weighting(plan: Plan, simulated: Simulated) -> bytes:
    """Return the same exposure with more noise, so that whoever picks it can be told."""
    rng = np.random.default_rng([plan.session.seed, simulated.index, 1])
    noise = rng.standard_normal(simulated.image.shape, dtype=np.float32)
    noisy = simulated.image + 2 * simulated.image.std() * noise
    return mrc_bytes(noisy, plan.session.pixel_size_angstrom, half=plan.half)


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
