"""Where a run's seeds come from, what it waits for, and what it owes to earlier runs."""

import dataclasses
import json
from concurrent.futures import BrokenExecutor, Future

import numpy as np
import pytest

from livepick.core.contracts.job import Result, StageSeconds
from livepick.core.contracts.run import RUNS, RunSpec
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import Quality
from livepick.errors import ContentError, ModelError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.rows import Counts
from livepick.models.registry import Models
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.status import read_status
from livepick.retraining import seeds_from_model
from livepick.retraining.run_planner import RunPlanner
from livepick.retraining.run_store import read_waiting


def picks_of(count, score=0.9):
    places = np.linspace(10, 50, count, dtype=np.float32)
    return Picks(places, places, np.full(count, score, dtype=np.float32))


class Session:
    """A ledger as far as an order needs it, and workers that answer when told to."""

    def __init__(self, config, make_row):
        self.config = config
        self.make_row = make_row
        self.models = Models(config.state.directory / "models")
        self.rows = []
        self.found = {}
        self.queued = 0
        self.jobs = []
        self.answer = lambda job: picks_of(30)
        self.planner = self.start()

    def start(self, **changed):
        """Make the part as at a start of the service, with a changed config."""
        self.config = self.config.model_copy(update=changed)
        return RunPlanner(
            self.config,
            models=self.models,
            metrics=Metrics().training,
            ledger=self,
            submit=self.submit,
        )

    def add(self, count=1, *, picks=30, score=0.9, **row):
        """Let the session pick further micrographs."""
        for _ in range(count):
            number = len(self.rows)
            self.rows.append(self.make_row(number, **row))
            self.found[number] = picks_of(picks, score)

    def counts(self):
        """Be the ledger."""
        return Counts(picked=len(self.rows), queued=self.queued)

    def picked_rows(self):
        """Be the ledger."""
        return iter(self.rows)

    def picked_places(self):
        """Be the ledger."""
        return [(row.id, row.path) for row in self.rows]

    def candidates(self, micrograph_id):
        """Be the ledger."""
        return self.found[micrograph_id]

    def get(self, micrograph_id):
        """Be the ledger."""
        return self.rows[micrograph_id]

    def submit(self, job):
        """Be the workers."""
        self.jobs.append(job)
        future = Future()
        found = self.answer(job)
        if isinstance(found, BaseException):
            future.set_exception(found)
        elif found is not None:
            future.set_result(result(found))
        return future

    def plan(self):
        """Return the order of a new run, or the sentence that says why there is none."""
        self.planner._collected = None
        folder = self.planner.open_run(())
        if folder is not None:
            return RunSpec.read(folder)
        waiting = read_waiting(self.config.state.directory / RUNS)
        return None if waiting is None else waiting.sentence


def result(picks, masked_fraction=0.0):
    return Result(
        picks=picks,
        threshold=0.5,
        model_version=7,
        model_kind="trained",
        shape_px=(64, 64),
        pixel_size_angstrom=1.5,
        quality=Quality(masked_fraction, None),
        seconds=StageSeconds(0, 0, 0, 0),
        provider="CPUExecutionProvider",
    )


@pytest.fixture
def begin(make_config, put_bundle, micrograph_row):
    """Return a function that begins a session of five wanted micrographs with 100 picks."""

    def make(*, training=None, **bootstrap):
        config = make_config(
            micrographs=5, bootstrap={"minimum_picks": 100} | bootstrap, training=training
        )
        session = Session(config, micrograph_row)
        if not session.models.bundles():
            put_bundle(session.models, config, 0, "blob")
        return session

    return make


# --- the session's own picks ----------------------------------------------------------------------


def test_bad_micrographs_do_not_count(begin):
    """Those that are mostly masked, and those without a pick above the threshold."""
    session = begin()
    session.add(2)
    session.add(masked_fraction=0.6)
    session.add(picks=50, score=0.4)
    session.add(1)
    assert "3 of 5 micrographs are suitable for training, and 5 are needed" in session.plan()

    session.add(2)
    spec = session.plan()

    assert [m.path.stem for m in spec.micrographs] == ["0", "1", "4", "5", "6"]
    assert (spec.seeds_from, spec.parent, spec.seed_threshold) == ("blob", 0, 0.5)


