"""The measurement of the particle in a session: what it measures, records and survives."""

from pathlib import Path

import pytest

import factories
from livepick.config.yaml_loader import load_config
from livepick.core.contracts.particle_state import ANSWER_SECONDS
from livepick.core.formats.file_version import FileVersion
from livepick.errors import ContentError, ModelError, VanishedFileError
from livepick.host.isolated_call import ProcessDiedError
from livepick.ledger.inbox import ParticleChanged, ParticleSeen
from livepick.ledger.session_config import session_config
from livepick.particle.session_measuring import PAUSE_SECONDS, ParticleMeasuring
from particle_evidence import EMPTY, make_evidence


class MeasuredSession:
    """A session whose micrographs say what a test sets, by their names."""

    def __init__(self, ledger, folder, clock, **sections):
        self.ledger = ledger
        self.clock = clock
        self.folder = folder
        self.says = {}
        self.measured = []
        self.picked_at = []
        self.bundle = folder / "general"
        self.bundle.mkdir(exist_ok=True)
        self.written = self.read(**sections)
        self.measuring = self.start()

    def read(self, **sections):
        """Return the config with these sections."""
        return load_config(factories.write_config(self.folder, **sections))

    def start(self):
        """Return what measures, as made at a start of the service."""
        self.measuring = ParticleMeasuring(
            self.written,
            ledger=self.ledger.reader,
            send=self.record,
            bundle=self.bundle,
            measure=self.measure,
            pick=self.pick,
            clock=self.clock,
        )
        return self.measuring

    def record(self, message):
        """Do what the dispatch loop does with a message."""
        match message:
            case ParticleSeen(number, content, evidence, reason):
                self.ledger.session.particle_seen(number, content, evidence, reason)
            case ParticleChanged(state):
                self.ledger.session.particle_changed(state)

    def measure(self, job, *, is_urgent):
        assert is_urgent is self.measuring.picks_wait
        self.measured.append(job.path.name)
        answer = self.says.get(job.path.name, make_evidence(180))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pick(self, job):
        self.picked_at.append((job.diameter_angstrom, job.contrast))
        return factories.make_result()

    def land(self, *names, says=None):
        """Let micrographs land; ``says``: their evidence, or the error of measuring them."""
        for name in names:
            place = (Path("/m"), Path(name), FileVersion(100, 1, 7))
            self.ledger.arrivals.landed(*place, 900.0)
            if says is not None:
                self.says[name] = says

    def pick_all(self):
        """Let the workers pick all micrographs."""
        for claim in self.ledger.claim(100):
            self.ledger.picked(claim, factories.make_result())

    def steps(self, count=100):
        """Take steps until there is nothing to do."""
        for _ in range(count):
            if self.measuring.step() > 0:
                return


AUTO = {"diameter_angstrom": "auto"}


@pytest.fixture
def begin(ledger, tmp_path, clock):
    """Return a function that begins a session with this section ``particle``."""

    def make(particle=AUTO, **sections):
        return MeasuredSession(ledger, tmp_path, clock, particle=particle, **sections)

    return make


def names(first, last):
    return [f"{number:02}.mrc" for number in range(first, last + 1)]


def test_the_first_micrographs_are_measured_in_the_order_they_landed(begin):
    session = begin()
    session.land(*names(1, 20))
    session.steps()
    assert session.measured == names(1, 10)
    assert session.measuring.state.is_settled
    config = session.measuring.config(session.written)
    assert config.particle.diameter_angstrom == pytest.approx(180, rel=0.05)


def test_after_a_restart_it_continues_and_measures_nothing_twice(begin):
    session = begin()
    session.land(*names(1, 4))
    session.steps()
    used = session.measuring.state.used
    session.start()
    assert session.measuring.state.used == used
    session.land(*names(5, 20))
    session.steps()
    assert session.measured == names(1, 10)
    session.start()
    session.steps()
    assert session.measured == names(1, 10)
    assert session.measuring.state.is_settled


