"""Whole runs on small micrographs."""

import json
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import pytest
from kept_names import gone, names_in_json, names_in_type

from livepick.core.contracts.bundle import GRAPH, read_card, sha256
from livepick.core.contracts.bundle import WEIGHTS as BUNDLE_WEIGHTS
from livepick.core.contracts.finding import Finding
from livepick.core.contracts.progress import PROGRESS, Progress, Stage
from livepick.core.contracts.run import START, RunSpec, RunStart
from livepick.core.contracts.training_report import read_findings, read_start
from livepick.core.imaging.ctf import Ctf
from livepick.errors import TrainerError
from livepick.host.atomic_files import TEMPORARY_PREFIX
from livepick_trainer import stages
from livepick_trainer.__main__ import main
from livepick_trainer.learning import train
from livepick_trainer.learning.attempts import HISTORY, Attempt, History
from livepick_trainer.learning.dataset import PatchRules
from livepick_trainer.learning.export_onnx import to_onnx
from livepick_trainer.learning.network import make_network
from livepick_trainer.learning.weights_file import read_weights, weights_file
from livepick_trainer.pipeline import (
    auto_remedy,
    bundle_publishing,
    held_out_evaluation,
    self_training,
    template_picking,
)
from livepick_trainer.pipeline.candidate_sorting import SortRules
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.report import Report
from livepick_trainer.pipeline.rounds import read_result
from livepick_trainer.pipeline.run_context import WEIGHTS, lock
from livepick_trainer.pipeline.template_picking import TemplateRules
from livepick_trainer.seeds.preprocess import load_prepared, prepare_micrographs
from livepick_trainer.seeds.seed_warnings import read_warnings
from one_round import one_round

QUICK = PatchRules(size_px=64, patches_per_epoch=16, held_out_patches=8)


class Killed(BaseException):
    """Simulated kill of the process, which livepick must not catch."""


def run(folder: Path, *, second_round: bool = False, **rules: object) -> Path:
    with lock(folder), nullcontext() if second_round else one_round():
        return stages.run_stages(folder, Reporter(folder), patch_rules=QUICK, **rules)


ALL_ROUNDS = {
    "sort_rules": SortRules(least_particles=20),
    "template_rules": TemplateRules(weak_purity=1.1, least_candidates=20),
    "second_round": True,
}
"""Rules of a run that sorts candidates, replaces the first seeds and learns its own picks."""


def change(folder: Path, **fields: object) -> RunSpec:
    """Change the order of a run."""
    spec = RunSpec.read(folder).model_copy(update=fields)
    spec.write(folder)
    return spec


def progress_of(folder: Path) -> list[Progress]:
    lines = (folder / PROGRESS).read_bytes().splitlines()
    return [Progress.model_validate_json(line) for line in lines]


def test_a_run_ends_with_a_bundle_that_finds_the_blobs(make_run, real_pictures):
    """Held-out particles are found, and everything the daemon needs is in the bundle."""
    folder = make_run(epochs=5, initial_learning_rate=0.01)

    with lock(folder), one_round():
        rules = PatchRules(size_px=64, patches_per_epoch=48, held_out_patches=16)
        bundle = stages.run_stages(folder, Reporter(folder), patch_rules=rules)

    card = read_card(bundle)
    report = json.loads((bundle / "report.json").read_bytes())
    assert report["figures"]["average_precision"] > 0.9
    assert 0 < card.threshold < 1
    assert (card.kind, card.run, card.parent, card.pixel_size_angstrom) == ("trained", "0001", 0, 5)
    assert "the median score of the likely picks" in card.threshold_source
    assert report["export"]["max_difference"] < 1e-3
    assert report["best_epoch"] in [epoch["epoch"] for epoch in report["epochs"]]
    assert (bundle / "curves.png").read_bytes().startswith(b"\x89PNG")
    graph = onnx.load(bundle / GRAPH)
    assert [opset.domain for opset in graph.opset_import] == [""]


