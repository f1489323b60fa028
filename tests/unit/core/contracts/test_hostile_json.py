"""JSON of bundles and runs that is damaged or hostile: an error of the file, or no report."""

import json
import os

import pytest

from factories import publish_bundle
from livepick.core.contracts import progress
from livepick.core.contracts.bundle import CARD, read_card
from livepick.core.contracts.held_out_labels import HELD_OUT, HeldOutLabels
from livepick.core.contracts.progress import PROGRESS, ProgressReader
from livepick.core.contracts.run import RUN, RunSpec
from livepick.core.contracts.training_report import (
    REPORT,
    read_classes,
    read_epochs,
    read_figures,
    read_findings,
)
from livepick.errors import ModelError, TrainerError
from livepick.ledger.session_rows import _judgement_of
from livepick.models.promotions import PROMOTIONS_FILE, read_promotions
from livepick.monitoring.headline import Headline
from livepick.retraining.run_store import WAITING, read_waiting
from livepick.web.address_file import AddressFile

NESTED = b"[" * 100_000
HOSTILE = [
    NESTED,
    b'{"a":' * 100_000,
    b'{"format": 1, "version": ' + NESTED,
    b'{"format": 1, "history": ' + NESTED,
    b"",
    b"\0" * 100,
    b"\xff\xfe{}",
    b"null",
    b"[]",
    b"0",
    b'"x"',
    b"{}",
    b'{"format": 1}',
    b'{"format": 1, "history": [[]]}',
    b'{"format": 1, "history": {"a": 1}}',
    b"1" * 5000,
    b'{"figures": [], "micrographs": 3, "findings": {"a": 1}, "epochs": [[]], "classes": []}',
    b'{"figures": {"average_precision": 1e400}, "micrographs": 1, "findings": 1, "epochs": 1}',
    b'{"figures": {"average_precision": {}}, "micrographs": [], "classes": {"classes": [null]}}',
    b'{"epochs": [{"training_loss": 1, "validation_loss": 1, "training_accuracy": []}]}',
    b'{"classes": {"classes": [{"particles": 1e400, "accepted": 1, "reason": 1}]}}',
]


@pytest.fixture
def card(tmp_path, make_config):
    """Return the folder of a bundle, and its card as a dict."""
    bundle = publish_bundle(tmp_path, b"graph", config=make_config(), version=1)
    return bundle, json.loads((bundle / CARD).read_text())


@pytest.mark.parametrize("data", HOSTILE)
def test_a_hostile_file_is_an_error_of_that_file(tmp_path, data):
    for name in (CARD, HELD_OUT, RUN, PROGRESS, REPORT, PROMOTIONS_FILE, WAITING, "web.address"):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match=CARD):
        read_card(tmp_path)
    with pytest.raises(ModelError, match=HELD_OUT):
        HeldOutLabels.read(tmp_path)
    with pytest.raises(TrainerError, match=RUN):
        RunSpec.read(tmp_path)
    with pytest.raises(ModelError, match=PROMOTIONS_FILE):
        read_promotions(tmp_path)
    with pytest.raises(ValueError, match=r"."):
        Headline.of_json(data)
    assert ProgressReader(tmp_path).new() == []
    assert read_waiting(tmp_path) is None
    assert read_figures(tmp_path) is None
    assert read_findings(tmp_path) == read_epochs(tmp_path) == read_classes(tmp_path) == ()
    assert _judgement_of({"figures": data.decode(errors="replace")}) is None
    assert isinstance(AddressFile(tmp_path).read(), str)


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_a_file_is_an_error_of_that_file(tmp_path):
    for name in (CARD, HELD_OUT, RUN, REPORT, WAITING, "web.address"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(ModelError, match="not a regular file"):
        read_card(tmp_path)
    with pytest.raises(ModelError, match="not a regular file"):
        HeldOutLabels.read(tmp_path)
    with pytest.raises(TrainerError, match="not a regular file"):
        RunSpec.read(tmp_path)
    assert read_figures(tmp_path) is None
    assert read_waiting(tmp_path) is None
    assert AddressFile(tmp_path).read() == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", "1"),
        ("version", -1),
        ("version", 1.5),
        ("version", True),
        ("version", 10**30),
        ("kind", "other"),
        ("kind", ["blob"]),
        ("fingerprint", 7),
        ("particle_fingerprint", None),
        ("diameter_angstrom", "150"),
        ("diameter_angstrom", 0),
        ("diameter_angstrom", float("nan")),
        ("diameter_angstrom", float("inf")),
        ("diameter_angstrom", 1e300),
        ("diameter_angstrom", {}),
        ("min_distance_angstrom", -1),
        ("contrast", "light"),
        ("pixel_size_angstrom", 0),
        ("pixel_size_angstrom", None),
        ("normalization", []),
        ("threshold", 1.5),
        ("threshold", "auto"),
        ("graph_sha256", 0),
        ("created_at", "today"),
        ("run", 1),
        ("parent", "0000"),
        ("lowpass_angstrom", 0),
        ("noise_sigma", -1),
        ("edge_fraction", float("nan")),
        ("nobody_knows", 1),
    ],
)
def test_an_entry_of_another_type_is_named(card, name, value):
    bundle, entries = card
    (bundle / CARD).write_text(json.dumps(entries | {name: value}))
    with pytest.raises(ModelError) as caught:
        read_card(bundle)

    assert f"{bundle / CARD} has " in caught.value.what
    assert name in caught.value.what
    assert caught.value.remedy


def test_a_missing_entry_is_named(card):
    bundle, entries = card
    del entries["threshold"]
    (bundle / CARD).write_text(json.dumps(entries))
    with pytest.raises(ModelError, match="missing or unknown entries: threshold"):
        read_card(bundle)


def test_a_long_wrong_entry_is_cut_off_in_the_error(card):
    bundle, entries = card
    (bundle / CARD).write_text(json.dumps(entries | {"threshold": ["x"] * 10_000}))
    with pytest.raises(ModelError) as caught:
        read_card(bundle)
    assert len(caught.value.what) < 1000


def test_a_line_of_progress_that_is_nested_is_passed_over(tmp_path):
    lines = [NESTED, b'{"at": 1, "stage": "train"}', b'{"at": "now", "stage": []}', b"\xff"]
    (tmp_path / PROGRESS).write_bytes(b"\n".join(lines) + b"\n")
    (line,) = ProgressReader(tmp_path).new()
    assert line.stage == "train"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.mkdir()])
def test_what_is_not_a_file_has_no_progress(tmp_path, make):
    make(tmp_path / PROGRESS)
    assert ProgressReader(tmp_path).new() == []


def test_an_endless_line_of_progress_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "MOST_BYTES", 1000)
    (tmp_path / PROGRESS).write_bytes(b"x" * 2500 + b'\n{"at": 1, "stage": "train"}\n')
    reader = ProgressReader(tmp_path)
    assert [len(reader.new()) for _ in range(4)] == [0, 0, 1, 0]
