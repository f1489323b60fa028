"""``livepick classes``: it reads the ledger, works with or without a service, writes a picture."""

import textwrap
from pathlib import Path

import numpy as np
import pytest

import factories
from livepick import cli
from livepick.commands import classes as command
from livepick.core.contracts.trainer import PYTHON
from livepick.core.formats.file_version import FileVersion
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.writer import LedgerWriter

PICTURE = b"\x89PNG livepick class averages"

WRITES_A_RESULT = f"""
    import json, sys
    from pathlib import Path
    result = Path(sys.argv[1]) / "result"
    result.mkdir()
    figures = dict(
        made_at=1.0, micrographs=10, left_out=["a.mrc: it is gone"], particles=400,
        good_particles=300, classes=[], width_px=10, height_px=10, cpu_seconds=1.0,
        views=dict(state="one_view", largest_fraction=0.9, views=1),
    )
    (result / "classes.json").write_text(json.dumps(figures))
    (result / "classes.png").write_bytes({PICTURE!r})
"""


@pytest.fixture
def begun(config_file, tmp_path):
    """Return the config file of a session with ten picked micrographs, and no service."""
    with Database.writable(tmp_path / "state" / LEDGER) as database:
        ledger = LedgerWriter(database)
        ledger.session.begin("krios2")
        for number in range(10):
            place = (tmp_path, Path(f"{number}.mrc"), FileVersion(1, 1, 1))
            ledger.arrivals.landed(*place, 1.0)
        for claim in ledger.claim(10):
            ledger.picked(claim, factories.make_result(np.linspace(0.9, 0.6, 40)))
    return config_file


@pytest.fixture(autouse=True)
def program(monkeypatch):
    """Return a function that sets the program that runs in place of the trainer's."""

    def use(code):
        monkeypatch.setattr(command, "COMMAND", (PYTHON, "-c", textwrap.dedent(code)))

    use(WRITES_A_RESULT)
    return use


def test_the_picture_is_written_and_what_it_shows_is_said(begun, tmp_path, capsys):
    place = tmp_path / "classes.png"
    assert cli.main(["classes", str(begun), "--output", str(place)]) == 0
    assert place.read_bytes() == PICTURE
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("75 % of the picks are in class averages that show a particle")
    assert said[1].startswith("90 % of the particles in good classes show one view")
    assert said[2:] == ["left out: a.mrc: it is gone", str(place)]


def test_it_works_while_the_service_has_the_ledger_and_changes_nothing(begun, tmp_path):
    with Database.writable(tmp_path / "state" / LEDGER) as database:
        before = database.changes
        assert cli.main(["classes", str(begun), "--output", str(tmp_path / "c.png")]) == 0
        assert database.changes == before
    assert not (tmp_path / "state" / "classes").exists()


def test_only_its_own_picture_is_replaced(begun, tmp_path, capsys):
    place = tmp_path / "classes.png"
    place.write_bytes(b"my picture")
    assert cli.main(["classes", str(begun), "--output", str(place)]) == 1
    assert place.read_bytes() == b"my picture"
    assert "so it stays as it is" in capsys.readouterr().err
    place.write_bytes(PICTURE)
    assert cli.main(["classes", str(begun), "--output", str(place)]) == 0


def test_an_error_of_the_program_is_printed_with_its_remedy(begun, program, tmp_path, capsys):
    program("import sys; sys.exit('what happened\\nWhat to do.')")
    assert cli.main(["classes", str(begun), "--output", str(tmp_path / "c.png")]) == 1
    assert capsys.readouterr().err.endswith("livepick: what happened\n  What to do.\n")


def test_a_session_that_has_not_begun_is_refused(config_file, tmp_path, capsys):
    assert cli.main(["classes", str(config_file), "--output", str(tmp_path / "c.png")]) == 1
    assert "there is no ledger" in capsys.readouterr().err


def test_without_the_trainer_it_says_what_to_install(begun, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "missing_packages", lambda: ["torch"])
    assert cli.main(["classes", str(begun), "--output", str(tmp_path / "c.png")]) == 1
    assert "livepick[trainer]" in capsys.readouterr().err
