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
    """Stopped while it writes: status 0, no half-written file, truth for each whole one."""
    output = tmp_path / "micrographs"
    pace = ["--micrographs", "0", "--every", "100ms", "--write-seconds", "3"]
    options = [*pace, "--size", "128", "--pixel-size", "8"]
    with subprocess.Popen(
        [LIVEPICK, "simulate", output, *options], stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not list(output.glob("*_0002.mrc")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(stop)
        said, _ = process.communicate(timeout=120)

    assert process.returncode == 0
    whole = sorted(path.name for path in output.iterdir())
    assert whole == [f"sim_{number:04d}.mrc" for number in range(1, len(whole) + 1)] != []
    assert {path.stat().st_size for path in output.iterdir()} == {1024 + 4 * 128 * 128}
    truth = read_all_positions(tmp_path / "micrographs-truth")
    assert sorted(f"{name}.mrc" for name in truth) == whole
    assert f"{len(whole)} micrographs in" in said
