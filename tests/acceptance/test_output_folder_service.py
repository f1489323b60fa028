"""The output folder of a service: files of others, other sessions, and what happens to it."""

import shutil

import pytest
from session import QUICK_LISTS, impatient, livepick

from chaos_check import LISTS

QUICK = impatient(QUICK_LISTS | {"picking.output_sync.RETRY_SECONDS": 3})


def files(session):
    """Return the names of the files in the output folder, without livepick's records."""
    return {path.name for path in session.output.glob("[!.]*")}


def expected(names):
    return {*LISTS, *(f"{name}_autopick.star" for name in names)}


def has_coordinates(session, names):
    """Return True if all coordinates and RELION's list are there; the tables come later."""
    return expected(names) - files(session) <= {*LISTS} - {"autopick.star"}


def test_files_of_others_stay_until_they_are_moved_away(make_session):
    """``check`` and the running service say the same; picking is not held up."""
    session = make_session()
    session.output.mkdir()
    foreign = [session.output / "mic_0001_autopick.star", session.output / "micrographs.csv"]
    for path in foreign:
        path.write_text("by hand")
    names = session.drop(3)
    checked = livepick("check", session.config)
    assert checked.returncode == 1
    assert "that livepick did not write" in checked.stdout

    session.start()
    session.until(lambda: session.picked() == 3, "3 picked")
    session.until(lambda: session.figure('output_obstacles{kind="foreign"}') == 2, "the metric")
    assert "livepick did not write" in livepick("status", session.config).stdout
    session.process.kill()
    session.process.wait()
    session.start(program=QUICK)
    assert [path.read_text() for path in foreign] == ["by hand", "by hand"]
    session.until(lambda: "mic_0002" in session.listed(), "the list")
    assert "mic_0001" not in session.listed()

    for path in foreign:
        path.unlink()
    session.until(lambda: has_coordinates(session, names), "its own files")
    session.until(lambda: "mic_0001" in session.listed(), "the list")
    assert len(session.star("mic_0001")) > 0
    assert session.stop() == 0
    assert files(session) == expected(names)
    assert livepick("check", session.config).returncode == 0


def test_an_output_folder_that_is_removed_under_way_is_written_again(make_session):
    """First one file, then all; the lists too."""
    session = make_session()
    session.start(program=QUICK)
    names = session.drop(3)
    session.until(lambda: has_coordinates(session, names), "all files")
    (session.output / "mic_0002_autopick.star").unlink()
    session.until(lambda: has_coordinates(session, names), "the deleted file")
    gone = session.folder / "gone"
    session.output.rename(gone)  # at once; a list may still be written into it

    def is_removed():
        shutil.rmtree(gone, ignore_errors=True)
        return not gone.exists()

    session.until(is_removed, "the removal")
    session.until(lambda: has_coordinates(session, names), "all of it")
    assert session.stop() == 0
    assert files(session) == expected(names)


def test_a_second_session_on_the_folder_is_refused(make_session):
    """With the name of the first, and an exit status after which systemd does not try again."""
    one = make_session("one", session={"name": "first"})
    one.start()
    names = one.drop(1)
    one.until(lambda: one.picked() == 1, "1 picked")
    (one.folder / "link").symlink_to(one.output)
    for output in (one.output, one.output / "below", one.folder / "link", one.folder):
        two = make_session(
            f"two {output.name}", session={"name": "second"}, output={"directory": str(output)}
        )
        for command in ("check", "run"):
            ran = livepick(command, two.config)
            assert ran.returncode == {"check": 1, "run": 78}[command]
            assert "the output folder of session first" in ran.stdout + ran.stderr
    assert one.stop() == 0
    assert files(one) == expected(names)


@pytest.mark.parametrize("place", ["out", "out/star"])
def test_a_file_in_the_place_of_a_folder_is_waited_for(make_session, place):
    """Also at the start: no crash, no failed micrograph, and it heals."""
    session = make_session(output={"formats": ["relion", "star"]})
    obstacle = session.folder / place
    obstacle.parent.mkdir(exist_ok=True)
    obstacle.write_text("by hand")
    session.start(program=QUICK)
    session.drop(2)
    if place == "out":
        session.until(lambda: session.figure("output_writable") == 0, "the metric")
    else:
        session.until(lambda: session.picked() == 2, "2 picked")
        session.until(lambda: session.figure('output_obstacles{kind="foreign"}') == 1, "it is said")
    assert session.counts().failed == 0
    obstacle.unlink()
    session.until((session.output / "star/mic_0002.star").is_file, "its own file")
    session.until(lambda: session.picked() == 2, "2 picked")
    assert session.counts().failed == 0
    assert session.stop() == 0