def test_a_session_of_bad_micrographs_says_why_it_waits(begin):
    """However many there are."""
    session = begin()
    session.add(40, masked_fraction=0.9)

    assert "0 of 40 micrographs are suitable for training" in session.plan()
    assert "mostly masked" in session.plan()


def test_few_picks_make_it_wait_for_more_micrographs(begin):
    """The sentence says how many there are and how many are wanted."""
    session = begin()
    session.add(5, picks=15)
    assert (
        session.plan()
        == "Training waits for more micrographs: 5 have 75 picks, and 100 are needed."
    )

    session.add(2, picks=15)
    assert len(session.plan().micrographs) == 7


def test_the_status_says_why_it_waits(begin):
    """In the words of whoever looks for seeds, until there are enough."""
    session = begin()
    Database.writable(session.config.state.directory / LEDGER).close()
    assert "when 5 micrographs are picked; 0 are picked" in _sentence(session)
    session.add(5, picks=15)
    session.plan()
    assert "have 75 picks, and 100 are needed" in _sentence(session)
    session.add(2, picks=15)
    session.plan()
    assert "Training starts" in _sentence(session)  # that ledger knows of no run


def _sentence(session):
    return read_status(session.config).training.sentence


def test_nothing_is_read_again_while_nothing_changes(begin, monkeypatch):
    """The thread looks every second; sessions have tens of thousands of micrographs."""
    session = begin()
    session.add(5, picks=15)
    session.planner.open_run(())
    monkeypatch.setattr(session, "picked_rows", None)

    session.planner.open_run(())


# --- what was held out stays so -------------------------------------------------------------------


def test_what_was_held_out_once_is_never_trained_on(begin):
    """Other generations and fractions hold out the same and more, of what nobody has learned."""
    session = begin(training={"held_out_fraction": 0.2})
    session.add(5)
    order = session.plan()
    first = _held_out(order)
    assert len(first) == 1
    learned = {m.path for m in order.micrographs} - first
    for generation, fraction, expected in ((2, 0.4, 2), (3, 0.2, 2), (4, 0.6, 3)):
        training = session.config.training.model_copy(
            update={"generation": generation, "held_out_fraction": fraction}
        )
        session.add(6)
        session.planner = session.start(training=training)
        order = session.plan()
        now = _held_out(order)
        assert len(now) == expected
        assert first <= now
        assert not now & learned
        first = now
        learned |= {m.path for m in order.micrographs} - now


def test_a_run_waits_for_something_to_train_on(begin):
    """All that it would take was held out: more micrographs are wanted, and it says so."""
    session = begin(training={"held_out_fraction": 0.6})
    session.add(5)
    assert len(_held_out(session.plan())) == 3
    bootstrap = session.config.bootstrap.model_copy(update={"micrographs": 3, "minimum_picks": 10})
    held_out = _held_out(RunSpec.read(session.config.state.directory / RUNS / "0001"))
    session.rows = [row for row in session.rows if row.path in held_out]
    session.planner = session.start(bootstrap=bootstrap)

    assert "none is left to train on" in session.plan()


def _held_out(spec):
    return {m.path for m in spec.micrographs if m.held_out}


