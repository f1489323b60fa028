"""``livepick simulate`` as a program: it ends well when it is told to."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from livepick.core.formats.coordinates import read_all_positions

LIVEPICK = Path(sys.executable).with_name("livepick")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_endless_acquisition_ends_whole(tmp_path, stop):
    """Stopped in the middle of a file: status 0, no half-written file, truth for each whole one."""
    output = tmp_path / "micrographs"
    pace = ["--micrographs", "0", "--every", "100ms", "--write-seconds", "3"]
    options = [*pace, "--size", "128", "--pixel-size", "8"]
    with subprocess.Popen(
        [LIVEPICK, "simulate", output, *options], stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not list(output.glob("*_0002.mrc")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(stop)
        said, _ = process.communicate(timeout=30)

    assert process.returncode == 0
    assert [path.name for path in output.iterdir()] == ["sim_0001.mrc"]
    assert (output / "sim_0001.mrc").stat().st_size == 1024 + 4 * 128 * 128
    assert set(read_all_positions(tmp_path / "micrographs-truth")) == {"sim_0001"}
    assert "1 micrographs in" in said
