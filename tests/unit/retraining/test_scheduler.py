"""When a training run is due, and what becomes of it."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path

import numpy as np
import pytest

from livepick.config.sections import Micrograph
from livepick.core.contracts.job import CPU, Result, StageSeconds
from livepick.core.contracts.progress import ProgressReader
from livepick.core.contracts.run import RunMicrograph, RunSpec
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import Quality
from livepick.errors import ContentError, LedgerWriteError, ModelError
from livepick.ledger.rows import Counts, RunRow
from livepick.models import promotions
from livepick.models.registry import Models
from livepick.monitoring.metrics.exporter import Metrics
from livepick.picking.model_check import probe
from livepick.retraining import scheduler as retrain_module
from livepick.retraining import trial_picking
from livepick.retraining.holdout_split import split
from livepick.retraining.scheduler import Retrain
from livepick.retraining.trainer_process import Ended, TrainerProcess

PUBLISH = """
    import dataclasses, sys, time
    from pathlib import Path
    from livepick.core.contracts.bundle import GRAPH, publish, read_card, sha256
    from livepick.core.contracts.held_out_labels import HELD_OUT, HeldOutLabels, LabelledMicrograph
    from livepick.core.contracts.run import RunMicrograph, RunSpec
    folder = Path(sys.argv[1])
    spec = RunSpec.read(folder)
    card = dataclasses.replace(
        read_card(spec.models_directory / "0000"),
        version=spec.version, kind="trained", fingerprint=spec.fingerprint,
        graph_sha256=sha256(b"trained"), run=folder.name, parent=spec.parent,
    )
    with (folder / "progress.jsonl").open("a") as file:
        file.write('{"at": 1, "stage": "train", "training_loss": 0.5, "validation_loss": 0.6}\\n')
    labels = HeldOutLabels(by="classes", radius_angstrom=20, micrographs=[
        LabelledMicrograph(path=m.path, pixel_size_angstrom=1,
            particles=[(100 * n, 100) for n in range(9)], doubtful=[])
        for m in spec.micrographs if m.held_out
    ])
    files = {GRAPH: b"trained", HELD_OUT: labels.model_dump_json().encode()}
    publish(spec.models_directory, card, files)
"""
FAIL = """
    import sys
    from pathlib import Path
    with (Path(sys.argv[1]) / "progress.jsonl").open("a") as file:
        file.write('{"at": 1, "stage": "failed", "note": "There are no seeds. Lower it."}\\n')
    sys.exit(1)
"""
CRASH = "raise SystemExit('Segmentation fault, nearly')"
SLEEP = """
    import sys, time
    from pathlib import Path
    (Path(sys.argv[1]) / "began").touch()
    time.sleep(60)
