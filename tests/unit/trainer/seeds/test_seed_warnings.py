"""Warnings about the seeds are reported, and are not a reason to stop."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from livepick_trainer.seeds import originals, seed_warnings
from livepick_trainer.seeds.diameter_check import SIZES_DIAMETERS
from livepick_trainer.seeds.seed_warnings import (
    class_warning,
    read_warnings,
    size_warning,
    write_warnings,
)


@dataclass
class Micrograph:
    """Replacement for a prepared micrograph with the attributes that are used."""

    path: Path
    original_pixel_size_angstrom: float = 1.5
    version: None = None


@pytest.fixture
def asked(monkeypatch):
    """Return the list of micrographs that were measured; each gives 2.8 times the diameter."""
    names = []

    def read(path, _version, pixel_size_angstrom):
        assert pixel_size_angstrom == 1.5
        names.append(path.name)
        return type("Read", (), {"image": None})

    def support(_image, **_keywords):
        found = np.zeros(len(SIZES_DIAMETERS))
        found[-2] = 1  # 2.8 times the given one
        return found

    monkeypatch.setattr(originals, "read_picked", read)
    monkeypatch.setattr(seed_warnings, "size_support", support)
    return names


def micrographs(count):
    return [Micrograph(Path(f"{number}")) for number in range(count)]


def test_a_diameter_that_is_far_off_is_doubted(asked):
    """The finding is given in diameters and in ångström, and the remedy names the settings."""
    warning = size_warning(micrographs(4), diameter_angstrom=100, contrast="dark")

    assert warning.kind == "wrong_size"
    assert "about 283 Å wide" in warning.evidence
    assert "particle.diameter_angstrom" in warning.remedy
    assert "micrograph.pixel_size_angstrom" in warning.remedy


def test_a_few_micrographs_from_all_of_the_session_are_asked(asked):
    """Reading all of them again would take as long as preparing them."""
    size_warning(micrographs(20), diameter_angstrom=100, contrast="dark")

    assert asked == ["0", "3", "6", "9", "12", "15"]


def test_a_diameter_that_fits_is_not_doubted(asked, monkeypatch):
    monkeypatch.setattr(seed_warnings, "size_finding", lambda *_args, **_keywords: None)

    assert size_warning(micrographs(4), diameter_angstrom=100, contrast="dark") is None


def test_hardly_anything_in_accepted_classes_is_doubted():
    """If nothing was sorted, there is nothing to doubt."""
    warning = class_warning(0.04)

    assert warning.kind == "few_good_classes"
    assert "only 4% of the first picks" in warning.evidence
    assert "bootstrap.classes" in warning.remedy
    assert class_warning(0.1) is None
    assert class_warning(None) is None


def test_warnings_survive_on_disk(tmp_path):
    warning = class_warning(0.04)

    for some in ([], [warning, warning]):
        write_warnings(tmp_path, some)
        assert read_warnings(tmp_path) == some
