"""CTF files that are damaged or hostile: one error each, and the others are read."""

import os

import pytest
from ctf_texts import CTFFIND, MICROGRAPHS, OPTICS, WARP

from livepick.core.formats import warp_xml
from livepick.core.formats.ctf_files import find_ctfs

GOOD = CTFFIND.encode()


def found_beside(folder, name, data):
    """Return the error of a sidecar; check that the micrograph beside it keeps its own."""
    (folder / "good.txt").write_bytes(GOOD)
    if data is not None:
        (folder / name).write_bytes(data)
    stem = name.rpartition(".")[0]
    good, bad = folder / "good.mrc", folder / f"{stem}.mrc"
    found, faults = find_ctfs(None, [bad, good])
    assert good in found
    assert bad not in found
    assert all(fault.remedy for fault in faults)
    return [fault.what for fault in faults]


WARP_BYTES = WARP.replace('encoding="utf-16"', 'encoding="utf-8"').encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'<?xml version="1.0" encoding="klingon"?><Movie><CTF/></Movie>', "encoding"),
        (b'<?xml version="1.0" encoding="gb2312"?><Movie><CTF/></Movie>', "multi-byte"),
        (b'<?xml version="1.0" encoding="shift_jis"?><Movie/>', "multi-byte"),
        (b'<?xml version="1.0" encoding="big5"?><Movie/>', "multi-byte"),
        (b'<?xml version="1.0" encoding="hex"?><Movie/>', ""),
        (b'<?xml version="1.0" encoding="zip"?><Movie/>', ""),
        (b'<?xml version="1.0" encoding="\xff"?><Movie/>', ""),
        (b'<?xml version="1.0" encoding="idna"?><Movie/>', ""),
        (b"\xff\xfe<", ""),
        (b"\x00" * 100, ""),
        (b"", ""),
        (b"<Movie><CTF>" + b"<a>" * 200_000, ""),
        (b"<Movie" + b' a="1"' * 1000 + b"><CTF/></Movie>", ""),
        (b"<Movie><CTF></CTF></Movie>", "no Defocus"),
        (WARP_BYTES[: len(WARP_BYTES) // 2], ""),
        (WARP_BYTES.replace(b'Name="Defocus" Value="', b'Name="Defocus" Value="1e400'), ""),
        (WARP_BYTES.replace(b'Name="Cs" Value="', b'Name="Cs" Value="nan"/><Param a="'), ""),
    ],
)
def test_an_odd_xml_file_is_an_error_of_that_file(tmp_path, data, words):
    (what,) = found_beside(tmp_path, "bad.xml", data)
    assert "bad.xml" in what
    assert words in what
    assert len(what) < 1000


def test_entities_are_not_expanded_without_limit(tmp_path):
    """The text would have a gigabyte."""
    entities = "".join(
        f'<!ENTITY {new} "{"&" + old + ";" if old else "x"}{("&" + old + ";") * 9 if old else ""}">'
        for old, new in zip(["", *"abcdefgh"], "abcdefghi", strict=True)
    )
    text = f'<!DOCTYPE Movie [{entities}]><Movie CTFResolutionEstimate="&i;"><CTF/></Movie>'
    (what,) = found_beside(tmp_path, "bad.xml", text.encode())
    assert "bad.xml" in what


def test_an_external_entity_is_not_read(tmp_path):
    (tmp_path / "secret").write_text("200")
    text = f"""<!DOCTYPE Movie [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>
    <Movie><CTF><Param Name="Voltage" Value="&e;"/></CTF></Movie>"""
    (what,) = found_beside(tmp_path, "bad.xml", text.encode())
    assert "200" not in what


