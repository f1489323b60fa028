"""The CTF of micrographs, from other programs and from livepick's own fits."""

import pytest
from ctf_texts import CTFFIND
from landings import ROOT, V1, A, claim_one

from factories import make_result
from livepick.core.imaging.ctf import Ctf, CtfFit
from livepick.ledger.known_ctfs import known_ctfs

FITTED = Ctf(
    defocus_u_angstrom=12_000.0,
    defocus_v_angstrom=11_000.0,
    astigmatism_angle_degrees=30.0,
    voltage_kv=200.0,
    spherical_aberration_mm=1.4,
    amplitude_contrast=0.1,
    fit_resolution_angstrom=4.0,
)
MICROSCOPE = {"voltage_kv": 200, "spherical_aberration_mm": 1.4, "amplitude_contrast": 0.1}


@pytest.fixture
def picked(ledger):
    """Return the id of a picked micrograph."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    claim = claim_one(ledger)
    ledger.picked(claim, make_result())
    return claim.id


def test_a_trusted_fit_is_known_with_the_optics_of_the_config(ledger, picked, make_config):
    """The ledger has the defocus, and the config what does not change within a session."""
    config = make_config(microscope=MICROSCOPE)
    assert known_ctfs(config, [ROOT / A], ledger.reader) == ({}, [])
    ledger.ctf.fitted(picked, 1, CtfFit(ctf=FITTED, score=0.4), str(config.optics))
    assert known_ctfs(config, [ROOT / A, ROOT / "b.mrc"], ledger.reader) == (
        {ROOT / A: FITTED},
        [],
    )


def test_the_file_of_another_program_takes_precedence(ledger, picked, make_config, tmp_path):
    """It may have been written after the fit."""
    ledger.ctf.fitted(picked, 1, CtfFit(ctf=FITTED, score=0.4), "")
    (tmp_path / "ctf").mkdir()
    (tmp_path / "ctf" / f"{A.stem}.txt").write_text(CTFFIND)
    config = make_config(micrograph={"ctf": tmp_path / "ctf"})
    found, faults = known_ctfs(config, [ROOT / A], ledger.reader)
    assert not faults
    assert found[ROOT / A].defocus_u_angstrom != FITTED.defocus_u_angstrom
