"""Whole runs on small micrographs."""

import json
from pathlib import Path

import onnx
import pytest

from livepick.core.bundle import GRAPH, read_card
from livepick.core.ctf import Ctf
from livepick.core.run import PROGRESS, Progress, RunSpec
from livepick.errors import TrainerError
from livepick_trainer import remedies, stages, train
from livepick_trainer.__main__ import main
from livepick_trainer.attempts import HISTORY, Attempt, History
from livepick_trainer.dataset import PatchRules
from livepick_trainer.prepare import load_prepared, prepare_micrographs
from livepick_trainer.progress import Reporter
from livepick_trainer.run import WEIGHTS, lock

QUICK = PatchRules(size_px=64, patches_per_epoch=16, held_out_patches=8)


class Killed(BaseException):
    """The process is gone: nothing of ours may catch this."""


def run(folder: Path) -> Path:
    with lock(folder):
        return stages.run_stages(folder, Reporter(folder), patch_rules=QUICK)


def progress_of(folder: Path) -> list[Progress]:
    lines = (folder / PROGRESS).read_bytes().splitlines()
    return [Progress.model_validate_json(line) for line in lines]


def test_a_run_ends_with_a_bundle_that_finds_the_blobs(make_run):
    """Held-out particles are found, and everything the daemon needs is in the bundle."""
    folder = make_run(epochs=5, initial_learning_rate=0.01)

    with lock(folder):
        rules = PatchRules(size_px=64, patches_per_epoch=48, held_out_patches=16)
        bundle = stages.run_stages(folder, Reporter(folder), patch_rules=rules)

    card = read_card(bundle)
    report = json.loads((bundle / "report.json").read_bytes())
    assert report["figures"]["average_precision"] > 0.9
    assert 0 < card.threshold < 1
    assert (card.kind, card.run, card.parent, card.pixel_size_angstrom) == ("trained", "0001", 0, 5)
    assert "best F1" in card.threshold_source
    assert report["export"]["max_difference"] < 1e-3
    assert report["best_epoch"] in [epoch["epoch"] for epoch in report["epochs"]]
    assert (bundle / "curves.png").read_bytes().startswith(b"\x89PNG")
    graph = onnx.load(bundle / GRAPH)
    assert [opset.domain for opset in graph.opset_import] == [""]


def test_progress_is_a_line_a_step(make_run):
    """The daemon reads each epoch's losses, and the end, from progress.jsonl."""
    folder = make_run()

    run(folder)

    lines = progress_of(folder)
    epochs = [line for line in lines if line.training_loss is not None]
    assert [(line.done, line.total) for line in epochs] == [(1, 3), (2, 3), (3, 3)]
    assert all(0 <= line.validation_accuracy <= 1 for line in epochs)
    assert [line.done for line in lines if line.stage == "prepare"] == [1, 2, 3, 4, 5]
    assert lines[-1].stage == "done"


def dying(function, calls):
    """Do as ``function`` does, and die at the end of the given call."""
    count = 0

    def die(*args, **kwargs):
        nonlocal count
        count += 1
        result = function(*args, **kwargs)
        if count == calls:
            raise Killed
        return result

    return die


def test_a_run_killed_again_and_again_gives_the_same_graph(make_run, monkeypatch):
    """Killed in each stage and after each epoch, it goes on and ends with the same bytes."""
    undisturbed = read_card(run(make_run("0001"))).graph_sha256
    folder = make_run("0002")

    deaths = [
        (stages, "prepare_micrographs", 1),
        (remedies, "save_checkpoint", 1),
        (remedies, "save_checkpoint", 1),
        (train, "_train_epoch", 1),
        (remedies, "save_weights", 1),
        (remedies, "save_weights", 2),
        (stages, "evaluate", 1),
        (stages, "to_onnx", 1),
        (stages, "write_atomically", 1),
        (stages, "publish", 1),
    ]
    for module, name, calls in deaths:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, dying(getattr(module, name), calls))
            with pytest.raises(Killed):
                run(folder)

    assert read_card(run(folder)).graph_sha256 == undisturbed
    epochs = [line.done for line in progress_of(folder) if line.training_loss is not None]
    assert set(epochs) <= {1, 2, 3}
    assert len(epochs) <= 3  # no epoch was trained twice


