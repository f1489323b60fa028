"""The commands of daemon/relion.md, typed as they stand, give particles in RELION."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
from relion_scene import EXTRACT

PAGE = Path(__file__).parents[2] / "daemon" / "relion.md"
MICROGRAPHS = 6
PATIENCE_SECONDS = 240

pytestmark = pytest.mark.skipif(EXTRACT is None, reason="relion_preprocess is not installed")


def commands():
    """Return the lines of the section "Try it" that begin with a prompt."""
    section = PAGE.read_text().partition("## Try it")[2].partition("\n## ")[0]
    return re.findall(r"^\$ (.+)$", section, re.MULTILINE)


class Typed:
    """Commands, typed in a folder."""

    def __init__(self, folder):
        self.folder = folder
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": tools}

    def run(self, command):
        """Run a command to its end."""
        run = subprocess.run(
            shlex.split(command),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"

    def start(self, command):
        """Start a command that runs until it is stopped."""
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                shlex.split(command), cwd=self.folder, env=self.environment, stderr=log
            )


def test_the_commands_of_the_page_give_particles_in_relion(tmp_path):
    """Most are where the simulator has put one, and all have a defocus."""
    typed = Typed(tmp_path)
    before, (service, *after) = commands()[:3], commands()[3:]
    assert service.startswith("livepick run")
    for command in before:
        typed.run(command)
    # Another service may use the port of the page.
    config = tmp_path / "session.yaml"
    config.write_text(config.read_text() + "\nweb: {listen: '127.0.0.1:0'}\n")
    process = typed.start(service)
    try:
        micrographs = tmp_path / "External/livepick/micrographs.star"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not micrographs.exists() or micrographs.read_text().count("sim_") < MICROGRAPHS:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(1)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    for command in after:
        typed.run(command)

    tables = starfile.read(tmp_path / "Extract/job005/particles.star", always_dict=True)
    particles = tables["particles"]
    assert len(particles) > 100
    assert (particles["rlnDefocusU"] > 5000).all()
    centred = [
        near_the_truth(tmp_path, row.rlnMicrographName, (row.rlnCoordinateX, row.rlnCoordinateY))
        for row in particles.itertuples()
    ]
    assert np.mean(centred) > 0.8
    name = particles["rlnImageName"].iloc[0].partition("@")[2]
    assert mrcfile.read(tmp_path / name).shape[1:] == (128, 128)


def near_the_truth(folder, micrograph, position):
    """Return True if a true particle is within a tenth of the diameter, 125 Å or 83 pixels."""
    truth = starfile.read(next((folder / "truth").rglob(f"{Path(micrograph).stem}*.star")))
    centres = truth[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy()
    return np.min(np.linalg.norm(centres - position, axis=1)) < 8.3
