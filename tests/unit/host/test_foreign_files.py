"""Files that others wrote: what is in the place of a file, and whatever a reader raises."""

import os
import socket

import pytest

from livepick.errors import CoordinatesError, CtfError
from livepick.host.foreign_files import errors_of_file, open_regular, parse_json, read_bounded


def fifo(path):
    os.mkfifo(path)


def loop(path):
    path.symlink_to(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (fifo, "not a regular file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (loop, "Too many levels"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.symlink_to("/dev/tty"), "."),
        (lambda path: None, "No such file"),
    ],
)
def test_what_is_not_a_file_is_refused_at_once(tmp_path, make, words):
    """Opening a pipe would wait for its writer; a device never ends."""
    path = tmp_path / "a.star"
    make(path)
    with pytest.raises(OSError, match=words):
        read_bounded(path, limit_bytes=1000)


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # its path may have at most 107 bytes
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("a.star")
        with pytest.raises(OSError, match=r"."):
            read_bounded(tmp_path / "a.star", limit_bytes=1000)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800", "a" * 300])
def test_a_name_that_no_file_has_is_an_error_of_the_system(tmp_path, name):
    with pytest.raises(OSError, match=r"."), open_regular(tmp_path / name):
        pass


def test_a_file_is_read_up_to_a_limit(tmp_path):
    path = tmp_path / "a.star"
    path.write_bytes(bytes(1000))
    assert read_bounded(path, limit_bytes=1000) == bytes(1000)
    with pytest.raises(OSError, match="longer than"):
        read_bounded(path, limit_bytes=999)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "a.star"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(OSError, match="longer than 1 MiB"):
        read_bounded(path, limit_bytes=1 << 20)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"{", b"1" * 5000])
def test_what_is_not_json_is_one_kind_of_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (LookupError("unknown encoding: x"), "LookupError: unknown encoding: x"),
        (RecursionError(), "nested too deeply"),
        (MemoryError(), "too much memory"),
        (KeyError("rlnOpticsGroup"), "KeyError: 'rlnOpticsGroup'"),
        (OverflowError("a" * 10_000), "OverflowError: aaa"),
        (ValueError("two\nlines \udcff"), r"two lines \udcff"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_whatever_a_reader_raises_is_an_error_of_its_file(tmp_path, error, words):
    with (
        pytest.raises(CtfError) as caught,
        errors_of_file(tmp_path / "a.xml", CtfError, "Delete it."),
    ):
        raise error
    assert str(tmp_path / "a.xml") in caught.value.what
    assert words in caught.value.what
    assert len(caught.value.what) < 500
    assert "\n" not in caught.value.what
    assert caught.value.remedy == "Delete it."


def test_an_error_with_a_remedy_stays_as_it_is(tmp_path):
    with pytest.raises(CoordinatesError), errors_of_file(tmp_path, CtfError, ""):
        raise CoordinatesError("a row is wrong", "Correct it.")


def test_a_long_error_is_cut_off(tmp_path):
    """It may quote what is in the file."""
    with pytest.raises(CoordinatesError) as caught, errors_of_file(tmp_path, CtfError, ""):
        raise CoordinatesError("a" * 100_000, "Correct it.")
    assert len(caught.value.what) < 5000
    assert caught.value.remedy == "Correct it."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\udcff.mrc", r"a\xff.mrc"),
        ("a\ud800.mrc", r"a\ud800.mrc"),
        ("\udcc3\udca9 is é", "é is é"),
        ("µ°Å\n\0", "µ°Å\n\0"),
    ],
)
def test_every_error_can_be_logged_stored_and_shown(text, shown):
    """The names of files are arbitrary bytes."""
    error = CtfError(text, text)
    assert (error.what, error.remedy) == (shown, shown)
    assert error.args == (shown, shown)