def test_progress_is_a_line_a_step(make_run):
    """The daemon reads the losses of each epoch and the end of the run from progress.jsonl."""
    folder = make_run()

    run(folder)

    lines = progress_of(folder)
    epochs = [line for line in lines if line.training_loss is not None]
    assert [(line.done, line.total) for line in epochs] == [(1, 3), (2, 3), (3, 3)]
    assert all(0 <= line.validation_accuracy <= 1 for line in epochs)
    assert [line.done for line in lines if line.stage == "prepare"] == [1, 2, 3, 4, 5]
    assert lines[-1].stage == "done"


def dying(function, calls):
    """Return a function that does the same, and dies at the end of the given call."""
    count = 0

    def die(*args, **kwargs):
        nonlocal count
        count += 1
        result = function(*args, **kwargs)
        if count == calls:
            raise Killed
        return result

    return die


DEATHS: dict[Stage, list[tuple[object, str, int]]] = {
    "prepare": [(stages, "prepare_micrographs", 1)],
    "reseed": [
        (template_picking, "find_template", 1),
        (template_picking, "write_candidates", 1),
        (template_picking, "write_result", 1),
    ],
    "classify": [(stages, "sort_candidates", 1), (stages, "size_warning", 1)],
    "select": [(stages, "select_seeds", 1), (stages, "write_warnings", 1)],
    "train": [
        (auto_remedy, "save_checkpoint", 1),
        (auto_remedy, "save_checkpoint", 1),
        (train, "_train_epoch", 1),
        (auto_remedy, "save_weights", 1),
        (auto_remedy, "save_weights", 2),
    ],
    "retrain": [
        (self_training, "write_candidates", 1),
        (self_training, "sort_candidates", 1),
        (self_training, "select_seeds", 1),
        (auto_remedy, "save_checkpoint", 1),
        (auto_remedy, "save_weights", 1),
        (self_training, "train_with_remedies", 1),
        (self_training, "_mean_precision", 2),
        (self_training, "write_result", 1),
    ],
    "evaluate": [
        (held_out_evaluation, "evaluate", 1),
        (held_out_evaluation, "write_atomically", 1),
    ],
    "export": [(bundle_publishing, "to_onnx", 1), (bundle_publishing, "write_atomically", 1)],
    "publish": [(bundle_publishing, "publish", 1), (bundle_publishing, "write_atomically", 1)],
}
"""Points in each stage at which a run of all rounds is killed, in order."""

BETWEEN = [(stages, "fsync_folder", 1), (stages, "fsync_folder", 2)]
"""Points after a stage is complete: before and after it is renamed."""


def kill(folder, monkeypatch, deaths, **rules):
    """Start a run repeatedly, and kill it each time."""
    for owner, name, calls in deaths:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dying(getattr(owner, name), calls))
            with pytest.raises(Killed):
                run(folder, **rules)


