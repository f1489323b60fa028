"""Large files of other programs: each is read within its size and 256 MiB, in a process of its own.

The limit is one of the address space, so that too much memory fails the reader, not the machine.
"""

import subprocess
import sys

import pytest

SIZE_BYTES = 20 << 20

CHILD = """
import resource, sys
from pathlib import Path
from livepick.core.formats.coordinates import read_all_positions
from livepick.core.formats.ctf_files import find_ctfs
from livepick.picking.relion_job import read_list

path = Path(sys.argv[1])
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
most = now + path.stat().st_size + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
if path.name == "ctf.star":
    print(len(find_ctfs(path, [Path("/a/m_1.mrc")])[0]))
elif path.name == "list.star":
    print(len(read_list(path.parent, path.name)))
else:
    print(sum(map(len, read_all_positions(path).values())))
"""

STAR = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
CBOX = "data_cryolo\nloop_\n_CoordinateX\n_CoordinateY\n_Width\n_Height\n_Confidence\n"
CTF = "data_\nloop_\n_rlnMicrographName\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n"
CTF += "_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "head", "row"),
    [
        ("a.star", STAR, "m_{0}.mrc 1234.5 2345.5\n"),
        ("a.csv", "micrograph,x_px,y_px,score\n", "m_{0}.mrc,1234.5,2345.5,0.5\n"),
        ("a.box", "", "1234\t2345\t64\t64\n"),
        ("a.cbox", CBOX, "1234.5 2345.5 64 64 0.5\n"),
        ("a.txt", "image_name\tx_coord\ty_coord\tscore\n", "m_{0}\t1234\t2345\t0.5\n"),
        ("ctf.star", CTF, "m_{0}.mrc 10000 9000 45 300 2.7 0.1\n"),
        ("list.star", CTF, "m_{0}.mrc 10000 9000 45 300 2.7 0.1\n"),
    ],
)
def test_a_large_file_is_read_in_little_memory(tmp_path, name, head, row):
    """The rows of a thousand micrographs come in turn."""
    rows = "".join(row.format(i) for i in range(1000))
    times = (SIZE_BYTES - len(head)) // len(rows) + 1
    (tmp_path / name).write_text(head + rows * times)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path / name], check=False, capture_output=True, text=True
    )
    expected = {"ctf.star": 1, "list.star": 1000}.get(name, 1000 * times)
    assert done.stdout == f"{expected}\n", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("name", "head", "row"),
    [
        ("a.csv", "x_px,y_px\n", "1,2\n"),
        ("a.txt", "image_name\tx_coord\ty_coord\n", "{0}\t1\t2\n"),
        ("a_info.json", "", "[[],"),
    ],
)
def test_more_than_fits_is_refused_in_words(tmp_path, name, head, row):
    rows = "".join(row.format(i) for i in range(1_700_000 if "{0}" in row else 5_300_000))
    (tmp_path / name).write_text(head + rows)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path / name], check=False, capture_output=True, text=True
    )
    said = "longer than 6 MiB" if name == "a_info.json" else "positions, too many for the memory"
    assert done.returncode == 1
    assert f"CoordinatesError: {tmp_path / name}" in done.stderr
    assert said in done.stderr
