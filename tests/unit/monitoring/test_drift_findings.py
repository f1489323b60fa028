"""A finding of drift says what has changed, by how much, and why that may be."""

import pytest

from livepick.core.evaluation.drift_test import DRIFT_KINDS, Change, Drift
from livepick.monitoring.drift_findings import findings_of


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        (
            Change("fewer_picks", 100, 58),
            (
                "the last 25 micrographs have 58% of the picks of the first 50 of model 3"
                " (median 58, was 100)"
            ),
        ),
        (
            Change("more_picks", 0, 12),
            (
                "the last 25 micrographs have picks, and the first 50 of model 3 had almost none"
                " (median 12, was 0)"
            ),
        ),
        (
            Change("more_masked", 0.05, 0.3),
            "30% of the last 25 micrographs is masked, compared with 5% of the first 50 of model 3",
        ),
        (
            Change("lower_scores", 0.85, 0.7),
            (
                "the median score of the last 25 micrographs is 0.70, compared with 0.85 in the"
                " first 50 of model 3"
            ),
        ),
        (
            Change("other_scores", 0.05, 0.4),
            (
                "the scores of the last 25 micrographs are distributed differently from those of"
                " the first 50 of model 3 (stability index 0.40; 0.05 is expected by chance)"
            ),
        ),
    ],
)
def test_a_finding_says_how_much_and_of_what(change, evidence):
    (finding,) = findings_of(Drift(changes=(change,), model_version=3))
    assert (finding.kind, finding.evidence) == (change.kind, evidence)
    assert finding.sentence == (
        f"{change.kind.replace('_', ' ').capitalize()}: {evidence}; {finding.remedy}"
    )


def test_each_kind_of_change_has_its_words():
    changes = tuple(Change(kind, 1, 2) for kind in DRIFT_KINDS)
    findings = findings_of(Drift(changes=changes, model_version=3))
    assert tuple(finding.kind for finding in findings) == DRIFT_KINDS
    assert all(finding.remedy.endswith("?") for finding in findings)
