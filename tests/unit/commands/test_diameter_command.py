"""``livepick diameter``: the particle's size measured without a service."""

import json
import re
from pathlib import Path

import mrcfile
import pytest

from livepick import cli
from livepick.errors import HeaderError
from livepick.particle import tasks
from livepick.picking import engine
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Junk, Session
from particle_evidence import EMPTY, make_evidence

PNG = b"\x89PNG\r\n\x1a\n picture"


@pytest.fixture
def measured(monkeypatch):
    """Return the evidence by file name, which a test may change; jobs run in threads."""
    evidence = {}

    def measure(job):
        found = evidence[job.path.name]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(tasks, "measure", measure)
    monkeypatch.setattr(tasks, "example_circles", lambda job: tuple(PNG for _ in job.guesses))
    monkeypatch.setattr(engine, "local", lambda _: engine.threads(2))
    return evidence


def test_the_diameter_and_each_micrograph_are_printed(measured, capsys):
    for name in "abc":
        measured[f"{name}.mrc"] = make_evidence(150)
    assert cli.main(["diameter", "a.mrc", "b.mrc", "c.mrc"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"a\.mrc: 1[45]\d Å, dark", out)
    assert re.search(r"Diameter: 1[45]\d Å, dark", out)
    assert "3 of 3 micrographs show particles" in out


def test_one_micrograph_gives_a_best_guess(measured, capsys):
    measured["a.mrc"] = make_evidence(150)
    assert cli.main(["diameter", "a.mrc"]) == 0
    out = capsys.readouterr().out
    assert "Best guess: 1" in out
    assert "not certain yet" in out


def test_two_diameters_are_a_question(measured, capsys, tmp_path):
    for name in "abc":
        measured[f"{name}.mrc"] = make_evidence(120, second_angstrom=300)
    folder = tmp_path / "new" / "pictures"
    assert cli.main(["diameter", "a.mrc", "b.mrc", "c.mrc", "--pictures", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "Is it " in out
    assert " or " in out
    pictures = sorted(folder.iterdir())
    assert len(pictures) == 6
    assert all(path.read_bytes() == PNG for path in pictures)
    assert str(pictures[0]) in out


def test_between_leaves_one_of_them(measured, capsys):
    for name in "abc":
        measured[f"{name}.mrc"] = make_evidence(120, second_angstrom=300)
    assert cli.main(["diameter", "a.mrc", "b.mrc", "c.mrc", "--between", "200", "500"]) == 0
    out = capsys.readouterr().out
    assert "Is it" not in out
    assert re.search(r"Diameter: (29|30)\d Å", out)


def test_a_given_contrast_is_kept(measured, capsys):
    measured["a.mrc"] = make_evidence(150, contrast="bright")
    assert cli.main(["diameter", "a.mrc", "--contrast", "dark", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["diameter_angstrom"] is None


def test_micrographs_without_particles_have_no_diameter(measured, capsys):
    measured["a.mrc"] = measured["b.mrc"] = EMPTY
    assert cli.main(["diameter", "a.mrc", "b.mrc"]) == 1
    out = capsys.readouterr().out
    assert "a.mrc: no particles seen" in out
    assert "none of 2 micrographs shows particles" in out


def test_one_micrograph_of_several_gives_neither_a_diameter_nor_a_picture(
    measured, capsys, tmp_path
):
    measured["a.mrc"] = make_evidence(150)
    measured["b.mrc"] = measured["c.mrc"] = measured["d.mrc"] = EMPTY
    names = ["a.mrc", "b.mrc", "c.mrc", "d.mrc"]
    assert cli.main(["diameter", *names, "--pictures", str(tmp_path / "pictures")]) == 1
    assert "No diameter: " in capsys.readouterr().out
    assert not (tmp_path / "pictures").exists()


def test_a_file_that_cannot_be_measured_is_named_and_the_others_count(measured, capsys):
    measured["a.mrc"], measured["b.mrc"] = (
        make_evidence(150),
        HeaderError("b.mrc is odd", "Look at it."),
    )
    assert cli.main(["diameter", "a.mrc", "b.mrc", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["diameter_angstrom"] == pytest.approx(150, rel=0.05)
    assert found["micrographs"][1]["error"] == "b.mrc is odd. Look at it."
    assert found["micrographs"][0]["path"] == str(Path.cwd() / "a.mrc")


def test_nothing_is_said_about_particles_if_no_file_can_be_measured(measured, capsys):
    measured["a.mrc"] = HeaderError("a.mrc is odd", "Look at it.")
    assert cli.main(["diameter", "a.mrc"]) == 1
    said = capsys.readouterr()
    assert "No diameter: no file could be measured." in said.out
    assert "pixel size" not in said.out
    assert "a.mrc is odd" in said.err


def test_impossible_bounds_are_refused(measured, capsys):
    assert cli.main(["diameter", "a.mrc", "--between", "300", "200"]) == 2
    assert "smaller one first" in capsys.readouterr().err


def test_workers_measure_and_draw_real_files(tmp_path, capsys):
    session = Session(
        shape_px=(512, 512),
        pixel_size_angstrom=3.0,
        signal_to_noise=0.15,
        junk=Junk.none(),
        seed=3,
    )
    paths = [tmp_path / f"m{number}.mrc" for number in range(2)]
    for number, path in enumerate(paths):
        with mrcfile.new(path, simulate_micrograph(session, number).image) as mrc:
            mrc.voxel_size = 3.0
    pictures = tmp_path / "pictures"
    words = ["diameter", *map(str, paths), "--between", "80", "300", "--pictures", str(pictures)]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["diameter_angstrom"] == pytest.approx(125, rel=0.2)
    assert found["contrast"] == "dark"
    assert [path[-3:] for path in found["pictures"]] == ["png"] * 2