"""


class Scene:
    """A retrain thread without the thread, its ledger a list."""

    def __init__(self, config, program, picked, micrograph_row, put_bundle):
        self.micrograph_row = micrograph_row
        self.put_bundle = put_bundle
        self.config = config
        self.models = Models(config.state.directory / "models")
        self.metrics = Metrics()
        self.picked = picked
        self.changes = []
        self.promoted = []
        self.jobs = []
        self.probed = []
        self.outcome = None
        self.wrong = {}
        self.provider = CPU
        self.row = []
        self.picks = Picks(*(np.array([1.0, 2.0], dtype=np.float32) for _ in range(3)))
        self.masked = {}
        self.command = (sys.executable, "-c", textwrap.dedent(program))
        self.retrain = self.start()

    def start(self):
        """Make the part as the service does at its start."""
        if not self.models.bundles():
            self.put_bundle(self.models, self.config, 0, "blob")
        return Retrain(
            self.config,
            models=self.models,
            metrics=self.metrics.training,
            serving=self.models.champion(self.config),
            ledger=self,
            submit=self.submit,
            compute=self.compute,
            probe=lambda bundle, device: self.compute(probe, bundle, device),
            promoted=lambda bundle, provider: self.promoted.append(bundle),
            run_changed=self.run_changed,
            command=self.command,
        )

    def counts(self):
        """Be the ledger."""
        return Counts(picked=self.picked)

    def runs(self):
        """Be the ledger."""
        return self.row

    def picked_rows(self):
        """Be the ledger."""
        for i in range(self.picked):
            yield self.micrograph_row(i, masked_fraction=self.masked.get(i, 0.0))

    def picked_places(self):
        """Be the ledger."""
        return [(row.id, row.path) for row in self.picked_rows()]

    def get(self, micrograph_id):
        """Be the ledger."""
        return next(row for row in self.picked_rows() if row.id == micrograph_id)

    def candidates(self, micrograph_id):
        """Be the ledger."""
        return self.picks

    def run_changed(self, version, fingerprint, state, reason, figures):
        """Be the dispatch thread."""
        self.changes.append((version, state))
        others = [run for run in self.row if run.version != version]
        self.row = [RunRow(version, fingerprint, state, reason, 0.0, None, figures), *others]

    def submit(self, job):
        """Be the workers."""
        self.jobs.append(job)
        future = Future()
        if self.outcome is None:
            future.set_result(self.result(job))
        else:
            future.set_exception(self.outcome)
        return future

    def result(self, job):
        """Return nine picks, as many of them wrong as ``wrong`` says of the model."""
        wrong = self.wrong.get(job.bundle.name, 1 if job.bundle.name == "0000" else 0)
        x = np.arange(9, dtype=np.float32) * 100
        y = np.where(np.arange(9) < wrong, 500, 100).astype(np.float32)
        return Result(
            picks=Picks(x, y, np.linspace(0.9, 0.5, 9, dtype=np.float32)),
            threshold=0.5,
            model_version=int(job.bundle.name),
            model_kind="trained",
            shape_px=(1000, 1000),
            pixel_size_angstrom=1.0,
            quality=Quality(0.0, 0.7),
            seconds=StageSeconds(0.0, 0.0, 0.0, 0.0),
            provider=CPU,
        )

    def compute(self, work, *args, **settings):
        """Be the workers, for whom a graph of our bundles is none."""
        future = Future()
        if work is not probe:
            future.set_result(work(*args, **settings))
        elif isinstance(self.provider, str):
            self.probed.append(args[0].name)
            future.set_result(self.provider)
        else:
            future.set_exception(self.provider)
        return future

    def edit(self, **sections):
        """Be the service after an edit of the config."""
        values = self.config.model_dump()
        for name, changes in sections.items():
            values[name] |= changes
        self.config = type(self.config).model_validate(values)
        self.retrain.use(self.config)

    def until(self, condition, what):
        """Step until something is so."""
        give_up = time.monotonic() + 90
        while not condition():
            assert time.monotonic() < give_up, f"waited in vain for: {what}"
            self.retrain.step()
            time.sleep(0.02)


@pytest.fixture
def make_scene(make_config, put_bundle, micrograph_row):
    """Return a function that sets a scene with a trainer program and a blob picker."""

    def make(program, *, picked=5, generation=1, bootstrap=None, training=None):
        bootstrap = {"minimum_picks": 10} | (bootstrap or {})
        config = make_config(
            generation=generation, micrographs=5, bootstrap=bootstrap, training=training
        )
        return Scene(config, program, picked, micrograph_row, put_bundle)

    return make


def test_a_run_starts_when_enough_are_picked(tmp_path, make_scene):
    """One micrograph too few: nothing. Enough: a run folder with seeds and a hold-out."""
    scene = make_scene(PUBLISH, picked=4)
    scene.retrain.step()
    assert scene.changes == []

    scene.picked = 7
    scene.until(lambda: scene.promoted, "promotion")

    spec = RunSpec.read(tmp_path / "state" / "runs" / "0001")
    assert (spec.version, spec.parent, len(spec.micrographs)) == (1, 0, 5)
    assert [m.held_out for m in spec.micrographs].count(True) == 1
    assert spec.micrographs[0].seeds == [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0)]


def test_a_run_knows_the_defocus_that_is_written(tmp_path, make_scene):
    """Of those micrographs that the file of the config names."""
    star = tmp_path / "micrographs_ctf.star"
    names = ["MicrographName", "DefocusU", "DefocusV", "DefocusAngle"]
    names += ["Voltage", "SphericalAberration", "AmplitudeContrast"]
    star.write_text("data_\nloop_\n" + "".join(f"_rln{name}\n" for name in names))
    with star.open("a") as file:
        file.write("m/2.mrc 12000 11000 30 300 2.7 0.1\n")
    scene = make_scene(PUBLISH)
    scene.config = scene.config.model_copy(update={"micrograph": Micrograph(ctf=star)})
    scene.retrain = scene.start()

    scene.until(lambda: scene.promoted, "promotion")

    spec = RunSpec.read(tmp_path / "state" / "runs" / "0001")
    assert [m.path.name for m in spec.micrographs if m.ctf is not None] == ["2.mrc"]
    assert spec.micrographs[2].ctf.defocus_v_angstrom == 11000


def test_a_trained_model_is_tried_promoted_and_announced(make_scene):
    """The workers pick a held-out micrograph with it before the session does."""
    scene = make_scene(PUBLISH)

    scene.until(lambda: scene.promoted, "promotion")

    assert scene.models.champion(scene.config).card.version == 1
    assert scene.changes == [(1, "running"), (1, "promoted")]
    assert [job.bundle.name for job in scene.jobs] == ["0001", "0000"]
    assert scene.probed == ["0001"]
    assert scene.metrics.registry.get_sample_value("livepick_training_validation_loss") == 0.6
    scene.retrain.step()
    assert len(scene.promoted) == 1


FINDINGS = """
    with (folder / "progress.jsonl").open("a") as file:
        file.write('{"at": 2, "stage": "train", "note": "rate too high: 1e5; lower it",'
            ' "finding": "rate_too_high"}\\n')
        file.write('{"at": 3, "stage": "train", "note": "training again", "rerun": true}\\n')