# --- a run that continues another -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "change", "continues"),
    [
        ("bootstrap", {"classes": {"accept": [3]}}, True),
        ("training", {"epochs": 40}, True),
        ("training", {"held_out_fraction": 0.4}, True),
        ("training", {"seed": 2}, False),
        ("training", {"generation": 2}, False),
        ("training", {"normalize": False}, False),
        ("training", {"lowpass_angstrom": 20.0}, False),
        ("bootstrap", {"minimum_picks": 90}, False),
        ("particle", {"min_distance_fraction": 0.7}, False),
        ("particle", {"edge_fraction": 0.5}, False),
    ],
)
def test_a_run_continues_one_of_the_same_seeds(begin, put_bundle, section, change, continues):
    """It takes over micrographs and seeds, whoever picks by now; any other starts from new ones."""
    session = begin()
    session.add(5)
    earlier = session.plan()
    session.found = {number: picks_of(60) for number in session.found}
    old = getattr(session.config, section)
    new = type(old).model_validate(old.model_dump() | change)
    session.planner = session.start(**{section: new})
    put_bundle(session.models, session.config, 1, "blob")
    session.rows = [dataclasses.replace(row, model_version=1) for row in session.rows]

    spec = session.plan()

    assert spec.continues == ("0001" if continues else None)
    same = [m.seeds for m in spec.micrographs] == [m.seeds for m in earlier.micrographs]
    assert same == continues
    assert (spec.parent == earlier.parent) == continues
    assert _held_out(earlier) <= _held_out(spec)


def test_the_run_that_got_furthest_is_continued(begin):
    """A newer one of the same seeds may have been killed before it had anything."""
    session = begin()
    session.add(5)
    session.plan()
    runs = session.config.state.directory / RUNS
    (runs / "0001" / "classify").mkdir()
    for epochs, expected in ((40, "0001"), (41, "0001")):
        training = session.config.training.model_copy(update={"epochs": epochs})
        session.planner = session.start(training=training)
        assert session.plan().continues == expected


# --- picks by a person ----------------------------------------------------------------------------


@pytest.fixture
def by_hand(begin, tmp_path):
    """Return a function that begins a session with a file of picks for these micrographs."""

    def make(names, *, per_micrograph=20, x=30.0, **bootstrap):
        lines = [f"{name},{x},{y}" for name in names for y in range(per_micrograph)]
        (tmp_path / "hand.csv").write_text("\n".join(["micrograph,x_px,y_px", *lines]))
        return begin(picks={"coordinates": tmp_path / "hand.csv"}, **bootstrap)

    return make


def test_picks_by_hand_are_the_seeds_of_their_micrographs(by_hand):
    """All are believed; what matches nothing is in the order, and nothing waits for others."""
    session = by_hand(
        [f"J1/{number:021d}_mic_{number}_patch_aligned.mrc" for number in range(3, 8)]
    )
    session.add(7, name="mic_{}.mrc")
    session.queued = 1
    assert "4 are picked, 1 are not (" in session.plan()

    session.add(1, name="mic_{}.mrc")
    spec = session.plan()

    assert [m.path.stem for m in spec.micrographs] == [f"mic_{n}" for n in range(3, 8)]
    assert (spec.seeds_from, spec.parent) == ("coordinates", None)
    scores = {score for m in spec.micrographs for _, _, score in m.seeds}
    assert scores == {1.0}
    assert spec.seed_threshold < 1
    assert spec.unmatched == ["is picked but has no coordinates: mic_0, mic_1, mic_2"]


def test_what_does_not_match_is_listed_and_short(by_hand):
    """A run begins without micrographs of another session, once nothing is under way."""
    names = [*(f"mic_{n}" for n in range(4)), *(f"old_{n}" for n in range(9))]
    session = by_hand(names, per_micrograph=25)
    session.queued = 1
    session.add(20, name="mic_{}.mrc")
    assert "4 are picked, 9 are not (old_0, old_1, old_2, old_3, old_4 and 4 more)" in (
        session.plan()
    )
    session.queued = 0

    missing, without = session.plan().unmatched
    assert missing.endswith("old_0, old_1, old_2, old_3, old_4 and 4 more")
    assert without.endswith("and 11 more")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"names": list("abcde")}, "is for other micrographs: it has a, b, c, d, e, and the"),
        ({"names": ["0", "1", "2"], "per_micrograph": 1}, "has 3 particles in total, and 100 are"),
        ({"names": ["0", "1"], "per_micrograph": 90}, "coordinates for 2 micrographs (0, 1)"),
        ({"names": list("01234"), "x": 500.0}, "most positions in"),
        ({"names": list("01234"), "x": -9.0}, "are outside the images (100 of them)"),
        ({"names": [], "per_micrograph": 0}, "contains no positions"),
    ],
)
def test_coordinates_that_do_not_fit_leave_picking_alone(by_hand, given, says, caplog):
    """The error names file, value and remedy, in the log, and in the status until it is mended."""
    session = by_hand(**given)
    session.add(5)

    sentence = session.plan()

    assert says in sentence
    assert "hand.csv" in sentence
    assert says in caplog.text
    assert read_waiting(session.config.state.directory / RUNS).trouble
    assert session.models.current(session.config).card.version == 0


