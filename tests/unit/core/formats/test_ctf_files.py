"""Reading of defoci from RELION, CTFFIND and Warp files, and matching to micrographs."""

import logging
import math
from pathlib import Path

import pytest
from ctf_texts import CTFFIND, MICROGRAPHS, OPTICS, WARP

from livepick.core.contracts.run import RunMicrograph
from livepick.core.formats.ctf_files import find_ctfs
from livepick.core.formats.ctf_readers import read_ctffind
from livepick.core.imaging.ctf import Ctf
from livepick.errors import CtfError
from livepick.retraining.run_planner import with_ctfs

OLD = """
data_

loop_
_rlnMicrographNameNoDW #1
_rlnMicrographName #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnVoltage #6
_rlnSphericalAberration #7
_rlnAmplitudeContrast #8
_rlnPhaseShift #9
Micrographs/mic_1_noDW.mrc Micrographs/mic_1.mrc 23997.1 23977.5 59.4 300.0 2.7 0.07 45.0
"""


@pytest.fixture
def star(tmp_path):
    path = tmp_path / "micrographs_ctf.star"
    path.write_text(OPTICS + MICROGRAPHS)
    return path


def test_relion_list_is_read_with_its_optics_groups(star):
    """Voltage, aberration and amplitude contrast come from the micrograph's group."""
    one, two = Path("/p/MotionCorr/job002/A/mic_1.mrc"), Path("/p/MotionCorr/job002/A/mic_2.mrc")

    found, faults = find_ctfs(star, [one, two])

    assert not faults
    assert found[one] == Ctf(
        defocus_u_angstrom=10863.5,
        defocus_v_angstrom=10575.7,
        astigmatism_angle_degrees=77.9,
        voltage_kv=200,
        spherical_aberration_mm=1.4,
        amplitude_contrast=0.1,
        fit_resolution_angstrom=4.8,
    )
    assert (found[two].voltage_kv, found[two].amplitude_contrast) == (300, 0.07)


@pytest.mark.parametrize("name", ["mic_1.mrc", "mic_1_noDW.mrc", "mic_1_DW.mrc"])
def test_list_of_relion_3_0_is_read(tmp_path, name):
    """There is a single table; the entry with dose weighting is the same micrograph."""
    path = tmp_path / "micrographs_ctf.star"
    path.write_text(OLD)

    found, _ = find_ctfs(path, [Path("/in", name)])

    ctf = found[Path("/in", name)]
    assert (ctf.defocus_u_angstrom, ctf.voltage_kv, ctf.phase_shift_degrees) == (23997.1, 300, 45)


def test_equal_names_are_distinguished_by_their_folders(star):
    """If the folders do not decide, neither entry is used."""
    alike, other = Path("/data/B/mic_2.mrc"), Path("/data/C/mic_2.mrc")

    found, _ = find_ctfs(star, [alike, other])

    assert found[alike].defocus_u_angstrom == 20000
    assert other not in found


def test_failed_fit_affects_only_its_micrograph(star):
    good, bad = Path("/A/mic_1.mrc"), Path("/A/mic_3.mrc")

    found, faults = find_ctfs(star, [good, bad])

    assert list(found) == [good]
    assert "mic_3.mrc" in str(faults[0])


def test_micrograph_that_is_not_listed_has_no_ctf(star):
    assert find_ctfs(star, [Path("/A/mic_10.mrc")]) == ({}, [])


@pytest.mark.parametrize("name", ["mic_7.txt", "mic_7_ctf.txt", "mic_7_PS.txt"])
def test_ctffind_file_is_read(tmp_path, name):
    """The phase shift is in radians; columns after the fifth may be infinite."""
    (tmp_path / "job" / "Movies").mkdir(parents=True)
    (tmp_path / "job" / "Movies" / name).write_text(CTFFIND)
    micrograph = Path("/in/Movies/mic_7_DW.mrc")

    found, faults = find_ctfs(tmp_path, [micrograph])

    assert not faults
    ctf = found[micrograph]
    assert ctf.phase_shift_degrees == pytest.approx(30, abs=1e-3)
    assert (ctf.defocus_u_angstrom, ctf.defocus_v_angstrom) == (10864.138672, 10575.676758)
    assert ctf.astigmatism_angle_degrees == 78.283111
    assert (ctf.voltage_kv, ctf.spherical_aberration_mm, ctf.amplitude_contrast) == (200, 1.4, 0.1)


