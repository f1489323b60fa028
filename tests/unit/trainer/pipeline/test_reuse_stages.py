"""A run that reuses the preparation and sorting of an earlier run."""

import json

import pytest

from livepick.config.training_sections import Bootstrap
from livepick.core.contracts.run import RunSpec
from livepick_trainer import stages
from livepick_trainer.learning.dataset import PatchRules
from livepick_trainer.pipeline import reuse_stages
from livepick_trainer.pipeline.candidate_sorting import SortRules
from livepick_trainer.pipeline.class_cleaning import CLASSES_JSON
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.run_context import lock
from one_round import one_round

pytestmark = pytest.mark.usefixtures("quick_classes")

QUICK = PatchRules(size_px=64, patches_per_epoch=16, held_out_patches=8)
FEW = SortRules(least_particles=40)


class Killed(BaseException):
    """Simulated kill of the process."""


def run(folder):
    with lock(folder), one_round():
        stages.run_stages(folder, Reporter(folder), patch_rules=QUICK, sort_rules=FEW)


@pytest.fixture
def earlier(make_run, monkeypatch):
    """Return a run whose first stages are done, and which was killed before training."""
    folder = make_run("0001", micrographs=3, epochs=1)

    def die(*_args, **_keywords):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(stages, "train_with_remedies", die)
        with pytest.raises(Killed):
            run(folder)
    return folder


def continued(make_run, **changed):
    """Return a run that continues the earlier run."""
    folder = make_run("0002", micrographs=3, epochs=1)
    update = {"continues": "0001"} | changed
    RunSpec.read(folder).model_copy(update=update).write(folder)
    return folder


def test_only_what_a_person_decides_on_is_done_again(earlier, make_run, monkeypatch):
    """Sorting takes minutes and is reused; only the verdicts on its classes are the person's."""
    classes = json.loads((earlier / "select" / CLASSES_JSON).read_bytes())["classes"]
    good = [number for number, found in enumerate(classes) if found["accepted"]]
    decided = Bootstrap.model_validate({"classes": {"reject": good[:1], "accept": good[1:2]}})
    folder = continued(make_run, bootstrap=decided)
    for name in ("prepare_micrographs", "sort_candidates"):
        monkeypatch.setattr(stages, name, None)

    run(folder)

    now = json.loads((folder / "select" / CLASSES_JSON).read_bytes())["classes"]
    assert (now[good[0]]["accepted"], now[good[0]]["overruled"]) == (False, True)
    assert [c["accepted"] for c in now].count(True) == len(good) - 1
    one, two = (place / "prepare" / "0000.npy" for place in (earlier, folder))
    assert one.stat().st_ino == two.stat().st_ino
    assert (folder / "publish").is_dir()


def test_what_an_earlier_run_has_not_finished_is_done_again(earlier, make_run):
    """Only the preparation of a run that was killed while sorting is reused."""
    (earlier / "classify").rename(earlier / ".draft-classify")
    folder = continued(make_run)

    run(folder)

    one, two = (place / "prepare" / "0000.npz" for place in (earlier, folder))
    assert one.stat().st_ino == two.stat().st_ino
    assert (folder / "classify").is_dir()


@pytest.mark.parametrize("fault", ["gone", "other seeds"])
def test_a_run_of_other_seeds_is_not_continued(earlier, make_run, fault, caplog):
    """Stage files are numbered, so files of other micrographs would be mistaken for ours."""
    folder = continued(make_run)
    spec = RunSpec.read(earlier)
    if fault == "gone":
        (earlier / "run.json").unlink()
    else:
        spec.model_copy(update={"micrographs": spec.micrographs[::-1]}).write(earlier)

    reuse_stages.reuse_finished_stages(RunSpec.read(folder), folder, Reporter(folder))

    assert not (folder / "prepare").exists()
    assert "cannot be continued" in caplog.text


def test_a_trainer_killed_while_it_takes_over_goes_on(earlier, make_run, monkeypatch):
    """Visible files are complete; a file system without links gets copies."""
    folder = continued(make_run)
    spec = RunSpec.read(folder)
    calls = 0

    def link(source, target):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Killed
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(reuse_stages.os, "link", link)
    with pytest.raises(Killed):
        reuse_stages.reuse_finished_stages(spec, folder, Reporter(folder))
    assert not (folder / "prepare").exists()

    reuse_stages.reuse_finished_stages(spec, folder, Reporter(folder))

    for stage in ("prepare", "classify"):
        for path in (earlier / stage).iterdir():
            assert (folder / stage / path.name).read_bytes() == path.read_bytes()
    assert not list(folder.glob(".taken-*"))
