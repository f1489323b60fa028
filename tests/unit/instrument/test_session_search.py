"""Sessions that are found, their configs, and the state of each in the overview."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from livepick.config.instrument_config import load_instrument
from livepick.config.session_config_file import SESSION_CONFIG
from livepick.config.yaml_edit import set_key
from livepick.instrument import session_search
from livepick.instrument.session_record import SessionRecord, read_summary, save_summary
from livepick.instrument.session_search import SessionSearch, Sighting
from livepick.instrument.session_view import Snapshot, view_of

TEXT = """\
sessions:
  pattern: {root}/data/{{session}}/MotionCorr
  state: {root}/state/{{session}}
  output: {root}/data/{{session}}/livepick
  ports: 20801-20899
particle: {{diameter_angstrom: 160}}
"""


class Scene:
    """An instrument whose folders are below a temporary one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "krios1.yaml"
        self.config.write_text(TEXT.format(root=root))
        self.search = SessionSearch(load_instrument(self.config), lambda _: None)

    def session(self, name: str, *, hours_ago: float = 0.0) -> Path:
        """Make a folder with a micrograph, and return it."""
        folder = self.root / "data" / name
        (folder / "MotionCorr").mkdir(parents=True)
        (folder / "MotionCorr" / "a.mrc").touch()
        at = time.time() - 3600 * hours_ago
        os.utime(folder / "MotionCorr", (at, at))
        return folder

    def look(self) -> dict[str, Sighting]:
        """Search, and return what is found by the names of the folders."""
        return {each.place.folder.name: each for each in self.search.look().sightings}

    def state(self, name: str) -> str:
        """Return the state of a session in the overview."""
        return SessionRecord(self.look()[name], 0.0).state()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_new_folder_gets_a_config_and_a_port_of_its_own(scene: Scene) -> None:
    scene.session("s1")
    scene.session("s 2")
    found = scene.look()
    assert all(each.config is not None for each in found.values())
    assert len({each.place.port for each in found.values()}) == 2
    assert found["s 2"].place.output == scene.root / "data" / "s 2" / "livepick"
    assert found["s 2"].place.state.parent == scene.root / "state"
    assert found["s 2"].place.state.name.startswith("s-2-")
    again = scene.look()
    assert {name: each.place for name, each in again.items()} == {
        name: each.place for name, each in found.items()
    }


def test_a_port_that_another_program_has_is_left_to_it(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        first = other.getsockname()[1]
        text = TEXT.format(root=scene.root).replace("20801-20899", f"{first}-{first + 98}")
        scene.config.write_text(text)
        scene.search = SessionSearch(load_instrument(scene.config), lambda _: None)
        scene.session("s1")
        assert first < scene.look()["s1"].place.port <= first + 98


def test_an_old_folder_is_not_picked_until_a_micrograph_lands(scene: Scene) -> None:
    folder = scene.session("s1", hours_ago=30)
    assert scene.state("s1") == "old"
    assert not (scene.root / "state").exists()
    (folder / "MotionCorr" / "b.mrc").touch()
    assert scene.state("s1") == "waiting"


def test_a_known_session_is_picked_however_old(scene: Scene) -> None:
    folder = scene.session("s1")
    scene.look()
    os.utime(folder / "MotionCorr", (1000, 1000))
    assert scene.state("s1") == "waiting"


def test_a_faulty_file_of_one_session_leaves_its_last_good_config_and_the_others(
    scene: Scene,
) -> None:
    folder = scene.session("s1")
    scene.session("s2")
    scene.look()
    (folder / "livepick.yaml").write_text("particle:\n  diameter_angstrom: 3\n")
    scene.look()
    found = scene.look()
    assert found["s1"].config is not None
    assert found["s1"].config.particle.diameter_angstrom == 160
    assert "livepick.yaml: line 2" in str(found["s1"].override_fault)
    assert found["s2"].override_fault is None
    (folder / "livepick.yaml").write_text("particle:\n  diameter_angstrom: 300\n")
    assert scene.look()["s1"].override_fault == found["s1"].override_fault  # not said to be mended
    config = scene.look()["s1"].config
    assert config is not None
    assert config.particle.diameter_angstrom == 300


def test_a_half_written_file_is_not_read(scene: Scene) -> None:
    """On a file server, an editor's empty file may be seen for a second before its content is."""
    folder = scene.session("s1")
    (folder / "livepick.yaml").write_text("particle:\n  diameter_angstrom: 300\n")
    assert _diameter(scene.look()["s1"]) == 300
    for content in ("", "training:\n  epochs: 7\n", "training:\n  epochs: 7\nparticle:\n"):
        (folder / "livepick.yaml").write_text(content)
        assert _diameter(scene.look()["s1"]) == 300
    (folder / "livepick.yaml").write_text("training:\n  epochs: 7\n")
    scene.look()
    assert _diameter(scene.look()["s1"]) == 160


def _diameter(seen: Sighting) -> float:
    assert seen.config is not None
    return seen.config.particle.diameter_angstrom


def test_a_session_whose_first_file_is_faulty_is_not_picked_and_says_why(scene: Scene) -> None:
    folder = scene.session("s1")
    (folder / "livepick.yaml").write_text("particle: 3\n")
    record = SessionRecord(scene.look()["s1"], 0.0)
    assert not record.can_run
    view = view_of(record)
    assert (view.state, view.level) == ("config_fault", "bad")
    assert "livepick.yaml: line 1" in view.sentence
    assert view.remedy


def test_what_goes_wrong_with_one_session_is_its_own_fault(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.session("s1")
    scene.session("s2")
    scene.look()
    whole = session_search.write_session_config

    def fails(state: Path, text: str) -> object:
        if state.name == "s1":
            raise PermissionError(13, "Permission denied")
        return whole(state, text)

    monkeypatch.setattr(session_search, "write_session_config", fails)
    found = scene.look()
    assert "Permission denied" in str(found["s1"].config_fault)
    assert found["s2"].config is not None


def test_a_removed_folder_is_gone_and_its_state_is_kept(scene: Scene) -> None:
    folder = scene.session("s1")
    scene.look()
    folder.rename(folder.with_name("s1-renamed"))
    assert scene.state("s1") == "gone"
    assert scene.state("s1-renamed") == "waiting"
    folder.with_name("s1-renamed").rename(folder)
    assert scene.state("s1") == "waiting"


def test_a_session_may_not_move_its_state_folder(scene: Scene) -> None:
    scene.session("s1")
    path = scene.look()["s1"].place.state / SESSION_CONFIG
    path.write_text(set_key(path.read_text(), path, "state.directory", "/elsewhere").text)
    fault = scene.look()["s1"].config_fault
    assert fault is not None
    assert "state.directory" in fault.what


def end(scene: Scene, name: str, reason: str, *, hours_ago: float = 0.0) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - 3600 * hours_ago))
    path = scene.look()[name].place.state / "session_end.json"
    values = {"session": name, "at": at, "reason": reason, "by": None, "report": "/r.html"}
    path.write_text(json.dumps(values))


