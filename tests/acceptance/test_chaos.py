"""The short form of ``make chaos``: kills of service and workers, lost folders, emptied output."""

import pytest

from chaos import Chaos, Plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def chaos(tmp_path):
    """Return a short run, without trainers: ``test_kills`` kills them in each of their stages."""
    made = Chaos(tmp_path / "chaos", Plan(kills=12, micrographs=16, trainers=False))
    yield made
    made.end()


def test_nothing_is_lost_whatever_is_killed(chaos):
    """Everything is picked by the last model, and ledger, files and lists agree.

    The checks find what is wrong: each of the changes at the end is reported.
    """
    assert chaos.run() == []

    kills, losses = chaos.account.kills, chaos.account.losses
    assert (kills["first"], kills["again"]) == (6, 6)
    assert losses["renamed"] + losses["unmounted"] == 3
    assert losses["output emptied"] == 1

    starred = chaos.output / "one" / "mic_0000_autopick.star"
    star = starred.read_text()
    starred.write_text(star.replace("\n\n", "\n1 1 0.9\n\n"))
    assert chaos.faults() == [f"{starred} differs from the ledger"]
    starred.unlink()
    assert f"{starred} is missing" in chaos.faults()
    starred.write_text(star)
    assert chaos.faults() == []

    draft = chaos.output / "csv" / ".livepick-0123.tmp"
    draft.touch()
    notes = chaos.output / "notes.txt"
    notes.write_text("overwritten")
    assert chaos.faults() == [f"{notes} was touched", f"{draft} should not be there"]