"""


def test_a_finding_is_a_warning_once(make_scene, caplog):
    """The operator reads of it in the log, and Prometheus counts it; the rerun is no warning."""
    scene = make_scene(PUBLISH + FINDINGS)

    scene.until(lambda: scene.promoted, "promotion")

    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == ["run 0001: train: rate too high: 1e5; lower it"]
    sample = scene.metrics.registry.get_sample_value
    assert sample("livepick_training_findings_total", {"finding": "rate_too_high"}) == 1
    assert sample("livepick_training_reruns_total") == 1


def test_a_failed_run_leaves_picking_alone_and_is_not_repeated(make_scene):
    """Its reason is recorded; a restart does not try again, another generation does."""
    scene = make_scene(FAIL)
    scene.until(lambda: scene.changes[-1:] == [(1, "failed")], "failure")

    assert scene.row[0].reason == "There are no seeds. Lower it."
    assert scene.models.champion(scene.config).card.version == 0
    scene.retrain = scene.start()
    scene.retrain.step()
    assert scene.changes == [(1, "running"), (1, "failed")]
    sample = scene.metrics.registry.get_sample_value
    assert sample("livepick_training_runs_total", {"result": "failed"}) == 1

    other = make_scene(PUBLISH, generation=2)
    other.until(lambda: other.promoted, "promotion")
    assert other.promoted[0].card.version == 2


def test_a_trainer_that_ends_without_a_word_fails_with_its_log(make_scene):
    """The last lines of trainer.log are the reason."""
    scene = make_scene(CRASH)

    scene.until(lambda: scene.changes[-1:] == [(1, "failed")], "failure")

    assert "Segmentation fault, nearly" in scene.row[0].reason


def test_a_killed_trainer_goes_on_but_not_for_ever(tmp_path, monkeypatch, make_scene):
    """The same folder again; after a few times the run has failed."""
    monkeypatch.setattr(retrain_module, "RESTARTS", 2)
    program = """
        import os, signal, sys
        with open(sys.argv[1] + "/starts", "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    scene = make_scene(program)

    scene.until(lambda: scene.changes[-1:] == [(1, "failed")], "failure")

    assert (tmp_path / "state/runs/0001/starts").read_text() == "xxx"


def test_a_trainer_that_gets_on_between_its_kills_is_not_given_up(monkeypatch, make_scene):
    """Six kills in six stages are six accidents; what counts is kills in one stage."""
    monkeypatch.setattr(retrain_module, "RESTARTS", 1)
    program = textwrap.dedent("""
            import os, signal, sys
            from pathlib import Path
            progress = Path(sys.argv[1]) / "progress.jsonl"
            at = len(progress.read_text().splitlines()) if progress.exists() else 0
            stages = ["prepare", "reseed", "classify", "select", "train", "retrain"]
            if at < len(stages):
                with progress.open("a") as file:
                    file.write('{"at": 1, "stage": "%s"}\\n' % stages[at])
                os.kill(os.getpid(), signal.SIGKILL)
        """) + textwrap.dedent(PUBLISH)
    scene = make_scene(program)

    scene.until(lambda: scene.promoted, "promotion")

    assert scene.changes == [(1, "running"), (1, "promoted")]


FULL_TWICE = """
    import sys
    from pathlib import Path
    starts = Path(sys.argv[1]) / "starts"
    with starts.open("a") as file:
        file.write("x")
    if len(starts.read_text()) < 3:
        sys.exit(75)
"""


def test_a_full_disk_is_waited_for_and_no_run_is_lost(tmp_path, monkeypatch, make_scene, caplog):
    """However often it is tried: said once, never failed, and the same run goes on."""
    caplog.set_level("INFO")
    monkeypatch.setattr(retrain_module, "RESTARTS", 0)
    monkeypatch.setattr(retrain_module, "PAUSE_SECONDS", 0.1)
    scene = make_scene(textwrap.dedent(FULL_TWICE) + textwrap.dedent(PUBLISH))
    scene.until(lambda: len(scene.changes) == 2, "a full disk")
    assert scene.row[0].state == "running"
    assert "no room left on the disk" in scene.row[0].reason

    scene.until(lambda: scene.promoted, "promotion")

    assert (tmp_path / "state/runs/0001/starts").read_text() == "xxx"
    assert caplog.text.count("no room left") == 1
    assert "run 0001: goes on" in caplog.text
    assert set(scene.changes) == {(1, "running"), (1, "promoted")}
    sample = scene.metrics.registry.get_sample_value
    assert sample("livepick_training_runs_total", {"result": "failed"}) == 0


def test_a_run_that_waits_for_the_disk_is_resumed_by_a_new_service(make_scene):
    """Then its reason goes, once the trainer says something."""
    scene = make_scene("raise SystemExit(75)")
    scene.until(lambda: len(scene.changes) == 2, "a full disk")
    scene.command = make_scene(PUBLISH).command
    scene.retrain = scene.start()

    scene.until(lambda: scene.promoted, "promotion")

    assert scene.changes == [(1, "running")] * 3 + [(1, "promoted")]


def test_a_newer_edit_wins_over_a_run_that_waits_for_the_disk(make_scene):
    """Nobody wants its model any more."""
    scene = make_scene("raise SystemExit(75)")
    scene.until(lambda: len(scene.changes) == 2, "a full disk")
    scene.retrain._command = make_scene(PUBLISH).command
    scene.edit(training={"generation": 2})

    scene.until(lambda: scene.promoted, "promotion")

    assert scene.changes[2:] == [(1, "superseded"), (2, "running"), (2, "promoted")]


def test_a_model_that_does_not_run_is_not_promoted(make_scene):
    """The session goes on with the champion, and the bundle is not tried again."""
    scene = make_scene(PUBLISH)
    scene.outcome = BrokenExecutor("a worker died")

    scene.until(lambda: scene.changes[-1:] == [(1, "failed")], "failure")
    scene.retrain.step()

    assert scene.models.pointer() is None
    assert len(scene.jobs) == trial_picking.DEATHS


def test_a_model_that_nothing_can_be_compared_on_is_kept_aside(make_scene):
    """The held-out micrograph went bad since; the model has not failed."""
    scene = make_scene(PUBLISH)
    scene.outcome = ContentError("all NaN", "Nothing to do.")

    scene.until(lambda: scene.changes[-1:] == [(1, "kept_aside")], "verdict")


def test_a_bundle_whose_promotion_was_interrupted_is_promoted(make_scene, put_bundle):
    """The service was killed between the trainer's rename and its own."""
    scene = make_scene("raise SystemExit('must not be started')")
    scene.edit(retrain={"gate": "off"})  # no micrograph is held out
    put_bundle(scene.models, scene.config, 1)

    scene.retrain.step()

    assert scene.models.pointer().card.version == 1
    assert scene.changes == [(1, "promoted")]


def test_a_full_disk_at_the_promotion_is_not_the_models_fault(make_scene, put_bundle, monkeypatch):
    """It is tried again once there is space, and the run has not failed."""
    scene = make_scene("raise SystemExit('must not be started')")
    scene.edit(retrain={"gate": "off"})  # no micrograph is held out
    put_bundle(scene.models, scene.config, 1)

    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(promotions, "write_atomically", full)
        with pytest.raises(LedgerWriteError, match="No space left"):
            scene.retrain.step()
    assert (scene.models.pointer(), scene.changes) == (None, [])

    scene.retrain.step()
    assert scene.models.pointer().card.version == 1
    assert scene.changes == [(1, "promoted")]


def test_a_run_that_takes_too_long_is_ended(tmp_path, make_scene):
    """training.time_limit_minutes holds for a trainer that hangs."""
    scene = make_scene(SLEEP)
    scene.until((tmp_path / "state/runs/0001/began").exists, "trainer")
    trainer = scene.retrain._following._trainer
    scene.retrain._following._started_at -= 24 * 3600

    scene.retrain.step()

    assert scene.changes == [(1, "running"), (1, "failed")]
    assert trainer.poll() is not None


def test_stopping_ends_the_trainer_and_a_start_goes_on(tmp_path, make_scene):
    """No run is left behind, and none is lost."""
    scene = make_scene(SLEEP)
    scene.until((tmp_path / "state/runs/0001/began").exists, "trainer")
    trainer = scene.retrain._following._trainer
    scene.retrain.stop()
    scene.retrain.run()
    assert trainer.poll() == Ended(-signal.SIGTERM)

    again = make_scene(PUBLISH)
    again.until(lambda: again.promoted, "promotion")

    assert again.promoted[0].card.version == 1


def test_an_orphaned_trainer_is_adopted_never_doubled(tmp_path):
    """Kill -9 of the service leaves its trainer; the next service waits for it and can end it."""
    starter = f"""
        import os, signal, sys
        from pathlib import Path
        from livepick.retraining.trainer_process import TrainerProcess
        program = {textwrap.dedent(SLEEP)!r}
        TrainerProcess.on(Path({str(tmp_path)!r}), (sys.executable, "-c", program))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(starter)], check=False)

    adopted = TrainerProcess.on(tmp_path, ("/bin/false",))

    assert adopted.poll() is None
    assert adopted.pid == int((tmp_path / "lock").read_text())
    adopted.end()
    assert adopted.poll() == Ended(None)


def test_progress_is_read_as_it_grows(tmp_path, caplog):
    """Half a line is not lost, and what a killed trainer broke off does no harm."""
    reader = ProgressReader(tmp_path)
    assert reader.new() == []
    line = json.dumps({"at": 1, "stage": "train", "note": "ü"}) + "\n"
    with (tmp_path / "progress.jsonl").open("wb") as file:
        file.write(line.encode()[:-5])
        file.flush()
        assert reader.new() == []
        file.write(line.encode()[-5:] + b'{"at": 2, "sta\n' + line.encode())
    assert [progress.note for progress in reader.new()] == ["ü", "ü"]
    assert "cannot be read" in caplog.text


def test_typical_micrographs_are_held_out():
    """Neither the emptiest nor the richest judges the model and sets its threshold."""
    counts = [0, 50, 300, 40, 45, 55, 60, 42, 48, 2]
    micrographs = [
        RunMicrograph(
            path=Path(f"/m/{number}.mrc"),
            pixel_size_angstrom=1.0,
            held_out=False,
            seeds=[(0.0, 0.0, 0.9)] * count,
        )
        for number, count in enumerate(counts)
    ]

    def held_out(fraction, before=()):
        found = split(
            micrographs, threshold=0.5, held_out_fraction=fraction, held_out_before=before
        )
        return [counts[int(m.path.stem)] for m in found if m.held_out]

    for fraction, expected in ((0.01, 1), (0.2, 2), (0.5, 5), (0.89, 9)):
        assert len(held_out(fraction)) == expected
        assert 0 not in held_out(fraction)
    assert held_out(0.2) == [50, 42]
    assert held_out(0.2, {Path("/m/0.mrc")}) == [0, 48]
    assert held_out(0.1, {Path("/m/0.mrc"), Path("/m/2.mrc")}) == [0, 300]


def test_a_worse_model_is_kept_aside_with_the_figures_that_say_why(tmp_path, make_scene):
    """The champion picks on; run, verdict and metrics say so; a restart judges it no more."""
    scene = make_scene(PUBLISH)
    scene.until(lambda: scene.promoted, "promotion")
    scene.wrong["0002"] = 4
    scene.edit(training={"generation": 2})

    scene.until(lambda: scene.changes[-1] == (2, "kept_aside"), "verdict")

    assert scene.models.champion(scene.config).card.version == 1
    assert "it is worse" in scene.row[0].reason
    verdict = json.loads((tmp_path / "state/runs/0002/verdict.json").read_bytes())
    assert verdict["comparison"]["precision"]["candidate"] == pytest.approx(5 / 9)
    assert scene.row[0].figures == {"verdict": verdict}
    sample = scene.metrics.registry.get_sample_value
    assert sample("livepick_training_runs_total", {"result": "kept_aside"}) == 1
    assert sample("livepick_gate_precision", {"model": "champion"}) == 1
    jobs = len(scene.jobs)
    scene.retrain = scene.start()
    scene.retrain.step()
    assert len(scene.jobs) == jobs


def test_a_better_model_picks_from_then_on(make_scene):
    """Better than the one in use, not only than the blob picker."""
    scene = make_scene(PUBLISH)
    scene.wrong |= {"0000": 5, "0001": 4}
    scene.until(lambda: scene.promoted, "promotion")
    scene.edit(training={"generation": 2})

    scene.until(lambda: len(scene.promoted) == 2, "promotion")

    assert [bundle.card.version for bundle in scene.promoted] == [1, 2]
    assert scene.changes[-1] == (2, "promoted")
    assert "against model 1" in scene.models.promotion().why


def test_an_edit_while_a_run_is_under_way_ends_it_and_the_newer_wins(tmp_path, make_scene):
    """If the config goes back, the older run goes on where it was."""
    scene = make_scene(SLEEP)
    scene.until((tmp_path / "state/runs/0001/began").exists, "trainer")
    trainer = scene.retrain._following._trainer
    scene.retrain._command = make_scene(PUBLISH).command
    scene.edit(training={"generation": 2})

    scene.until(lambda: scene.promoted, "promotion")
    assert trainer.poll() is not None
    assert scene.changes == [(1, "running"), (1, "superseded"), (2, "running"), (2, "promoted")]

    scene.edit(training={"generation": 1})
    scene.until(lambda: len(scene.promoted) == 2, "promotion")
    assert scene.changes[4:] == [(1, "running"), (1, "promoted")]


def test_an_earlier_config_finds_its_model_and_trains_nothing(make_scene):
    """It picked once already, and is not judged again."""
    scene = make_scene(PUBLISH)
    scene.until(lambda: scene.promoted, "promotion")
    scene.edit(training={"generation": 2})
    scene.until(lambda: len(scene.promoted) == 2, "promotion")
    jobs = len(scene.jobs)

    scene.edit(training={"generation": 1})
    scene.until(lambda: len(scene.promoted) == 3, "promotion")

    assert [bundle.card.version for bundle in scene.promoted] == [1, 2, 1]
    assert len(scene.jobs) == jobs
    assert scene.changes[-1] == (2, "promoted")


def test_a_model_that_a_person_promotes_picks_and_stays(make_scene):
    """The service sees that the pointer moved, tries the model, and does not overrule."""
    scene = make_scene(PUBLISH)
    scene.until(lambda: scene.promoted, "promotion")
    scene.models.promote(
        0, by="operator", why="by hand", fingerprint=scene.config.training_fingerprint()
    )

    scene.until(lambda: len(scene.promoted) == 2, "promotion")
    for _ in range(3):
        scene.retrain.step()

    assert [bundle.card.version for bundle in scene.promoted] == [1, 0]
    assert scene.models.promotion().by == "operator"


def test_a_model_that_does_not_run_gives_the_pointer_back(make_scene, put_bundle, caplog):
    """Whoever promoted it: the one in use goes on, and the history says why."""
    scene = make_scene(PUBLISH)
    scene.until(lambda: scene.promoted, "promotion")
    put_bundle(scene.models, scene.config, 7)
    scene.provider = ModelError("no scores", "Train again.")
    scene.models.promote(
        7, by="operator", why="by hand", fingerprint=scene.config.training_fingerprint()
    )

    scene.retrain.step()

    assert scene.models.champion(scene.config).card.version == 1
    assert len(scene.promoted) == 1
    assert "model 7 does not run: no scores" in scene.models.promotion().why
    assert "model 1: goes on" in caplog.text


def test_drift_trains_on_the_latest_micrographs_only_where_that_is_wanted(tmp_path, make_scene):
    """Off by default; once at a time; the gate lets no equal win whom nobody asked for."""
    scene = make_scene(PUBLISH, picked=5)
    scene.until(lambda: scene.promoted, "promotion")
    scene.retrain.drifted("fewer picks")
    for _ in range(3):
        scene.retrain.step()
    assert scene.changes == [(1, "running"), (1, "promoted")]

    scene.picked = 30
    scene.edit(retrain={"on_drift": True})
    scene.retrain.drifted("fewer picks")
    scene.until(lambda: scene.changes[-1] == (2, "kept_aside"), "verdict")

    spec = RunSpec.read(tmp_path / "state/runs/0002")
    assert [m.path.stem for m in spec.micrographs] == ["29", "28", "27", "26", "25"]
    assert "nobody asked for it" in scene.row[0].reason
    for _ in range(3):
        scene.retrain.step()
    assert len(scene.changes) == 4


def test_a_later_generation_learns_from_all_over_the_session(tmp_path, make_scene):
    """And is judged by what was held out before, beside fresh micrographs."""
    scene = make_scene(PUBLISH, picked=5)
    scene.until(lambda: scene.promoted, "promotion")
    (before,) = (m for m in RunSpec.read(tmp_path / "state/runs/0001").micrographs if m.held_out)
    scene.picked = 40
    scene.edit(training={"generation": 2, "held_out_fraction": 0.4})

    scene.until(lambda: len(scene.promoted) == 2, "promotion")

    spec = RunSpec.read(tmp_path / "state/runs/0002")
    held_out = [m.path for m in spec.micrographs if m.held_out]
    trained_on = [m.path for m in spec.micrographs if not m.held_out]
    assert held_out[0] == before.path
    assert len(held_out) == 2
    assert int(held_out[1].stem) >= 5
    assert max(int(path.stem) for path in trained_on) > 15
