"""``livepick cryosparc-push``: what it sends, and what it prints."""

import time
from pathlib import Path

import pytest
from landings import V1, claim_one

from factories import make_result
from livepick import cli
from livepick.commands import cryosparc_push as command
from livepick.config.last_known_good import save_config_copy
from livepick.config.yaml_loader import load_config
from livepick.errors import LivepickError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.writer import LedgerWriter
from livepick.picking.cryosparc_push import Pushed

OPTIONS = ["--project", "P3", "--workspace", "W1", "--exposures", "J5"]


@pytest.fixture
def sent(config_file, monkeypatch):
    """Return what was sent from a session with two picked micrographs."""
    config = load_config(config_file)
    with Database.writable(config.state.directory / LEDGER) as database:
        ledger = LedgerWriter(database)
        for name in ("a.mrc", "b.mrc"):
            ledger.arrivals.landed(Path("/in"), Path(name), V1, time.time())
            ledger.picked(claim_one(ledger), make_result())
    save_config_copy(config)
    sent = []

    def push(server, picked, **options):
        sent.append((server, list(picked), options))
        return Pushed("J17", 4, 2, ("/in/c",))

    monkeypatch.setattr(command, "connect", lambda: "server")
    monkeypatch.setattr(command, "push", push)
    return sent


@pytest.mark.parametrize("state_folder", [False, True])
def test_all_picks_of_the_session_are_sent(sent, config_file, capsys, *, state_folder):
    where = load_config(config_file).state.directory if state_folder else config_file
    assert cli.main(["cryosparc-push", str(where), *OPTIONS]) == 0

    ((server, picked, options),) = sent
    assert server == "server"
    assert [(one.path.name, len(one.picks)) for one in picked] == [("a.mrc", 2), ("b.mrc", 2)]
    assert options == {
        "project": "P3",
        "workspace": "W1",
        "exposures": "J5",
        "min_distance_angstrom": 90.0,
    }
    printed = capsys.readouterr()
    assert printed.out == "P3 J17: 4 particles in 2 micrographs\n"
    assert printed.err == "1 picked micrographs are not in J5: /in/c\n"


def test_a_missing_library_is_told_in_two_lines(sent, config_file, capsys, monkeypatch):
    def connect():
        raise LivepickError("cryosparc-tools is not installed", "Install it.")

    monkeypatch.setattr(command, "connect", connect)
    assert cli.main(["cryosparc-push", str(config_file), *OPTIONS]) == 1
    assert capsys.readouterr().err == "livepick: cryosparc-tools is not installed\n  Install it.\n"
    assert sent == []


def test_the_help_says_that_no_server_was_tried(capsys):
    assert cli.main(["cryosparc-push", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "substitute for the server" in text
    assert "CRYOSPARC_LICENSE_ID" in text
