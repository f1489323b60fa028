"""Files beside the micrographs in watched folders: each is picked, or counted by kind."""

import bz2
import gzip
import json
import shutil

from session import livepick

PRODUCTS = (
    "mic_0001_ctf.mrc",
    "mic_0001_CTFFIND4.MRC",
    "mic_0001_forctf.mrc",
    "mic_0001_intg.mrc",
    "gainref_x1.mrc",
)
HOUSEKEEPING = ("#recycle", "@eaDir", ".snapshot", "$RECYCLE.BIN")


def write_folder(session):
    """Write eight micrographs under many names, and what may lie beside them."""
    session.drop(2)
    landing = session.landing
    good = landing / "mic_0002.mrc"
    whole = good.read_bytes()
    (landing / "packed.mrc.gz").write_bytes(gzip.compress(whole))
    (landing / "packed2.MRC.bz2").write_bytes(bz2.compress(whole))
    shutil.copy(good, landing / "one.mrcs")
    for folder in ("grid1", "grid2", "gain_of_function_1"):
        (landing / folder).mkdir()
        shutil.copy(good, landing / folder / "mic_0002.mrc")
    for name in PRODUCTS:
        shutil.copy(good, landing / name)
    for folder in HOUSEKEEPING:
        (landing / folder).mkdir()
        shutil.copy(good, landing / folder / "deleted.mrc")
    (landing / "link.mrc").symlink_to(good)
    (landing / "linked_folder").symlink_to(session.folder)
    (landing / "empty.mrc").touch()
    (landing / "movie.eer").write_bytes(b"frames")
    (landing / "arriving.mrc.filepart").write_bytes(whole)


EXPECTED = {
    "product": 5,
    "housekeeping": 4,
    "link": 2,
    "empty": 1,
    "other_format": 1,
    "transferring": 1,
}


def skipped(session):
    """Return how many files of each kind were left out, according to ``livepick status``."""
    found = {}
    for files in session.status()["skipped"]:
        found[files["kind"]] = found.get(files["kind"], 0) + files["count"]
    return found


def test_everything_is_picked_or_counted_and_the_check_agrees(make_session):
    session = make_session()
    write_folder(session)

    checked = json.loads(livepick("check", session.config, "--json").stdout)["checks"]
    taken = [check["found"] for check in checked if check["name"] == "micrographs"]
    assert taken == [f"8 in {session.landing}"]

    session.start()
    session.until(lambda: session.picked() == 8, "all micrographs")
    session.until(lambda: skipped(session) == EXPECTED, "what is left out")
    status = session.status()
    for kind, count in EXPECTED.items():
        series = f'skipped_files{{kind="{kind}"}}'
        session.until(lambda s=series, n=count: session.figure(s) == n, series)
    assert sorted(files["what"] for files in status["skipped"]) == sorted(
        check["found"] for check in checked if check["name"] == "left out"
    )
    links = "links, which are not followed: 2"
    session.until(lambda: links in session.get("/"), "the page")
    assert status["micrographs"]["failed"] == 0
    for name in ("packed", "packed2", "one", "grid1/mic_0002", "grid2/mic_0002"):
        assert session.star(name)
    counted = 'micrographs_total{state="picked"}'
    session.until(lambda: session.figure(counted) == 8, "the metric")
    doctor = livepick("doctor", session.config).stdout
    assert 'heartbeats, in seconds: {"ok":true' in doctor
    assert 'livepick_micrographs_total{state="picked"} 8.0' in doctor
    assert session.stop() == 0

    assert "links, which are not followed: 2" in livepick("status", session.config).stdout
    doctor = livepick("doctor", session.config)
    assert doctor.returncode == 0
    assert "links, which are not followed: 2" in doctor.stdout
