"""The making of class averages in a session: what is made, recorded, ended and survives."""

import shutil

from classes.conftest import NEVER_ENDS
from waiting import until

import factories
from livepick.core.contracts.class_averages import ClassesOrder
from livepick.retraining.trainer_process import TrainerProcess


def finish(making):
    """Take steps until nothing is being made."""
    making.step()

    def is_idle():
        making.step()
        return making.state.since is None

    until(is_idle, "class averages")


def test_they_are_made_of_the_first_ten_micrographs_and_recorded(averaged_session):
    averaged_session.pick(10)
    finish(averaged_session.start())
    (row,) = averaged_session.ledger.reader.class_averages()
    assert (row.number, row.particles, row.good_particles, row.last_id) == (1, 400, 300, 10)
    assert averaged_session.folders == ["0001"]


def test_nothing_is_made_before(averaged_session):
    averaged_session.pick(9)
    making = averaged_session.start()
    making.step()
    assert making.state.since is None
    assert averaged_session.folders == []


def test_only_the_latest_folders_are_kept_and_all_rows(averaged_session):
    averaged_session.pick(10)
    making = averaged_session.start()
    finish(making)
    for _ in range(4):
        averaged_session.pick(sum(1 for _ in averaged_session.ledger.reader.with_picks()))
        finish(making)
    assert averaged_session.folders == ["0003", "0004", "0005"]
    rows = averaged_session.ledger.reader.class_averages(limit=10)
    assert [row.number for row in rows] == [5, 4, 3, 2, 1]


def test_on_two_processors_they_wait_for_a_training_and_give_way_to_one(averaged_session):
    averaged_session.pick(10)
    averaged_session.program = NEVER_ENDS
    averaged_session.is_training = True
    making = averaged_session.start(processors=2)
    making.step()
    assert making.state.waits == "a training runs"
    averaged_session.is_training = False
    making.step()
    assert making.state.since is not None
    averaged_session.is_training = True
    making.step()
    assert making.state.waits == "a training runs"
    assert averaged_session.folders == []


def test_on_more_processors_they_are_made_beside_a_training_but_not_on_a_cluster(averaged_session):
    averaged_session.pick(10)
    averaged_session.is_training = True
    finish(averaged_session.start(processors=3))
    assert len(averaged_session.messages) == 1
    making = averaged_session.start(processors=64, on_cluster=True)
    averaged_session.pick(10)
    making.step()
    assert making.state.waits == "a training runs"


def test_without_the_trainer_they_are_off_and_this_is_said_once(averaged_session, caplog):
    averaged_session.pick(10)
    averaged_session.missing = ["torch"]
    making = averaged_session.start()
    with caplog.at_level("INFO"):
        for _ in range(3):
            making.step()
    assert making.state.fault == "torch is not installed"
    assert caplog.text.count("torch is not installed") == 1
    assert averaged_session.folders == []


def test_switched_off_they_end(averaged_session):
    averaged_session.pick(10)
    averaged_session.program = NEVER_ENDS
    making = averaged_session.start()
    making.step()
    off = factories.make_config(averaged_session.folder, class_averages={"enabled": False})
    making.use(off)
    making.step()
    assert making.state.is_off
    assert averaged_session.folders == []


def test_a_killed_process_is_said_and_its_folder_removed(averaged_session):
    averaged_session.pick(10)
    averaged_session.program = "import os; os.kill(os.getpid(), 9)"
    making = averaged_session.start()
    finish(making)
    assert "was killed" in making.state.fault
    assert averaged_session.folders == []
    assert averaged_session.messages == []


def test_an_error_of_the_program_is_shown_with_its_remedy(averaged_session):
    averaged_session.pick(10)
    averaged_session.program = "import sys; sys.exit('too few\\nWait.')"
    making = averaged_session.start()
    finish(making)
    assert (making.state.fault, making.state.remedy) == ("too few", "Wait.")


def test_a_result_that_was_finished_while_the_service_was_down_is_recorded(averaged_session):
    averaged_session.pick(10)
    making = averaged_session.start()
    making.step()
    folder = averaged_session.folder / "state" / "classes" / "0001"
    until((folder / "result").is_dir)
    until(lambda: not TrainerProcess.is_running(folder))
    averaged_session.start().step()
    assert [message.row.number for message in averaged_session.messages] == [1]


def test_a_folder_without_a_result_is_removed_and_made_anew(averaged_session):
    averaged_session.pick(10)
    finish(averaged_session.start())
    classes = averaged_session.folder / "state" / "classes"
    shutil.copytree(classes / "0001", classes / "0002")
    shutil.rmtree(classes / "0002" / "result")
    averaged_session.start().step()
    assert averaged_session.folders == ["0001"]


def test_a_process_that_a_killed_service_has_left_is_adopted(averaged_session):
    averaged_session.pick(10)
    averaged_session.program = NEVER_ENDS
    averaged_session.start().step()
    adopting = averaged_session.start()
    adopting.step()
    assert adopting.state.since is not None
    assert averaged_session.folders == ["0001"]
    assert len(averaged_session.processes) == 2


def test_a_result_of_another_session_or_of_a_lost_ledger_is_not_recorded(averaged_session):
    averaged_session.pick(10)
    finish(averaged_session.start())
    averaged_session.messages.clear()
    classes = averaged_session.folder / "state" / "classes"
    for number, change in ((2, {"session": "other"}), (3, {"last_id": 9})):
        shutil.copytree(classes / "0001", classes / f"{number:04}")
        order = ClassesOrder.read(classes / f"{number:04}")
        order.model_copy(update=change).write(classes / f"{number:04}")
    averaged_session.start().step()
    assert averaged_session.messages == []
    assert averaged_session.folders == ["0001"]


def test_another_session_in_the_state_folder_begins_without_class_averages(averaged_session):
    averaged_session.pick(10)
    finish(averaged_session.start())
    averaged_session.ledger.session.begin("another")
    assert averaged_session.ledger.reader.class_averages() == []
    assert averaged_session.ledger.reader.newest_picked(100) == []


def test_after_an_edit_of_the_diameter_they_are_made_with_boxes_of_its_size(averaged_session):
    averaged_session.pick(10)
    making = averaged_session.start()
    finish(making)
    particle = averaged_session.config.particle
    larger = particle.model_copy(update={"diameter_angstrom": 2 * particle.diameter_angstrom})
    making.use(averaged_session.config.model_copy(update={"particle": larger}))
    finish(making)
    finish(making)
    newer, older = averaged_session.ledger.reader.class_averages(limit=10)
    assert newer.diameter_angstrom == 2 * older.diameter_angstrom
    order = ClassesOrder.read(averaged_session.folder / "state" / "classes" / "0002")
    assert order.particle.diameter_angstrom == newer.diameter_angstrom