def test_extra_columns_of_ctffind_5_are_ignored(tmp_path):
    """CTFFIND 5 appends tilt and thickness."""
    path = tmp_path / "mic.txt"
    path.write_text(CTFFIND.replace("4.1.14", "5.0.2").replace("inf\n", "4.8 12.0 3.5 400.0\n"))

    assert read_ctffind(path).defocus_v_angstrom == 10575.676758


def test_ctffind_files_beside_the_micrographs_are_found_by_default(tmp_path):
    """Text files of other programs are ignored."""
    (tmp_path / "mic_1.txt").write_text(CTFFIND)
    (tmp_path / "mic_2.txt").write_text("Grid 3, square 7\n")
    one, two = tmp_path / "mic_1.mrc", tmp_path / "mic_2.mrc"

    found, faults = find_ctfs(None, [one, two])

    assert (list(found), faults) == ([one], [])


@pytest.mark.parametrize(
    "text",
    [
        CTFFIND.replace(".txt", "_avrot.txt") + "0.1 0.2 0.3\n",
        CTFFIND + CTFFIND.splitlines()[-1].replace("1.000", "2.000", 1) + "\n",
        "",
    ],
    ids=["rotational average", "stack", "empty"],
)
def test_files_that_are_not_the_fit_of_one_micrograph_are_ignored(tmp_path, text):
    path = tmp_path / "mic.txt"
    path.write_text(text)

    assert read_ctffind(path) is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("acceleration voltage: 200.0 keV ; ", "", "acceleration voltage"),
        ("10575.676758", "-nan", "finite"),
        (" 10575.676758 78.283111 0.523599 0.131144 inf", "", "mic.txt"),
    ],
)
def test_damaged_ctffind_file_is_an_error(tmp_path, old, new, words):
    """The error contains the file's name."""
    path = tmp_path / "mic.txt"
    path.write_text(CTFFIND.replace(old, new))

    with pytest.raises(CtfError, match=words) as caught:
        read_ctffind(path)
    assert str(path) in str(caught.value)


def micrographs(*paths):
    return [
        RunMicrograph(path=path, pixel_size_angstrom=1.0, held_out=False, seeds=[])
        for path in paths
    ]


def test_a_run_gets_the_known_ctfs(star, make_config, ledger, caplog):
    """The log says how many are known; the run keeps them in its file."""
    caplog.set_level(logging.INFO)

    known, unknown = with_ctfs(
        micrographs(Path("/A/mic_1.mrc"), Path("/A/x.mrc")),
        make_config(micrograph={"ctf": star}),
        ledger.reader,
    )

    assert (known.ctf.voltage_kv, unknown.ctf) == (200, None)
    assert "defocus: known for 1 of 2 micrographs" in caplog.text
    again = RunMicrograph.model_validate_json(known.model_dump_json())
    assert again == known
    assert isinstance(again.ctf, Ctf)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"\xff\xfe\x00", "cannot be read"),
        (OPTICS.encode(), "no table of micrographs with rlnDefocusU"),
        (MICROGRAPHS.encode(), "has no rlnVoltage for MotionCorr/job002/A/mic_1.mrc"),
    ],
)
def test_unreadable_ctf_file_is_a_warning_and_the_run_continues(
    tmp_path, make_config, ledger, caplog, *, content, words
):
    path = tmp_path / "ctf.star"
    if content is not None:
        path.write_bytes(content)

    (micrograph,) = with_ctfs(
        micrographs(Path("/A/mic_1.mrc")), make_config(micrograph={"ctf": path}), ledger.reader
    )

    assert micrograph.ctf is None
    assert words in caplog.text
    assert caplog.records[0].levelname == "WARNING"