def test_a_run_killed_again_and_again_gives_the_same_bundle(make_run, monkeypatch, quick_classes):
    """A run killed in and between all stages and rounds ends with the same bytes."""
    monkeypatch.setattr(self_training, "MOST_LOSS", 1.0)
    undisturbed = make_run("0001", micrographs=3)
    expected = run(undisturbed, **ALL_ROUNDS)
    rounds = json.loads((expected / "report.json").read_bytes())["seeds"]["rounds"]
    assert [rounds[stage]["used"] for stage in ("reseed", "retrain")] == [True, True]
    folder = make_run("0002", micrographs=3)

    for stage, deaths in DEATHS.items():
        kill(folder, monkeypatch, deaths, **ALL_ROUNDS)
        assert not (folder / stage).exists()
        kill(folder, monkeypatch, BETWEEN, **ALL_ROUNDS)
        assert (folder / stage).exists()
    found = run(folder, **ALL_ROUNDS)

    assert (found / GRAPH).read_bytes() == (expected / GRAPH).read_bytes()
    for name in ("report.json", "classes.png", "classes-second-round.png", "curves.png"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    epochs = [(line.stage, line.done) for line in progress_of(folder) if line.training_loss]
    assert len(epochs) == len(set(epochs)) <= 2 * 3  # no epoch was trained twice
    assert not [path for path in folder.rglob(".*") if path.name != PROGRESS]


def test_a_run_whose_first_seeds_stay_is_killed_and_gives_the_same_graph(make_run, monkeypatch):
    """Candidates are too few for classes and a template, and the second round is not better."""
    monkeypatch.setattr(self_training, "MOST_LOSS", -1.0)
    expected = run(make_run("0001", micrographs=3, epochs=2), second_round=True)
    folder = make_run("0002", micrographs=3, epochs=2)

    deaths = [
        (template_picking, "write_result", 1),
        (stages, "sort_candidates", 1),
        (auto_remedy, "save_checkpoint", 1),
        (self_training, "write_candidates", 1),
        (auto_remedy, "save_weights", 2),
        (self_training, "write_result", 1),
        (bundle_publishing, "to_onnx", 1),
    ]
    kill(folder, monkeypatch, deaths, second_round=True)
    found = run(folder, second_round=True)

    assert (found / GRAPH).read_bytes() == (expected / GRAPH).read_bytes()
    rounds = json.loads((found / "report.json").read_bytes())["seeds"]["rounds"]
    assert [rounds[stage]["used"] for stage in ("reseed", "retrain")] == [False, False]


def test_a_run_killed_between_its_attempts_gives_the_same_files(make_run, monkeypatch):
    """An absurd rate is retrained twice, and the run killed within, after and between attempts."""
    absurd = {"initial_learning_rate": 1.0, "final_learning_rate": 0.5, "auto_remedy": True}
    undisturbed = make_run("0001", micrographs=3, **absurd)
    run(undisturbed)
    assert len(History.read(undisturbed / "train").attempts) == 3
    folder = make_run("0002", micrographs=3, **absurd)

    deaths = [
        (auto_remedy, "save_checkpoint", 2),
        (auto_remedy, "save_weights", 1),  # the first attempt's, before its diagnosis
        (Attempt, "write", 1),  # and before the second begins
        (auto_remedy, "save_checkpoint", 1),
        (auto_remedy, "_held_out_figures", 1),  # of the second
        (Attempt, "write", 1),
        (Attempt, "write", 1),  # of the third, before one is chosen
        (auto_remedy, "save_weights", 1),  # the chosen ones
        (History, "write", 1),
    ]
    kill(folder, monkeypatch, deaths)
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


def test_a_run_that_starts_from_other_weights_is_killed_and_gives_the_same_bundle(
    make_run, monkeypatch
):
    """The weights are those in its own folder. The report names them, and so does the progress."""
    deaths = [
        (auto_remedy, "save_checkpoint", 1),
        (auto_remedy, "save_weights", 1),
        (self_training, "train_with_remedies", 1),
        (bundle_publishing, "publish", 1),
    ]
    weights = weights_file(make_network(7))
    start = RunStart(source="general", livepick_version="1", sha256=sha256(weights))
    bundles = []
    for name, killed in (("0001", []), ("0002", deaths)):
        folder = make_run(name, micrographs=3, epochs=2)
        change(folder, start=start)
        (folder / START).write_bytes(weights)
        kill(folder, monkeypatch, killed, second_round=True)
        bundles.append(run(folder, second_round=True))

    expected, found = bundles
    for name in (GRAPH, BUNDLE_WEIGHTS, "report.json"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    assert read_start(found) == start
    assert any("from the weights of the general model" in p.note for p in progress_of(folder))
    afresh = run(make_run("0003", micrographs=3, epochs=2), second_round=True)
    assert (afresh / GRAPH).read_bytes() != (expected / GRAPH).read_bytes()
    assert read_start(afresh) is None


def test_another_training_may_start_from_a_bundle(make_run):
    """Its weights give the scores of its graph, and their digest is in its card."""
    bundle = run(make_run(micrographs=3, epochs=1))
    content = (bundle / BUNDLE_WEIGHTS).read_bytes()
    network = make_network(9)

    read_weights(content, network, name=BUNDLE_WEIGHTS)

    assert to_onnx(network) == (bundle / GRAPH).read_bytes()
    assert read_card(bundle).weights_sha256 == sha256(content)


def test_weights_that_were_changed_end_the_run_in_words(make_run, capsys):
    folder = make_run(micrographs=3, epochs=1)
    start = RunStart(source="general", livepick_version="1", sha256=sha256(b"weights"))
    change(folder, start=start)
    (folder / START).write_bytes(b"others")

    assert main([str(folder)]) == 1

    assert "start.npz is not the file that run.json names" in capsys.readouterr().err


def count_epochs(lines):
    return sum(line.training_loss is not None for line in lines)


def test_stages_come_in_order_and_each_round_is_in_the_bundle(make_run, monkeypatch, quick_classes):
    """The report says how the seeds changed, and there are class pictures of both rounds.

    The files and the keys of the report have the names that they always had.
    """
    monkeypatch.setattr(self_training, "MOST_LOSS", 1.0)
    folder = make_run(micrographs=3, epochs=1)
    change(folder, unmatched=["mic_9999 is not in the session"], orientation=["y is as given"])

    bundle = run(folder, **ALL_ROUNDS)

    seen = list(dict.fromkeys(line.stage for line in progress_of(folder)))
    assert seen == [*DEATHS, "done"]
    report = json.loads((bundle / "report.json").read_bytes())
    assert report["seeds"]["from"] == "blob"
    assert report["seeds"]["unmatched"] == ["mic_9999 is not in the session"]
    assert report["seeds"]["orientation"] == ["y is as given"]
    notes = {stage: told["note"] for stage, told in report["seeds"]["rounds"].items()}
    assert "weak signal" in notes["reseed"]
    assert "own picks" in notes["retrain"]
    assert len(report["classes"]["classes"]) == 2
    for name in ("classes.png", "classes-second-round.png"):
        assert (bundle / name).read_bytes().startswith(b"\x89PNG"), name
    with np.load(folder / "retrain" / "candidates.npz") as own:
        assert report["held_out"]["candidates"] == len(own["score0"])  # the last round's
    picked = json.loads((folder / "retrain" / "classes.json").read_bytes())
    assert picked["note"] != report["classes"]["note"]
    assert gone("report.json", {*names_in_json(report), *names_in_type(Report)}) == []
    assert gone("files of a bundle", (path.name for path in bundle.iterdir())) == []
    paths = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert gone("files of a run", (re.sub(r"\d+", "N", path) for path in paths)) == []


def stop_before_training(monkeypatch):
    def die(*_args, **_keywords):
        raise Killed

    monkeypatch.setattr(stages, "train_with_remedies", die)


def test_a_models_picks_are_not_replaced(make_run, monkeypatch, quick_classes):
    """A model describes the particle better than the average of its picks."""
    folder = make_run(micrographs=3)
    change(folder, seeds_from="model")
    stop_before_training(monkeypatch)
    monkeypatch.setattr(stages, "pick_with_template", None)

    with pytest.raises(Killed):
        run(folder, **ALL_ROUNDS)

    used, why = read_result(folder / "reseed")
    assert not used
    assert "stay" in why


@pytest.mark.parametrize("seeds_from", ["blob", "general"])
def test_a_first_pickers_picks_are_compared_with_a_template(
    make_run, monkeypatch, quick_classes, seeds_from
):
    """The general model's seeds get decoys too, by which the 2D classes are judged."""

    def stop(*_args, **_keywords):
        raise Killed

    folder = make_run(micrographs=3)
    change(folder, seeds_from=seeds_from)
    monkeypatch.setattr(stages, "pick_with_template", stop)

    with pytest.raises(Killed):
        run(folder, **ALL_ROUNDS)


@pytest.mark.parametrize("seeds_from", ["coordinates", "model"])
def test_a_persons_coordinates_are_believed(make_run, monkeypatch, judge_second_class, seeds_from):
    """All are believed, whatever their classes look like; a model's picks are not."""
    folder = make_run(micrographs=3)
    spec = change(folder, seeds_from=seeds_from)
    judge_second_class(0.0)
    learned = []

    def listen(_run, _draft, training, held_out):
        learned.extend([*training, *held_out])
        raise Killed

    monkeypatch.setattr(stages, "train_with_remedies", listen)

    with pytest.raises(Killed):
        run(folder, sort_rules=SortRules(least_particles=20))

    assert (folder / "select" / "classes.png").exists()
    given = sum(len(m.seeds) for m in spec.micrographs)
    taught = sum(len(m.seeds.positive_yx_px) for m in learned)
    share = taught / given  # particles cut by the edge, and outliers, are ignored
    assert share > 0.8 if seeds_from == "coordinates" else share < 0.6


def test_warnings_about_the_seeds_are_logged_and_reported(make_run, monkeypatch):
    """They are in the daemon's log before any training, and first in the report."""
    folder = make_run(micrographs=3, epochs=1)
    size = Finding(kind="wrong_size", evidence="it looks larger", remedy="look again")
    monkeypatch.setattr(stages, "size_warning", lambda *_args, **_keywords: size)
    select_seeds = stages.select_seeds

    def hardly_any(*args, **keywords):
        select_seeds(*args, **keywords)
        return 0.03

    monkeypatch.setattr(stages, "select_seeds", hardly_any)

    bundle = run(folder)

    told = [line for line in progress_of(folder) if line.stage == "select" and line.finding]
    assert [line.finding for line in told] == ["wrong_size", "few_good_classes"]
    assert told[0].note == "wrong size: it looks larger; look again"
    first, second = read_findings(bundle)[:2]
    assert (first.kind, first.is_fault, first.evidence) == ("wrong_size", True, "it looks larger")
    assert second.kind == "few_good_classes"
    assert "3%" in second.evidence


def test_without_warnings_the_findings_are_those_of_the_curves(make_run):
    folder = make_run(micrographs=3, epochs=1)

    bundle = run(folder)

    assert read_warnings(folder / "select") == []
    kinds = {finding.kind for finding in read_findings(bundle)}
    assert not kinds & {"wrong_size", "few_good_classes"}


def test_finished_stages_are_not_done_again(make_run, monkeypatch):
    """A second start of a finished run only says where the bundle is."""
    folder = make_run(micrographs=3, epochs=1)
    bundle = run(folder)
    before = (bundle / "model.json").stat().st_mtime_ns
    monkeypatch.setattr(auto_remedy, "train", None)

    assert run(folder) == bundle
    assert (bundle / "model.json").stat().st_mtime_ns == before


def test_what_a_killed_writer_left_goes_with_the_next_start(make_run, monkeypatch):
    """Leftovers in the folder of an attempt are removed too."""
    folder = make_run(micrographs=3, epochs=1)
    kill(folder, monkeypatch, [(auto_remedy, "save_checkpoint", 1)])
    left = folder / ".draft-train" / "attempt-1" / f"{TEMPORARY_PREFIX}0.tmp"
    left.write_bytes(b"half a check")

    run(folder)

    assert (folder / "train" / "attempt-1").is_dir()
    assert not (folder / "train" / "attempt-1" / left.name).exists()


def test_a_graph_that_differs_from_the_network_is_refused(make_run, monkeypatch):
    """No bundle is published if the scores of onnxruntime differ from those of torch."""
    folder = make_run(micrographs=3, epochs=1)
    exact = bundle_publishing.to_onnx

    def wrong(network):
        network = auto_remedy.make_network(99)
        return exact(network)

    monkeypatch.setattr(bundle_publishing, "to_onnx", wrong)

    with pytest.raises(TrainerError, match="differ"):
        run(folder)
    assert not RunSpec.read(folder).models_directory.exists()


def test_a_micrograph_that_is_gone_is_left_out(make_run):
    """The others are used; if the only held-out micrograph is gone, the last one is held out."""
    folder = make_run(epochs=1)
    RunSpec.read(folder).micrographs[0].path.unlink()

    report = json.loads((run(folder) / "report.json").read_bytes())

    assert report["training"]["micrographs"] == 3
    assert [m["name"] for m in report["micrographs"]] == ["mic_0004.mrc"]


def test_too_few_micrographs_end_the_trainer_with_words(make_run, capsys):
    """The trainer exits with status 1, two lines on standard error, and a line for the daemon."""
    folder = make_run(micrographs=3)
    RunSpec.read(folder).micrographs[1].path.unlink()

    assert main([str(folder)]) == 1

    what, remedy = capsys.readouterr().err.splitlines()[-2:]
    assert what.startswith("livepick_trainer: only 2 of the run's 3 micrographs can be read")
    assert "trainer.log" in remedy
    last = progress_of(folder)[-1]
    assert (last.stage, "2 of the run's 3" in last.note) == ("failed", True)


def test_micrographs_that_cannot_be_read_at_all_end_the_trainer_with_words(make_run):
    """Each of them is named in the log; the error gives their number."""
    folder = make_run()
    for number, micrograph in enumerate(RunSpec.read(folder).micrographs):
        if number % 2:
            micrograph.path.write_bytes(b"no MRC file")
        else:
            micrograph.path.unlink()

    with pytest.raises(TrainerError, match="none of the run's 5 micrographs can be read"):
        run(folder)
    assert sum("left out" in line.note for line in progress_of(folder)) == 5


@pytest.mark.parametrize(
    ("count", "words"), [(0, "no candidates"), (1, "1 candidate in"), (3, "3 candidates")]
)
def test_a_few_particles_are_too_few_to_learn_from(make_run, count, words):
    """The error gives their number, and names the settings that may be wrong."""
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
    """Without a single believed candidate, training is refused with a message."""
    folder = make_run()
    spec = RunSpec.read(folder).model_copy(update={"seed_threshold": 0.99})
    spec.write(folder)

    with pytest.raises(TrainerError, match=r"no candidates in .* have a score of at least 0\.99"):
        run(folder)


def test_a_second_trainer_is_refused(make_run, capsys):
    """Two trainers would overwrite each other's files; the progress is that of the first."""
    folder = make_run()

    with lock(folder):
        assert main([str(folder)]) == 1

    assert "another trainer is running" in capsys.readouterr().err
    assert not (folder / PROGRESS).exists()


def test_a_half_written_progress_line_does_not_spoil_the_next(tmp_path):
    """An incomplete line of a killed trainer is terminated first."""
    (tmp_path / PROGRESS).write_bytes(b'{"at": 1, "sta')

    Reporter(tmp_path).report("train", "on")

    half, whole = (tmp_path / PROGRESS).read_bytes().splitlines()
    assert half == b'{"at": 1, "sta'
    assert Progress.model_validate_json(whole).note == "on"


def test_a_folder_without_an_order_is_refused(tmp_path, capsys):
    """The trainer exits with status 1 and two lines, without a traceback."""
    assert main([str(tmp_path)]) == 1

    assert "run.json cannot be read" in capsys.readouterr().err


def test_the_unforeseen_is_told_to_the_daemon_too(make_run, monkeypatch, caplog):
    """The traceback is in the log, one sentence in the progress file."""
    folder = make_run()

    def break_down(*_args):
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(stages, "prepare_micrographs", break_down)

    assert main([str(folder)]) == 1
    assert "float division by zero" in progress_of(folder)[-1].note
    assert "Traceback" in caplog.text


def test_what_the_order_knows_of_the_defocus_comes_with_the_micrographs(make_run, tmp_path):
    """It is read from run.json together with them, and not determined again."""
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