def test_a_kill_between_evidence_and_verdict_loses_nothing(begin, ledger):
    """The verdict follows from the evidence."""
    session = begin()
    session.land(*names(1, 20))
    session.steps()
    settled = session.measuring.state
    ledger.database.change("delete from setting where name = 'particle'")
    session.start()
    again = session.measuring.state
    # What is used does not follow the best guess exactly while that changes by less than 3 %.
    assert again.used.diameter_angstrom == pytest.approx(settled.used.diameter_angstrom, rel=0.03)
    assert again.is_settled


def test_in_a_new_ledger_it_is_measured_again(begin, ledger):
    session = begin()
    session.land(*names(1, 10))
    session.steps()
    before = session.measuring.state.used
    ledger.database.change("delete from particle_evidence")
    ledger.database.change("delete from setting where name = 'particle'")
    session.start()
    assert session.measuring.picks_wait
    session.steps()
    assert session.measured == names(1, 10) * 2
    assert session.measuring.state.used == before


def test_evidence_of_another_version_is_measured_again(begin, ledger):
    session = begin()
    session.land("01.mrc")
    session.steps()
    ledger.database.change("update particle_evidence set evidence = '{}'")
    session.start()
    session.steps()
    assert session.measured == ["01.mrc"] * 2


def test_commands_see_what_the_session_measured(begin):
    """Also those that run while no service does."""
    session = begin()
    session.land(*names(1, 10))
    assert session_config(session.written).particle.diameter_angstrom == 150
    session.steps()
    measured = session.measuring.config(session.written)
    assert session_config(session.written) == measured
    assert measured.particle.diameter_angstrom != 150


def test_another_session_in_the_same_state_folder_measures_its_own_micrographs(begin, ledger):
    session = begin()
    ledger.session.begin("a")
    session.land(*names(1, 10))
    session.steps()
    ledger.session.begin("b")
    session.start()
    session.land(*names(11, 12), says=make_evidence(400))
    session.steps()
    assert session.measured[10:] == names(11, 12)
    assert session.measuring.state.used.diameter_angstrom > 350


def test_with_a_given_number_picking_comes_first(begin):
    """The micrographs are measured once they are picked, and only five."""
    session = begin({"diameter_angstrom": 180})
    session.land(*names(1, 8))
    session.steps()
    assert session.measured == []
    session.pick_all()
    session.steps()
    assert session.measured == names(1, 5)
    assert not session.measuring.picks_wait
    assert not session.measuring.state.contradiction


def test_training_waits_for_a_micrograph_that_has_just_been_picked(begin):
    """It is measured within a second; a training that began now could have the wrong size."""
    session = begin({"diameter_angstrom": 90})
    session.land(*names(1, 4), says=make_evidence(180))
    session.pick_all()
    session.steps()
    assert session.measuring.training_waits() is None
    session.land("05.mrc")
    session.pick_all()
    assert "compared with the first micrographs: 4 of 5" in session.measuring.training_waits()
    session.steps()
    assert "contradict the config" in session.measuring.training_waits()


def test_a_contradiction_goes_when_the_number_is_edited_and_comes_when_it_is_wrong(begin):
    session = begin({"diameter_angstrom": 90})
    session.land(*names(1, 12))
    session.pick_all()
    session.steps()
    assert "particle.diameter_angstrom is 90" in session.measuring.state.contradiction
    assert session.measured == names(1, 10)
    session.measuring.use(session.read(particle={"diameter_angstrom": 180}))
    assert not session.measuring.state.contradiction
    session.measuring.use(session.read(particle={"diameter_angstrom": 360}))
    assert "particle.diameter_angstrom is 360" in session.measuring.state.contradiction
    assert session.measured == names(1, 10)


def test_both_sizes_of_a_contradiction_and_of_a_question_are_illustrated(begin):
    session = begin({"diameter_angstrom": 90})
    session.land(*names(1, 12), says=make_evidence(120, second_angstrom=300))
    session.pick_all()
    session.steps()
    session.measuring.use(session.read(particle=AUTO))
    session.steps()
    first, second = session.measuring.state.best, session.measuring.state.second
    sizes = [example.diameter_angstrom for example in session.measuring.state.examples]
    assert sizes == [first.diameter_angstrom, second.diameter_angstrom]
    assert session.picked_at == [(size, "dark") for size in sizes]
    assert len(session.measuring.state.examples[0].positions) == 2


