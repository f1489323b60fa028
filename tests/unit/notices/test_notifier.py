"""Notices: each once, over restarts; failures are tried again, counted and said."""

import itertools
import threading

import pytest

from livepick.config.notify_section import NotifyTarget
from livepick.notices.events import Notice
from livepick.notices.notifier import (
    FIRST_PAUSE_SECONDS,
    LASTING_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MOST_TRIES,
    Notifier,
)

READY = Notice("model_ready", "a trained model picks", "Model 1 picks.")
HELP = Notice("problem folder_gone", "livepick needs help", "The folder is gone.", is_bad=True)


class Scene:
    """A notifier whose circumstances a test changes."""

    def __init__(self, state):
        self.state = state
        self.now = 0.0
        self.events = []
        self.mails = []
        self.why = ""
        self.counted = []
        self.file = state / "mail"
        self.file.write_text("json://secret@localhost\n")
        self.targets = [NotifyTarget(url_file=self.file)]
        self.notifier = self.start()

    def start(self, send=None):
        return Notifier(
            lambda: self.targets,
            state=self.state,
            session="s",
            events=lambda: self.events,
            link="http://krios1:9476/",
            counter=self,
            send=send or self.send,
            clock=lambda: self.now,
        )

    def send(self, address, title, body, *, is_bad):
        assert address == "json://secret@localhost"
        self.mails.append((title, body))
        return self.why

    def sent(self):
        self.counted.append("sent")

    def failed(self, *, given_up):
        self.counted.append("given_up" if given_up else "failed")


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_each_notice_is_sent_once_also_after_a_restart(scene):
    scene.events = [READY]
    for _ in range(3):
        scene.notifier.turn()
    scene.start().turn()
    assert scene.mails == [
        ("livepick s: a trained model picks", "Model 1 picks.\n\nhttp://krios1:9476/")
    ]


def test_two_turns_at_a_time_send_a_notice_once_and_the_end_waits_for_it(scene):
    """The turn of the thread, and the last one of a session that ends."""
    begun, may_end = threading.Event(), threading.Event()

    def send(*notice, is_bad):
        begun.set()
        assert may_end.wait(60)
        return scene.send(*notice, is_bad=is_bad)

    scene.events, scene.notifier = [READY], scene.start(send)
    turns = [threading.Thread(target=scene.notifier.turn, kwargs={"is_last": i}) for i in (0, 1)]
    for turn in turns:
        turn.start()
    assert begun.wait(60)
    scene.notifier.wait(0.01)
    assert scene.mails == []
    threading.Timer(0.2, may_end.set).start()
    scene.notifier.wait(60)
    assert len(scene.mails) == 1
    for turn in turns:
        turn.join()
    assert len(scene.mails) == 1
    assert scene.counted == ["sent"]


def test_none_is_begun_after_the_stop(scene):
    scene.events = [READY]
    scene.notifier.stop()
    scene.notifier.turn()
    assert scene.mails == []


def test_another_session_in_the_state_folder_gets_its_own(scene):
    scene.events = [READY]
    scene.notifier.turn()
    text = (scene.state / "notices.json").read_text()
    (scene.state / "notices.json").write_text(text.replace('"session": "s"', '"session": "t"'))
    scene.start().turn()
    assert len(scene.mails) == 2


def test_a_damaged_record_counts_as_empty(scene):
    (scene.state / "notices.json").write_text('{"session": "s", "sent": 3')
    scene.events = [READY]
    scene.start().turn()
    assert scene.counted == ["sent"]


def test_a_failure_is_tried_again_with_growing_pauses_and_given_up(scene, caplog):
    scene.events, scene.why = [READY], "the server refused it, or cannot be reached"
    times = []
    while len(scene.mails) < MOST_TRIES:
        before = len(scene.mails)
        scene.notifier.turn()
        if len(scene.mails) > before:
            times.append(scene.now)
        scene.now += 1
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    scene.now += 10 * LONGEST_PAUSE_SECONDS
    scene.notifier.turn()
    scene.start().turn()
    assert len(scene.mails) == MOST_TRIES
    assert scene.counted == ["failed"] * (MOST_TRIES - 1) + ["given_up"]
    assert "refused it" in scene.notifier.fault
    assert "secret" not in caplog.text + scene.notifier.fault


def test_when_the_network_is_back_the_fault_is_gone(scene):
    scene.events, scene.why = [READY], "the server refused it, or cannot be reached"
    scene.notifier.turn()
    scene.why = ""
    scene.now += FIRST_PAUSE_SECONDS
    scene.notifier.turn()
    assert (scene.counted, scene.notifier.fault) == (["failed", "sent"], "")


def test_a_problem_is_sent_only_if_it_lasts(scene):
    scene.events = [HELP]
    scene.notifier.turn()
    scene.events = []
    scene.notifier.turn()
    scene.now += LASTING_SECONDS
    scene.events = [HELP]
    scene.notifier.turn()
    assert scene.mails == []
    scene.now += LASTING_SECONDS
    scene.notifier.turn()
    assert len(scene.mails) == 1


def test_a_file_that_is_missing_is_said_and_sends_nothing(scene):
    scene.file.unlink()
    scene.events = [READY]
    scene.notifier.turn()
    assert scene.mails == []
    assert "cannot be read" in scene.notifier.fault


def test_without_addresses_nothing_is_looked_at(scene):
    scene.targets, scene.events = [], None
    scene.notifier.turn()
    assert scene.mails == []