def test_a_session_that_ended_by_itself_goes_on_when_a_micrograph_lands(scene: Scene) -> None:
    folder = scene.session("s1", hours_ago=13)
    end(scene, "s1", "idle", hours_ago=1)
    assert scene.state("s1") == "over"
    (folder / "MotionCorr" / "b.mrc").touch()
    assert scene.state("s1") == "waiting"


def test_a_session_that_a_person_ended_goes_on_when_its_config_says_so(scene: Scene) -> None:
    folder = scene.session("s1")
    path = scene.look()["s1"].place.state / SESSION_CONFIG
    path.write_text(set_key(path.read_text(), path, "session.ended", value=True).text)
    assert scene.state("s1") == "waiting"  # its process writes the report
    end(scene, "s1", "person")
    os.utime(folder / "MotionCorr", (time.time() + 5, time.time() + 5))
    assert scene.state("s1") == "over"
    path.write_text(set_key(path.read_text(), path, "session.ended", value=False).text)
    assert scene.state("s1") == "waiting"


def test_a_damaged_end_is_none(scene: Scene) -> None:
    scene.session("s1")
    state = scene.look()["s1"].place.state
    for text in ("", "[]", '{"at": 3}', "{", '{"at": "yesterday"}'):
        (state / "session_end.json").write_text(text)
        assert scene.state("s1") == "waiting"


def test_figures_of_a_session_survive_the_service(scene: Scene) -> None:
    scene.session("s1")
    record = SessionRecord(scene.look()["s1"], 5.0, summary={"picked": 3}, summary_at=7.0)
    save_summary(record)
    assert read_summary(record.sighting.place.state) == ({"picked": 3}, 7.0, 5.0)
    (record.sighting.place.state / "session_summary.json").write_text("[]")
    assert read_summary(record.sighting.place.state) == ({}, 0.0, None)


def test_a_root_that_is_not_mounted_is_calm(scene: Scene) -> None:
    look = scene.search.look()
    snapshot = Snapshot.of(scene.search.instrument, [], listing=look.listing)
    assert snapshot.level == "good"
    assert "does not exist yet" in snapshot.sentence
    gone = Snapshot.of(scene.search.instrument, [], listing=look.listing, was_there=True)
    assert (gone.level, gone.root_is_away, snapshot.root_is_away) == ("bad", True, False)


def test_a_search_that_hangs_is_said(scene: Scene) -> None:
    snapshot = Snapshot.of(scene.search.instrument, [], listing=None, hangs_seconds=300)
    assert snapshot.level == "bad"
    assert "5 min" in snapshot.sentence
