"""Runs whose micrographs are moved away, or written again, while they train."""

import json
import os
from contextlib import nullcontext

import pytest

from livepick.core.contracts.held_out_labels import HeldOutLabels
from livepick.core.contracts.run import RunSpec
from livepick.core.formats.file_version import FileVersion
from livepick.errors import TrainerError
from livepick_trainer import stages
from livepick_trainer.learning.dataset import PatchRules
from livepick_trainer.pipeline.candidate_sorting import SortRules
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.rounds import read_result
from livepick_trainer.pipeline.run_context import lock
from livepick_trainer.pipeline.template_picking import TemplateRules
from one_round import one_round

RULES = {
    "patch_rules": PatchRules(size_px=64, patches_per_epoch=16, held_out_patches=8),
    "sort_rules": SortRules(least_particles=20),
    "template_rules": TemplateRules(weak_purity=1.1, least_candidates=20),
}


def run(folder, *, second_round=False):
    with lock(folder), nullcontext() if second_round else one_round():
        return stages.run_stages(folder, Reporter(folder), **RULES)


def paths_of(folder):
    """Return the micrographs of a run; store their versions in it, as the daemon does."""
    spec = RunSpec.read(folder)
    entries = []
    for micrograph in spec.micrographs:
        status = micrograph.path.stat()
        version = FileVersion(status.st_size, status.st_mtime_ns, 0)
        entries.append(micrograph.model_copy(update={"version": version}))
    spec.model_copy(update={"micrographs": entries}).write(folder)
    return [micrograph.path for micrograph in entries]


def left_out_in(bundle):
    report = json.loads((bundle / "report.json").read_bytes())
    return [(entry["micrograph"], entry["stage"]) for entry in report["left_out"]]


def move_away(path):
    path.rename(path.with_suffix(".archived"))


def write_again(path):
    os.utime(path, ns=(1, 1))


def before(monkeypatch, name, action):
    """Call ``action`` once, before a function of the stages."""
    function, done = getattr(stages, name), []

    def first(*args, **kwargs):
        if not done:
            done.append(True)
            action()
        return function(*args, **kwargs)

    monkeypatch.setattr(stages, name, first)


@pytest.mark.usefixtures("quick_classes")
@pytest.mark.parametrize(
    ("where", "stage", "lose"),
    [
        ("prepare_micrographs", "prepare", move_away),
        ("prepare_micrographs", "prepare", write_again),
        ("sort_candidates", "classify", write_again),
        ("size_warning", "classify", move_away),
        ("retrain", "retrain", move_away),
    ],
)
def test_a_micrograph_that_is_lost_is_left_out_and_named(make_run, monkeypatch, lose, where, stage):
    """One is trained on, one is held out; the rest of the run goes on without them."""
    folder = make_run(micrographs=7, epochs=1)
    spec = RunSpec.read(folder)
    held_out = [m.model_copy(update={"held_out": n < 2}) for n, m in enumerate(spec.micrographs)]
    spec.model_copy(update={"micrographs": held_out}).write(folder)
    paths = paths_of(folder)
    lost = [paths[1], paths[4]]
    before(monkeypatch, where, lambda: [lose(path) for path in lost])

    bundle = run(folder, second_round=stage == "retrain")

    assert sorted(left_out_in(bundle)) == sorted((str(path), stage) for path in lost)
    report = json.loads((bundle / "report.json").read_bytes())
    assert (report["training"]["micrographs"], report["held_out"]["micrographs"]) == (4, 1)
    assert [m.path for m in HeldOutLabels.read(bundle).micrographs] == [paths[0]]
    assert f"{lost[0].name}: left out" in (folder / "progress.jsonl").read_text()


@pytest.mark.usefixtures("quick_classes")
@pytest.mark.parametrize("where", ["prepare_micrographs", "sort_candidates"])
def test_training_fails_in_words_if_too_few_are_left(make_run, monkeypatch, where):
    """It can be tried again when they are back: nothing that was left out is remembered."""
    folder = make_run(micrographs=5, epochs=1)
    paths = paths_of(folder)
    before(monkeypatch, where, lambda: [move_away(path) for path in paths[:3]])

    with pytest.raises(TrainerError, match="only 2 of the run's 5 micrographs can be read"):
        run(folder)

    for path in paths[:3]:
        path.with_suffix(".archived").rename(path)
    assert left_out_in(run(folder)) == []


@pytest.mark.usefixtures("quick_classes")
def test_the_second_round_is_given_up_if_nothing_is_left_to_judge_by(make_run, monkeypatch):
    """The network of the first round is kept, and judged by what was prepared."""
    folder = make_run(micrographs=5, epochs=1)
    held_out = paths_of(folder)[0]
    before(monkeypatch, "retrain", lambda: move_away(held_out))

    bundle = run(folder, second_round=True)

    used, note = read_result(folder / "retrain")
    assert not used
    assert note == f"the second round was given up: {held_out} no longer exists"
    assert left_out_in(bundle) == []


@pytest.mark.usefixtures("quick_classes")
def test_a_trainer_that_was_killed_leaves_out_the_same_micrographs(make_run, monkeypatch):
    """The file is back when it continues; the classes were made without it."""
    folder = make_run(micrographs=6, epochs=1)
    lost = paths_of(folder)[3]

    class KilledError(BaseException):
        pass

    def die(*args, **kwargs):
        raise KilledError

    before(monkeypatch, "sort_candidates", lambda: move_away(lost))
    with monkeypatch.context() as patch:
        patch.setattr(stages, "select_seeds", die)
        with pytest.raises(KilledError):
            run(folder)
    lost.with_suffix(".archived").rename(lost)

    assert left_out_in(run(folder)) == [(str(lost), "classify")]