def test_a_run_killed_between_its_attempts_gives_the_same_files(make_run, monkeypatch):
    """An absurd rate, trained twice more: killed within, after and between the attempts."""
    absurd = {"initial_learning_rate": 1.0, "final_learning_rate": 0.5, "auto_remedy": True}
    undisturbed = make_run("0001", **absurd)
    run(undisturbed)
    assert len(History.read(undisturbed / "train").attempts) == 3
    folder = make_run("0002", **absurd)

    deaths = [
        (remedies, "save_checkpoint", 2),
        (remedies, "save_weights", 1),  # the first attempt's, before its diagnosis
        (Attempt, "write", 1),  # and before the second begins
        (remedies, "save_checkpoint", 1),
        (remedies, "_figures", 1),  # of the second
        (Attempt, "write", 1),
        (Attempt, "write", 1),  # of the third, before one is chosen
        (remedies, "save_weights", 1),  # the chosen ones
        (History, "write", 1),
    ]
    for owner, name, calls in deaths:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dying(getattr(owner, name), calls))
            with pytest.raises(Killed):
                run(folder)
    run(folder)

    for name in (WEIGHTS, HISTORY, "attempt-3/attempt.json"):
        assert (folder / "train" / name).read_bytes() == (
            undisturbed / "train" / name
        ).read_bytes(), name
    lines, expected = progress_of(folder), progress_of(undisturbed)
    assert count_epochs(lines) <= count_epochs(expected)  # none was trained twice
    assert {line.note for line in expected if line.finding} == {
        line.note for line in lines if line.finding
    }
    assert any(line.rerun for line in lines)


def count_epochs(lines):
    return sum(line.training_loss is not None for line in lines)


def test_finished_stages_are_not_done_again(make_run, monkeypatch):
    """A second start of a finished run only says where the bundle is."""
    folder = make_run()
    bundle = run(folder)
    before = (bundle / "model.json").stat().st_mtime_ns
    monkeypatch.setattr(remedies, "train", None)

    assert run(folder) == bundle
    assert (bundle / "model.json").stat().st_mtime_ns == before


def test_a_graph_that_differs_from_the_network_is_refused(make_run, monkeypatch):
    """No bundle is published if onnxruntime's scores are not torch's."""
    folder = make_run(epochs=1)
    exact = stages.to_onnx

    def wrong(network):
        network = remedies.make_network(99)
        return exact(network)

    monkeypatch.setattr(stages, "to_onnx", wrong)

    with pytest.raises(TrainerError, match="differ"):
        run(folder)
    assert not RunSpec.read(folder).models_directory.exists()


def test_a_micrograph_that_is_gone_is_left_out(make_run):
    """The rest is trained on; the last micrograph is held out if the only such one is gone."""
    folder = make_run(epochs=1)
    RunSpec.read(folder).micrographs[0].path.unlink()

    report = json.loads((run(folder) / "report.json").read_bytes())

    assert report["training"]["micrographs"] == 3
    assert [m["name"] for m in report["micrographs"]] == ["mic_0004.mrc"]


def test_too_few_micrographs_end_the_trainer_with_words(make_run, capsys):
    """Exit status 1, two lines on standard error, and a line for the daemon."""
    folder = make_run(micrographs=3)
    RunSpec.read(folder).micrographs[1].path.unlink()

    assert main([str(folder)]) == 1

    what, remedy = capsys.readouterr().err.splitlines()[-2:]
    assert what.startswith("livepick_trainer: 2 of the run's 3 micrographs can be read")
    assert "trainer.log" in remedy
    last = progress_of(folder)[-1]
    assert (last.stage, "2 of the run's 3" in last.note) == ("failed", True)