def test_a_picture_that_cannot_be_made_stops_nothing(begin):
    session = begin()

    def fail(job):
        raise ContentError("it is empty", "Look.")

    session.pick = fail
    session.measuring = session.start()
    session.land(*names(1, 10))
    session.steps()
    assert session.measuring.state.is_settled
    assert session.measuring.state.examples == ()


def test_the_question_is_answered_by_time(begin, clock):
    session = begin()
    session.land(*names(1, 40), says=make_evidence(120, second_angstrom=300))
    session.steps()
    assert session.measuring.state.is_asking
    assert "for an answer" in session.measuring.training_waits()
    clock.now += ANSWER_SECONDS
    session.steps()
    assert session.measuring.state.is_settled
    assert session.measuring.training_waits() is None


@pytest.mark.parametrize(
    "error",
    [
        ContentError("it is empty", "Look."),
        VanishedFileError("it is gone", "Wait."),
        TimeoutError("no answer"),
        ProcessDiedError("killed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_micrograph_that_cannot_be_measured_is_left_out_and_counted(begin, ledger, error):
    session = begin()
    session.land("01.mrc", says=error)
    session.land(*names(2, 12))
    session.steps()
    assert session.measuring.state.left_out == 1
    assert session.measuring.state.is_settled
    assert session.measured.count("01.mrc") <= 2
    session.start()
    session.steps()
    assert session.measured.count("01.mrc") <= 2
    (reason,) = ledger.database.rows(
        "select reason from particle_evidence where reason is not null"
    )
    assert str(error).split(".")[0] in reason[0]


def test_measuring_that_always_dies_is_named_and_tried_again(begin):
    session = begin()
    session.land(*names(1, 4), says=ProcessDiedError("killed by signal 9"))
    session.steps()
    assert "fails again and again: killed by signal 9" in session.measuring.state.fault
    assert "cannot be measured" in session.measuring.training_waits()
    assert session.measuring.picks_wait
    session.land(*names(5, 6), says=make_evidence(180))
    for _ in range(10):
        session.steps()
    assert session.measuring.state.fault == ""
    assert not session.measuring.picks_wait
    assert session.measuring.state.left_out == 4


def test_a_damaged_general_model_is_not_the_fault_of_a_micrograph(begin):
    session = begin({"diameter_angstrom": 180})
    session.land("01.mrc", says=ModelError("model.onnx is damaged", "Install it again."))
    session.pick_all()
    assert session.measuring.step() == PAUSE_SECONDS
    assert session.measuring.state.fault == "model.onnx is damaged"
    assert session.measuring.training_waits() is None
    session.land("01.mrc", says=make_evidence(180))
    session.steps()
    assert session.measuring.state.left_out == 0
    assert session.measuring.state.micrographs == 1


def test_without_the_general_model_nothing_is_measured_and_it_is_named(begin):
    session = begin()
    session.bundle.rmdir()
    session.land("01.mrc")
    assert session.measuring.step() == PAUSE_SECONDS
    assert session.measuring.state.fault == "the general model is not installed"
    assert session.measured == []


def test_empty_micrographs_at_the_start_do_not_hold_picking_for_ever(begin):
    session = begin()
    session.land(*names(1, 6), says=EMPTY)
    session.steps()
    assert not session.measuring.picks_wait
    session.land(*names(7, 20))
    session.steps()
    assert session.measuring.state.is_settled
    assert session.measuring.state.voices == 10


def test_a_file_with_new_content_is_measured_again(begin, ledger):
    session = begin()
    session.land("01.mrc")
    session.steps()
    ledger.arrivals.landed(Path("/m"), Path("01.mrc"), FileVersion(100, 2, 7), 901.0)
    session.steps()
    assert session.measured == ["01.mrc"] * 2
    assert session.measuring.state.micrographs == 1
