"""The CTF of micrographs in the ledger: fits, and figures of other programs."""

import pytest
from landings import ROOT, V1, V2, A, B, claim_one

from factories import make_result
from livepick.core.imaging.ctf import Ctf, CtfFit
from livepick.core.imaging.quality import CtfFigures
from livepick.ledger.ctf_queries import CtfQueries
from livepick.ledger.page_queries import PageQueries

SETTINGS = "300 kV"
FIGURES = CtfFigures(9_000.0, 8_500.0, 15.0, 3.5)
CTF = Ctf(
    defocus_u_angstrom=12_000.0,
    defocus_v_angstrom=11_000.0,
    astigmatism_angle_degrees=30.0,
    voltage_kv=300.0,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.07,
    fit_resolution_angstrom=4.0,
)
TRUSTED = CtfFit(ctf=CTF, score=0.4)
NOT_FITTED = CtfFit(ctf=None, score=None, reason="too large pixels", is_possible=False)
NOT_TRUSTED = CtfFit(ctf=None, score=0.05, reason="no Thon rings")


@pytest.fixture
def picked(ledger):
    """Return the id of a picked micrograph."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    claim = claim_one(ledger)
    ledger.picked(claim, make_result())
    return claim.id


def due(ledger, **kwargs):
    return [row.id for row in CtfQueries(ledger.database).due(10, **kwargs)]


def test_a_trusted_fit_has_figures(ledger, picked):
    """A page reads the same columns as those of another program, with their source."""
    assert due(ledger) == [picked]
    assert ledger.ctf.fitted(picked, 1, TRUSTED, SETTINGS)
    row = ledger.reader.get(picked)
    assert row.ctf == CtfFigures.of(CTF)
    assert (row.ctf_source, row.ctf_outcome, row.ctf_score) == ("fitted", "trusted", 0.4)
    assert row.ctf_reason is None
    assert due(ledger) == []


def test_a_fit_that_is_not_trusted_has_no_figures(ledger, picked):
    """Its score and the reason are kept, and it is not due again."""
    assert ledger.ctf.fitted(picked, 1, NOT_TRUSTED, SETTINGS)
    row = ledger.reader.get(picked)
    assert (row.ctf, row.ctf_source) == (None, None)
    assert (row.ctf_outcome, row.ctf_score, row.ctf_reason) == (
        "not_trusted",
        0.05,
        "no Thon rings",
    )
    assert due(ledger) == []


def test_a_micrograph_that_cannot_be_fitted_is_counted_with_its_reason(ledger, picked):
    """It has an outcome of its own, until another program has measured its CTF."""
    assert ledger.ctf.fitted(picked, 1, NOT_FITTED, SETTINGS)
    row = ledger.reader.get(picked)
    assert (row.ctf_outcome, row.ctf_score) == ("not_fitted", None)
    assert due(ledger) == []
    assert PageQueries(ledger.database).not_fitted() == {"too large pixels": 1}
    ledger.ctf.found(picked, 1, FIGURES)
    assert PageQueries(ledger.database).not_fitted() == {}


def test_without_fits_only_the_trusted_ones_are_kept(ledger, picked):
    """The others are due again once fits are on."""
    ledger.ctf.fitted(picked, 1, TRUSTED, SETTINGS)
    assert ledger.ctf.forget_untrusted() == 0
    ledger.ctf.fitted(picked, 1, NOT_TRUSTED, SETTINGS)
    assert ledger.ctf.forget_untrusted() == 1
    row = ledger.reader.get(picked)
    assert (row.ctf_outcome, row.ctf_reason) == (None, None)
    assert due(ledger) == [picked]


def test_another_program_wins(ledger, picked):
    """Its figures replace fitted ones, and no later fit replaces them."""
    ledger.ctf.fitted(picked, 1, TRUSTED, SETTINGS)
    assert [row.id for row in ledger.reader.without_ctf(10)] == [picked]
    assert ledger.ctf.found(picked, 1, FIGURES)
    assert not ledger.ctf.fitted(picked, 1, TRUSTED, SETTINGS)
    row = ledger.reader.get(picked)
    assert (row.ctf, row.ctf_source) == (FIGURES, "program")
    assert ledger.reader.without_ctf(10) == []


def test_other_settings_and_failures_are_fitted_again(ledger, picked):
    """A defocus depends on the voltage; a file that could not be read may be there again."""
    ledger.arrivals.landed(ROOT, B, V1, 900.0)
    other = claim_one(ledger)
    ledger.picked(other, make_result())
    ledger.ctf.fitted(picked, 1, TRUSTED, SETTINGS)
    ledger.ctf.failed(other.id, 1, "b.mrc: gone", SETTINGS)
    assert CtfQueries(ledger.database).outcomes() == {
        "trusted": 1, "not_trusted": 0, "not_fitted": 0, "failed": 1,
    }  # fmt: skip
    assert "gone" in ledger.reader.get(other.id).ctf_reason

    assert ledger.ctf.forget_fits(SETTINGS) == 1
    assert due(ledger) == [other.id]
    assert due(ledger, but=[other.id]) == due(ledger, without=[ROOT]) == []
    assert ledger.ctf.forget_fits("200 kV") == 1
    assert due(ledger) == [other.id, picked]
    assert ledger.reader.get(picked).ctf is None


def test_settings_do_not_touch_figures_of_other_programs(ledger, picked):
    ledger.ctf.fitted(picked, 1, TRUSTED, SETTINGS)
    ledger.ctf.found(picked, 1, FIGURES)
    ledger.ctf.forget_fits("200 kV")
    assert ledger.reader.get(picked).ctf == FIGURES
    assert due(ledger) == []


def test_new_content_has_no_ctf(ledger, picked):
    """A fit of the old content that comes late is dropped."""
    ledger.ctf.fitted(picked, 1, TRUSTED, SETTINGS)
    ledger.arrivals.landed(ROOT, A, V2, 950.0)
    assert not ledger.ctf.fitted(picked, 1, TRUSTED, SETTINGS)
    row = ledger.reader.get(picked)
    assert (row.ctf, row.ctf_source, row.ctf_outcome, row.ctf_score) == (None,) * 4