def test_coordinates_are_read_again_when_mended(by_hand, tmp_path):
    """Without a restart of the service."""
    session = by_hand(list("01234"), per_micrograph=1)
    session.add(5)
    assert "5 particles in total" in session.plan()
    lines = [f"{name},{x},9" for name in "01234" for x in range(25)]
    (tmp_path / "hand.csv").write_text("\n".join(["micrograph,x_px,y_px", *lines]))

    assert len(session.plan().micrographs) == 5


def test_a_few_positions_off_the_image_are_left_out(by_hand, tmp_path):
    """Half a pixel beyond the last pixel's centre is the edge."""
    session = by_hand(list("01234"))
    with (tmp_path / "hand.csv").open("a") as file:
        file.write("\n3,64.0,10\n3,63.4,10\n3,-0.4,10")
    session.add(5)

    spec = session.plan()

    assert len(spec.micrographs[3].seeds) == 22
    assert spec.unmatched == ["3: 1 positions are outside the image, and are left out"]


def test_bad_micrographs_of_a_person_are_not_waited_for(by_hand):
    """With three good ones it begins; with fewer it says why not."""
    session = by_hand(list("01234"), per_micrograph=40)
    session.add(2)
    session.add(3, masked_fraction=0.8)
    assert "of 5 picked micrographs" in session.plan()
    assert "2 are suitable for training, and 3 are needed" in session.plan()

    session.rows[2] = dataclasses.replace(session.rows[2], quality=Quality(0.1, 0.9))
    assert [m.path.stem for m in session.plan().micrographs] == ["0", "1", "2"]


def test_doubtful_boxes_of_cryolo_are_left_out(begin, tmp_path):
    """Cbox files have what crYOLO would not pick itself, too."""
    head = "data_cryolo\n\nloop_\n" + "".join(
        f"_{name}\n" for name in ("CoordinateX", "CoordinateY", "Width", "Height", "Confidence")
    )
    for number in range(5):
        rows = [f"{place} {place} 4 4 {0.2 if place < 5 else 0.9}" for place in range(30)]
        (tmp_path / f"{number}.cbox").write_text(head + "\n".join(rows))
    session = begin(picks={"coordinates": tmp_path})
    session.add(5)

    spec = session.plan()

    assert [len(m.seeds) for m in spec.micrographs] == [25] * 5
    assert "0: 5 boxes are below crYOLO's threshold, and are left out" in spec.unmatched


# --- picks by a model from elsewhere --------------------------------------------------------------


@pytest.fixture
def pretrained_path(tmp_path, make_config, put_bundle):
    """Return a bundle of another particle and session."""
    models = Models(tmp_path / "elsewhere")
    return put_bundle(models, make_config(diameter_angstrom=300), 7)


