"""Runs, model and session are remembered."""


def test_runs_model_and_session_are_remembered(ledger, clock):
    """A resumed run keeps its start, the same model its date."""
    ledger.session.run_changed(1, "abc", "running")
    assert not ledger.session.use_model(0, "blob", "p")
    ledger.session.begin("s1")
    clock.now += 60
    ledger.session.run_changed(1, "abc", "promoted", figures={"ap": 0.9})
    assert not ledger.session.use_model(0, "blob", "p")

    (run,) = ledger.reader.runs()
    assert (run.state, run.started_at, run.ended_at, run.figures) == (
        "promoted",
        1000.0,
        1060.0,
        {"ap": 0.9},
    )
    assert (ledger.reader.model().kind, ledger.reader.model().since) == ("blob", 1000.0)
    assert ledger.session.begin("s1").started_at == 1000.0
    assert not ledger.session.use_model(1, "trained", "p")
    assert ledger.session.use_model(2, "blob", "another particle")