def test_micrographs_that_cannot_be_read_at_all_end_the_trainer_with_words(make_run):
    """Each of them is in the log; the error counts them."""
    folder = make_run()
    for number, micrograph in enumerate(RunSpec.read(folder).micrographs):
        if number % 2:
            micrograph.path.write_bytes(b"no MRC file")
        else:
            micrograph.path.unlink()

    with pytest.raises(TrainerError, match="0 of the run's 5 micrographs can be read"):
        run(folder)
    assert sum("left out" in line.note for line in progress_of(folder)) == 5


@pytest.mark.parametrize(
    ("count", "words"), [(0, "no candidates"), (1, "1 candidate in"), (3, "3 candidates")]
)
def test_a_few_particles_are_too_few_to_learn_from(make_run, count, words):
    """The error counts them, and names the settings that may be wrong."""
    folder = make_run()
    spec = RunSpec.read(folder)
    seeds = [micrograph.seeds[:1] for micrograph in spec.micrographs[:count]]
    seeds += [[]] * (len(spec.micrographs) - count)
    few = [m.model_copy(update={"seeds": s}) for m, s in zip(spec.micrographs, seeds, strict=True)]
    spec.model_copy(update={"micrographs": few}).write(folder)

    with pytest.raises(TrainerError, match=words) as caught:
        run(folder)
    assert "in 5 micrographs" in caught.value.what
    assert "particle.diameter_angstrom" in caught.value.remedy
    assert not RunSpec.read(folder).models_directory.exists()


def test_seeds_below_the_threshold_teach_nothing(make_run):
    """Without one believable candidate, training is refused in words."""
    folder = make_run()
    spec = RunSpec.read(folder).model_copy(update={"seed_threshold": 0.99})
    spec.write(folder)

    with pytest.raises(TrainerError, match="good enough to learn from"):
        run(folder)


def test_a_second_trainer_is_refused(make_run, capsys):
    """Two trainers on one run would write over each other; the progress is the first one's."""
    folder = make_run()

    with lock(folder):
        assert main([str(folder)]) == 1

    assert "another trainer is at work" in capsys.readouterr().err
    assert not (folder / PROGRESS).exists()


def test_a_half_written_progress_line_does_not_spoil_the_next(tmp_path):
    """What a killed trainer left without an end is closed first."""
    (tmp_path / PROGRESS).write_bytes(b'{"at": 1, "sta')

    Reporter(tmp_path).report("train", "on")

    half, whole = (tmp_path / PROGRESS).read_bytes().splitlines()
    assert half == b'{"at": 1, "sta'
    assert Progress.model_validate_json(whole).note == "on"


def test_a_folder_without_an_order_is_refused(tmp_path, capsys):
    """Status 1 and two lines, no traceback."""
    assert main([str(tmp_path)]) == 1

    assert "run.json cannot be read" in capsys.readouterr().err


def test_the_unforeseen_is_told_to_the_daemon_too(make_run, monkeypatch, caplog):
    """A full disk, say: the traceback is in the log, one sentence in the progress file."""
    folder = make_run()

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stages, "prepare_micrographs", full)

    assert main([str(folder)]) == 1
    assert "No space left" in progress_of(folder)[-1].note
    assert "Traceback" in caplog.text


def test_what_the_order_knows_of_the_defocus_comes_with_the_micrographs(make_run, tmp_path):
    """It is read from run.json with them, and not asked for anew."""
    spec = RunSpec.read(make_run())
    ctf = Ctf(
        defocus_u_angstrom=15_000,
        defocus_v_angstrom=14_000,
        astigmatism_angle_degrees=5,
        voltage_kv=300,
        spherical_aberration_mm=2.7,
        amplitude_contrast=0.1,
    )
    known = [m.model_copy(update={"ctf": ctf}) for m in spec.micrographs[:1]]
    folder = tmp_path / "prepared"
    folder.mkdir()
    spec = spec.model_copy(update={"micrographs": [*known, *spec.micrographs[1:]]})
    prepare_micrographs(spec, folder)

    assert [m.ctf for m in load_prepared(spec, folder)] == [ctf, None, None, None, None]
