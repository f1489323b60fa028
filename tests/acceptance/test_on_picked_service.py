"""The installed command calls a program for each picked micrograph."""

import json
import sys
import urllib.request

from session import livepick

PROGRAM = f"""\
#!{sys.executable}
import pathlib, sys
name = pathlib.Path(__file__).with_name("told")
with name.open("a") as file:
    file.write(sys.stdin.read())

sys.exit(len(sys.argv) - 2)
"""


def test_a_program_is_called_for_each_micrograph(make_session, tmp_path):
    """Its files exist, its picture can be fetched, and a restart does not call it again."""
    program, told = tmp_path / "program", tmp_path / "told"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    session = make_session(
        output={
            "directory": "out",
            "formats": ["relion", "csv"],
            "on_picked": [str(program), "$HOME"],
        }
    )
    checked = json.loads(livepick("check", session.config, "--json").stdout)["checks"]
    (check,) = (check for check in checked if check["name"] == "output.on_picked")
    assert check["verdict"] == "ok"
    success = 'on_picked_calls_total{outcome="success"}'

    session.start()
    assert session.figure(success) == 0
    names = session.drop(3)
    session.until(lambda: session.figure(success) == 3, "3 calls")
    said = [json.loads(line) for line in told.read_text().splitlines()]
    assert sorted(one["micrograph"] for one in said) == [
        str(session.landing / f"{name}.mrc") for name in names
    ]
    for one in said:
        rows = session.star(one["micrograph"].rpartition("/")[2].removesuffix(".mrc"))
        assert len(rows) == one["pick_count"]
        assert sorted(one["coordinates"]) == ["csv", "relion"]
        assert not one["final"]
    with urllib.request.urlopen(said[0]["thumbnail_url"], timeout=60) as answer:  # noqa: S310
        assert answer.read().startswith(b"\x89PNG")
    assert session.stop() == 0

    session.start()
    session.drop(1, first=4)
    session.until(lambda: session.figure(success) == 1, "1 call")
    assert len(told.read_text().splitlines()) == 4
    session.stop()


def test_a_program_that_is_missing_stops_nothing(make_session, tmp_path):
    """``livepick check`` fails, the service picks, and the log says it once."""
    session = make_session(output={"directory": "out", "on_picked": [str(tmp_path / "missing")]})
    checked = livepick("check", session.config)
    assert checked.returncode == 1
    assert f"output.on_picked: {tmp_path}/missing does not exist" in checked.stdout
    session.start()
    session.drop(3)
    session.until(lambda: session.picked() == 3, "3 picked")
    failed = 'on_picked_calls_total{outcome="not_started"}'
    session.until(lambda: session.figure(failed) == 3, "3 calls")
    assert session.log.read_text().count("could not be started") == 1
    assert session.stop() == 0
