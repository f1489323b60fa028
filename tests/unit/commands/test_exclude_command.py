"""``livepick exclude`` and ``livepick include``: verdicts without the page."""

import time
from pathlib import Path

import pytest

from livepick import cli
from livepick.core.formats.file_version import FileVersion
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.person_verdicts import read_person_verdicts
from livepick.ledger.writer import LedgerWriter


@pytest.fixture
def session(config_file):
    """Return the config and state folder of a session with three micrographs, two of one name."""
    from livepick.config.yaml_loader import load_config  # noqa: PLC0415 - of this fixture

    state = load_config(config_file).state.directory
    with Database.writable(state / LEDGER) as database:
        ledger = LedgerWriter(database)
        for name in ("a.mrc", "g1/b.mrc", "g2/b.mrc"):
            ledger.arrivals.landed(
                Path("/m"), Path(name), FileVersion(1, 1, len(name)), time.time()
            )
    return config_file, state


def verdicts(state):
    return {place[1]: each.verdict for place, each in read_person_verdicts(state).by_place.items()}


def test_micrographs_are_named_by_name_or_path(session, capsys):
    config, state = session
    assert cli.main(["exclude", str(config), "a.mrc", "/m/g1/b.mrc"]) == 0
    assert verdicts(state) == {"a.mrc": "excluded", "g1/b.mrc": "excluded"}
    assert "a.mrc: excluded" in capsys.readouterr().out
    assert cli.main(["include", str(config), "a.mrc"]) == 0
    assert cli.main(["include", str(config), "g1/b.mrc", "--by-figures"]) == 0
    assert verdicts(state) == {"a.mrc": "included"}


@pytest.mark.parametrize(
    ("name", "says"), [("b.mrc", "the name of 2 micrographs"), ("z.mrc", "not a micrograph")]
)
def test_a_name_that_fits_none_or_two_records_nothing(session, capsys, name, says):
    config, state = session
    assert cli.main(["exclude", str(config), "a.mrc", name]) != 0
    assert says in capsys.readouterr().err
    assert verdicts(state) == {}
