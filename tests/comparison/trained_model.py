"""A model that livepick trains in a session of its own, on other micrographs of the specimen.

The real service runs with its default settings. It is told the pixel size and the diameter, as all
programs are, and no true position.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from comparison.livepick_command import LIVEPICK
from comparison.measured import ONE_THREAD, ProgramFailedError
from comparison.samples import LEAST_FOR_TRAINING, Sample
from livepick.core.contracts.bundle import bundle_name

MOST_SECONDS = 3600.0
"""Longest time that a session may take on a busy machine."""

MOST_WAIT_SECONDS = 600.0
"""Longest time until the training begins; it waits for good if too few micrographs have picks."""

POLL_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A trained model."""

    bundle: Path
    is_promoted: bool
    """False if the session's gate preferred the first picker."""

    cpu_seconds: float
    """CPU time of the session: it picks the micrographs, trains, and picks them again."""


def train(sample: Sample, place: Path) -> Trained:
    """Run a session on the micrographs that are not compared; a model of an earlier run is kept.

    Raises
    ------
    ProgramFailedError
        The service ended, or no model was trained.
    """
    done = place / "trained.json"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        version, promoted, cpu_seconds = _session(sample, place)
        done.write_text(json.dumps([version, promoted, cpu_seconds]))
    version, promoted, cpu_seconds = json.loads(done.read_text())
    return Trained(
        bundle=place / "state" / "models" / bundle_name(version),
        is_promoted=promoted,
        cpu_seconds=cpu_seconds,
    )


def _session(sample: Sample, place: Path) -> tuple[int, bool, float]:
    """Return the version of the trained model, if it was promoted, and the CPU seconds."""
    (place / "in").mkdir(parents=True)
    for number in sample.learned:
        path = sample.micrographs[number]
        shutil.copyfile(path, place / "in" / path.name)
    config = place / "session.yaml"
    config.write_text(yaml.safe_dump(_settings(sample)))
    with (place / "service.log").open("wb") as log:
        service = subprocess.Popen(
            [LIVEPICK, "run", config],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | ONE_THREAD,
        )
    training: dict[str, Any] = {"state": "not begun", "version": None}
    started = time.monotonic()
    try:
        while training["state"] not in {"trained", "kept_aside", "failed"}:
            begun = training["version"] is not None
            most_seconds = MOST_SECONDS if begun else MOST_WAIT_SECONDS
            if time.monotonic() > started + most_seconds or service.poll() is not None:
                raise ProgramFailedError(f"the session in {place} has no model: {training}")
            time.sleep(POLL_SECONDS)
            command = [str(LIVEPICK), "status", str(config), "--json"]
            answer = subprocess.run(command, check=True, capture_output=True).stdout
            training = json.loads(answer)["training"]
    finally:
        service.send_signal(signal.SIGTERM)
        _, status, used = os.wait4(service.pid, 0)
        service.returncode = os.waitstatus_to_exitcode(status)
    if training["state"] == "failed":
        raise ProgramFailedError(f"the training in {place} failed: {training['sentence']}")
    promoted = training["state"] == "trained"
    return training["version"], promoted, used.ru_utime + used.ru_stime


def _settings(sample: Sample) -> dict[str, dict[str, object]]:
    return {
        "session": {"name": sample.name},
        "watch": {"directories": ["in"], "settle_seconds": 1, "rescan_seconds": 2},
        "micrograph": {"pixel_size_angstrom": sample.pixel_size_angstrom},
        "particle": {"diameter_angstrom": sample.diameter_angstrom},
        # One in five may have no picks, or be masked: the training would wait for another one.
        "bootstrap": {"micrographs": max(LEAST_FOR_TRAINING, len(sample.learned) * 4 // 5)},
        "training": {"threads": 1},
        "picking": {"device": "cpu", "workers": 1},
        "output": {"directory": "out"},
        "state": {"directory": "state"},
        "web": {"listen": "127.0.0.1:0"},
    }