def test_a_model_from_elsewhere_picks_the_bootstrap(begin, pretrained_path):
    """Each particle comes to it at the size that it knows; its picks are the seeds."""
    session = begin(picks={"model": pretrained_path})
    session.add(4)
    assert session.plan() is None
    assert session.jobs == []
    session.add(3)

    assert "is picking the first training set: 0 of 5" in session.plan()
    assert "is picking the first training set: 4 of 5" in session.plan()
    spec = _until_a_run(session)

    assert [m.path.stem for m in spec.micrographs] == list("01234")
    assert [len(m.seeds) for m in spec.micrographs] == [30] * 5
    assert (spec.seeds_from, spec.parent, spec.seed_threshold) == ("model", None, 0.5)
    job = session.jobs[0]
    assert (job.bundle, job.diameter_angstrom, job.contrast) == (pretrained_path, 150, "dark")


def _until_a_run(session):
    for _ in range(20):
        found = session.plan()
        if isinstance(found, RunSpec):
            return found
    raise AssertionError(found)


def test_a_micrograph_that_the_model_cannot_pick_is_left_out(begin, pretrained_path, caplog):
    """So is one that it finds nothing in; each is tried once."""
    session = begin(picks={"model": pretrained_path})
    session.add(9)
    answers = {"1": ContentError("all NaN", "Look."), "2": ValueError("odd"), "3": picks_of(0)}
    session.answer = lambda job: answers.get(job.path.stem, picks_of(30))

    spec = _until_a_run(session)

    assert [m.path.stem for m in spec.micrographs] == list("04567")
    assert "1.mrc: left out of the training set: all NaN" in caplog.text
    assert "2.mrc: left out of the training set: odd" in caplog.text
    assert len({job.path for job in session.jobs}) == len(session.jobs)


def test_looking_never_waits_for_the_workers(begin, pretrained_path):
    """The thread must be free to stop; only a few jobs are with the workers at a time."""
    session = begin(picks={"model": pretrained_path})
    session.add(9)
    session.answer = lambda job: None

    for _ in range(3):
        assert "0 of 5 micrographs are done" in session.plan()
    assert len(session.jobs) == seeds_from_model.AT_ONCE


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_a_bundle_that_cannot_be_used_leaves_picking_alone(begin, pretrained_path, fault, caplog):
    """It is said at once, and looked at again, for it may be copied there meanwhile."""
    whole = (pretrained_path / "model.onnx").read_bytes()
    if fault == "missing":
        pretrained_path.rename(pretrained_path.with_name("later"))
    else:
        (pretrained_path / "model.onnx").write_bytes(b"half")
    session = begin(picks={"model": pretrained_path})
    session.add(5)

    assert str(pretrained_path) in session.plan()
    assert "training: cannot start" in caplog.text
    assert session.jobs == []

    if fault == "missing":
        pretrained_path.with_name("later").rename(pretrained_path)
    (pretrained_path / "model.onnx").write_bytes(whole)
    assert len(_until_a_run(session).micrographs) == 5


@pytest.mark.parametrize("death", [BrokenExecutor("gone"), ModelError("no such node", "Look.")])
def test_a_model_that_ends_its_workers_is_given_up(begin, pretrained_path, death):
    """The session needs the workers, and would lose them again and again."""
    session = begin(picks={"model": pretrained_path})
    session.add(9)
    session.answer = lambda job: death

    for _ in range(6):
        sentence = session.plan()

    assert "does not run" in sentence
    assert len(session.jobs) <= 2 * seeds_from_model.AT_ONCE


def test_a_model_that_finds_nothing_is_not_tried_for_ever(begin, pretrained_path):
    """A session of thousands is not picked twice for it."""
    session = begin(picks={"model": pretrained_path})
    session.add(60)
    session.answer = lambda job: picks_of(0)

    for _ in range(20):
        sentence = session.plan()

    assert "was tried on 25 micrographs" in sentence
    assert len(session.jobs) == 25


def test_an_order_of_earlier_days_is_read(begin):
    """Fields that a newer version has written are not in it."""
    session = begin()
    session.add(5)
    spec = session.plan()
    path = session.config.state.directory / RUNS / "0001" / "run.json"
    order = json.loads(path.read_bytes())
    del order["unmatched"]
    path.write_text(json.dumps(order))

    assert RunSpec.read(path.parent) == spec