def test_an_astigmatism_angle_plus_a_half_turn_is_the_same_ctf(tmp_path):
    """CTFFIND's azimuth may be negative; half turns make no difference."""
    path = tmp_path / "mic.txt"
    path.write_text(CTFFIND.replace("78.283111", "-101.716889"))

    angle = read_ctffind(path).astigmatism_angle_degrees

    assert math.cos(2 * math.radians(angle)) == pytest.approx(math.cos(2 * math.radians(78.283111)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
@pytest.mark.parametrize("above", [True, False])
def test_warp_xml_is_read(tmp_path, above, encoding):
    """It is beside a micrograph or above ``average/``, in micrometres and units of pi."""
    micrograph = tmp_path / "average" / "mic_1.mrc"
    micrograph.parent.mkdir()
    place = tmp_path if above else micrograph.parent
    text = WARP.replace("utf-16", encoding)
    (place / "mic_1.xml").write_text(text, encoding=encoding)

    found, faults = find_ctfs(None, [micrograph])
    in_folder, _ = find_ctfs(place, [micrograph])

    assert not faults
    assert found == in_folder
    ctf = found[micrograph]
    assert ctf.defocus_u_angstrom == pytest.approx(15500)
    assert ctf.defocus_v_angstrom == pytest.approx(14500)
    assert ctf.phase_shift_degrees == pytest.approx(45)
    assert (ctf.astigmatism_angle_degrees, ctf.fit_resolution_angstrom) == (33, 4.3)


def test_other_xml_files_are_ignored_and_half_a_file_is_an_error(tmp_path):
    """EPU writes files of the same name; Warp may still be writing."""
    (tmp_path / "a.xml").write_text("<MicroscopeImage><CTF/></MicroscopeImage>")
    (tmp_path / "b.xml").write_text(WARP.replace("utf-16", "utf-8")[:200])
    (tmp_path / "c.xml").write_text("<Movie></Movie>")

    found, faults = find_ctfs(None, [tmp_path / f"{name}.mrc" for name in "abc"])

    assert not found
    assert ["b.xml" in fault.what for fault in faults] == [True]


def test_ctffind_file_takes_precedence_over_warp_xml(tmp_path):
    """Having both beside one micrograph is not an error."""
    (tmp_path / "a.xml").write_text(WARP.replace("utf-16", "utf-8"))
    (tmp_path / "a.txt").write_text(CTFFIND.replace("inf", "5.25"))

    found, _ = find_ctfs(None, [tmp_path / "a.mrc"])

    assert found[tmp_path / "a.mrc"].fit_resolution_angstrom == 5.25


def test_files_beside_micrographs_of_the_same_name_in_other_folders_are_not_taken(tmp_path):
    """Only the folder of a micrograph and the one above count."""
    micrographs = [tmp_path / folder / "x.mrc" for folder in "abc"]
    for micrograph in micrographs:
        micrograph.parent.mkdir()
    (tmp_path / "a" / "x.txt").write_text(CTFFIND)
    (tmp_path / "b" / "x.xml").write_text(WARP.replace("utf-16", "utf-8"))

    found, faults = find_ctfs(None, micrographs)

    assert not faults
    assert list(found) == micrographs[:2]
    assert found[micrographs[0]] != found[micrographs[1]]


def test_a_fit_in_a_folder_is_not_that_of_a_namesake(tmp_path):
    """It belongs to the micrograph with which it has more folders in common, or to none."""
    micrographs = [tmp_path / folder / "x.mrc" for folder in "abc"]
    place = tmp_path / "fits"
    (place / "b").mkdir(parents=True)
    (place / "b" / "x.txt").write_text(CTFFIND)

    assert list(find_ctfs(place, micrographs)[0]) == [micrographs[1]]
    assert list(find_ctfs(place, micrographs[::2])[0]) == []
    assert list(find_ctfs(place, micrographs[:1])[0]) == micrographs[:1]  # no other is known


def test_fit_without_a_resolution_has_none(tmp_path):
    """CTFFIND writes inf if no ring was fitted."""
    (tmp_path / "a.txt").write_text(CTFFIND)

    assert read_ctffind(tmp_path / "a.txt").fit_resolution_angstrom is None
