"""Reports of trained bundles."""

import json

from livepick.core.contracts.training_report import read_findings


def test_findings_are_read_from_a_bundles_report(tmp_path):
    """A report without findings, or no report, has none."""
    finding = {
        "kind": "still_falling",
        "is_fault": False,
        "evidence": "the losses still fall",
        "remedy": "raise training.epochs to 60",
        "settings": {"epochs": 60},
    }
    assert read_findings(tmp_path) == ()
    (tmp_path / "report.json").write_text(json.dumps({"figures": {}}))
    assert read_findings(tmp_path) == ()
    (tmp_path / "report.json").write_text(json.dumps({"findings": [finding]}))

    (found,) = read_findings(tmp_path)

    assert not found.is_fault
    assert found.sentence == ("Still falling: the losses still fall; raise training.epochs to 60.")
