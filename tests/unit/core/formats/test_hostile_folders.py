"""Folders of coordinates in which anything may lie beside the files."""

import errno
import os
import socket
from pathlib import Path

import pytest
from picked_micrographs import picked

from livepick.core.formats.coordinates import read_all_positions
from livepick.core.formats.relion_star import coordinates_star
from livepick.errors import CoordinatesError

PICKED = picked((10, 20, 0.5), (30, 40, 0.6))
STAR = coordinates_star(PICKED)


@pytest.mark.timeout(30)
def test_what_is_not_a_file_is_passed_over(tmp_path, monkeypatch):
    """Folders, pipes, sockets, devices and loops of links named like coordinates files."""
    (tmp_path / "good_autopick.star").write_bytes(STAR)
    (tmp_path / "folder.star").mkdir()
    (tmp_path / "folder.star" / "inside_autopick.star").write_bytes(STAR)
    for name in ("pipe.star", "pipe.txt", "pipe.cs", "pipe_info.json"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "loop.star").symlink_to("loop.star")
    (tmp_path / "dangling.csv").symlink_to("nothing")
    (tmp_path / "endless.box").symlink_to("/dev/zero")
    (tmp_path / "around").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("socket.star")
        found = read_all_positions(tmp_path)

    assert sorted(found) == ["folder.star/inside", "good"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["a.star", "a.csv", "a.cs", "a.txt"])
def test_a_pipe_that_is_named_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(CoordinatesError, match="not a regular file"):
        read_all_positions(tmp_path / name)


@pytest.mark.parametrize("place", ["a\0b", "a" * 300, "/proc/self/mem"])
def test_a_place_that_cannot_be_is_refused(tmp_path, place):
    with pytest.raises(CoordinatesError):
        read_all_positions(tmp_path / place)


def test_an_error_names_a_file_whose_name_is_not_text(tmp_path):
    """The error can be logged, stored and shown."""
    name = os.fsdecode(b"mic_\xff\xfe\n1_autopick.star")
    (tmp_path / name).write_bytes(b"data_\nloop_\n_rlnX\n1\n")
    with pytest.raises(CoordinatesError) as caught:
        read_all_positions(tmp_path)
    assert r"mic_\xff\xfe" in caught.value.what
    assert str(caught.value).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"x_px,y_px\n" + b"1," * 100_000 + b"1\n"),
        ("a.csv", b"x_px,y_px\n1," + b"9" * 200_000 + b"\n"),
        ("a.csv", b'x_px,y_px\n"1,2\n' + b"x" * 200_000),
        ("a.csv", b",".join(b"c%d" % i for i in range(100_000)) + b"\n1,2\n"),
        ("a.csv", b"x_px,y_px\n1,1e400\n"),
        ("a.csv", b"x_px,y_px\n1,nan\n"),
        ("a.csv", b"x_px,y_px\r1,2,3,4\r"),
        ("a.star", b"data_\nloop_\n" + b"".join(b"_c%d\n" % i for i in range(100_000)) + b"1\n"),
        ("a.star", b"data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 -1e400\n"),
        ("a.box", b"1 2 3 4\n" + b"[" * 100_000),
        ("a.box", b"1e400 2 3 4\n"),
        ("a.cbox", b"data_cryolo\nloop_\n" + b"_CoordinateX #1\n" * 1000),
        ("a_info.json", b'{"boxes": ' + b"[" * 100_000),
        ("a_info.json", b'{"boxes": [[1e400, 2]]}'),
        ("a_info.json", b'{"boxes": [[true, 2]]}'),
        ("a_info.json", b'{"boxes": {"a": 1}}'),
        ("a.txt", b"image_name\tx_coord\ty_coord\nm\t1\t2\t3\t4\n"),
        ("a.txt", b"image_name\tx_coord\ty_coord\nm\t1\tinf\n"),
        ("a.tab", b"image_name\tx_coord\ty_coord\n\t1\t2\n"),
    ],
)
def test_an_odd_file_is_refused_with_its_name_and_a_short_reason(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CoordinatesError) as caught:
        read_all_positions(tmp_path)
    assert str(tmp_path / name) in caught.value.what
    assert len(caught.value.what) < 5000
    assert caught.value.remedy


def test_numbers_in_every_notation_are_read(tmp_path):
    """A minus zero is a zero; blanks and line ends of a Mac do not matter."""
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfx_px , y_px\r -0.0 , 1e2\r+3,.5\r\r")
    (here,) = read_all_positions(tmp_path).values()
    assert (here.x_px.tolist(), here.y_px.tolist()) == ([0.0, 3.0], [100.0, 0.5])


def closed(monkeypatch, name):
    """Make folders of a name unreadable, also for root."""
    scandir = os.scandir

    def opened(place):
        if Path(place).name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", opened)


def test_a_folder_that_cannot_be_searched_is_named(tmp_path, monkeypatch):
    """The files in it would be missing without a word."""
    (tmp_path / "good_autopick.star").write_bytes(STAR)
    (tmp_path / "grid 2").mkdir()
    closed(monkeypatch, "grid 2")
    with pytest.raises(CoordinatesError, match="grid 2 cannot be searched: Permission denied"):
        read_all_positions(tmp_path)


@pytest.mark.parametrize("name", ["lost+found", ".snapshot"])
def test_a_closed_folder_of_the_storage_system_does_not_matter(tmp_path, monkeypatch, name):
    (tmp_path / "good_autopick.star").write_bytes(STAR)
    (tmp_path / name).mkdir()
    closed(monkeypatch, name)
    assert list(read_all_positions(tmp_path)) == ["good"]