def test_an_xml_file_that_is_not_warps_is_read_no_further(tmp_path, monkeypatch):
    """EPU's may have any size."""
    monkeypatch.setattr(warp_xml, "MOST_BYTES", 1 << 20)
    data = b"<MicroscopeImage>" + b"<a/>" * (1 << 20)
    assert found_beside(tmp_path, "bad.xml", data) == []
    (what,) = found_beside(tmp_path, "bad.xml", data.replace(b"MicroscopeImage", b"Movie"))
    assert "longer than 1 MiB" in what


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["bad.xml", "bad.txt"])
def test_what_is_not_a_file_is_no_sidecar(tmp_path, name):
    """A pipe would be waited for."""
    path = tmp_path / name
    for make in (os.mkfifo, lambda path: path.mkdir(), lambda path: path.symlink_to(path)):
        make(path)
        assert found_beside(tmp_path, name, None) == []
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (GOOD.replace(b"200.0 keV", b"1e400 keV"), "finite"),
        (GOOD.replace(b"200.0 keV", b"-200 keV"), "voltage"),
        (GOOD.replace(b"keV", b"meV"), "header has no acceleration voltage"),
        (GOOD + b"\xff", "cannot be read"),
        (GOOD[: GOOD.rindex(b"1.0000")] + b"1.0 nan 1 1 1 1 1\n", "finite"),
        (GOOD[: GOOD.rindex(b"1.0000")] + b"1.0 1e300 1 1 1 1 1\n", "beyond"),
        (GOOD[: GOOD.rindex(b"1.0000")] + b"1 2\n", "damaged"),
        (GOOD + b" " * (5 << 20), "longer than 4 MiB"),
    ],
)
def test_an_odd_text_of_ctffind_is_an_error_of_that_file(tmp_path, data, words):
    (what,) = found_beside(tmp_path, "bad.txt", data)
    assert "bad.txt" in what
    assert words in what


def test_a_short_row_of_optics_has_no_group(tmp_path):
    """The micrographs of other groups have their CTF; the rest an error each."""
    path = tmp_path / "micrographs_ctf.star"
    path.write_text(OPTICS + "\n'short row'\n\n" + MICROGRAPHS)
    found, faults = find_ctfs(path, [tmp_path / "A/mic_1.mrc", tmp_path / "x.mrc"])
    assert (len(found), faults) == (1, [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data_\nloop_\n",
        MICROGRAPHS,
        OPTICS + MICROGRAPHS[: MICROGRAPHS.index("10863")],
        "data_optics\nloop_\n_rlnVoltage #1\n_rlnOpticsGroup #2\n200\n\n" + MICROGRAPHS,
        "data_optics\n_rlnOpticsGroup 1\n" * 3 + MICROGRAPHS,
        (OPTICS + MICROGRAPHS).replace("200.000000", "1e400"),
        "data_a\nloop_\n" + "".join(f"_c{i}\n" for i in range(100_000)) + "1 " * 100_000,
        "\r".join((OPTICS + MICROGRAPHS).split("\n")).replace("200.00", "x"),
    ],
)
def test_an_odd_list_of_relion_is_an_error(tmp_path, text):
    path = tmp_path / "micrographs_ctf.star"
    path.write_text(text)
    found, faults = find_ctfs(path, [tmp_path / "A/mic_1.mrc"])
    assert not found
    assert len(faults) <= 1
    assert all(str(path) in fault.what for fault in faults)


def test_the_old_line_ends_of_a_mac_make_no_difference(tmp_path):
    path = tmp_path / "micrographs_ctf.star"
    path.write_text((OPTICS + MICROGRAPHS).replace("\n", "\r"), newline="")
    found, _ = find_ctfs(path, [tmp_path / "A/mic_1.mrc"])
    assert len(found) == 1


def test_a_name_too_long_for_a_mark_has_no_sidecar(tmp_path):
    """``NAME_ctf.txt`` would be longer than a file system allows."""
    long = tmp_path / f"{'a' * 250}.mrc"
    long.touch()
    (tmp_path / "good.txt").write_bytes(GOOD)
    found, faults = find_ctfs(None, [long, tmp_path / "good.mrc"])
    assert (list(found), faults) == ([tmp_path / "good.mrc"], [])
