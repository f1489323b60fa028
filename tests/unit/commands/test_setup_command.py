"""``livepick setup``: questions, answers by options, and the config that it writes."""

import io
import socket
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from typer.testing import CliRunner

from livepick import cli
from livepick.config.yaml_loader import load_config
from livepick.deployment import first_config
from livepick.deployment.first_config import guess_name, guess_output, guess_state
from livepick.monitoring.preflight.check import Check


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Start no workers for the checks of device and first picks, and need no port."""
    for check in ("picking_device", "first_picks"):
        monkeypatch.setattr(
            f"livepick.monitoring.preflight.environment.{check}",
            lambda _config, name=check: Check(name, "ok", "not tried"),
        )
    monkeypatch.setattr("livepick.commands.setup.free_listen", lambda: "127.0.0.1:0")


@pytest.fixture
def scene(tmp_path):
    """Return a folder with a session of two micrographs of 1.5 Å per pixel."""
    folder = tmp_path / "krios1" / "2026-11-30" / "Micrographs"
    folder.mkdir(parents=True)
    for name in ("a.mrc", "a_DW.mrc"):
        with mrcfile.new(folder / name) as mrc:
            mrc.set_data(np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32))
            mrc.voxel_size = 1.5
    return folder


def set_up(path, *options):
    return cli.main(["setup", str(path), *map(str, options)])


def by_options(path, scene, *options):
    """Call the command without questions."""
    state = path.parent / "state"
    return set_up(path, "--yes", "--watch", scene, "--state", state, *options)


def asked(path, answers):
    """Call the command, and answer its questions; return its result."""
    application = cli._application(["setup"])
    return CliRunner().invoke(application, ["setup", str(path)], input="\n".join(answers) + "\n")


def test_the_config_passes_the_check(scene, tmp_path, capsys):
    """The command checks it at once."""
    path = tmp_path / "session.yaml"

    status = by_options(path, scene)

    said = capsys.readouterr().out
    assert status == 0
    assert "ok      pixel size: 1.5 Å" in said
    assert "\nready" in said
    assert said.splitlines()[-2] == f"Next: livepick run {path}"
    assert cli.main(["check", str(path)]) == 0


def test_defaults_are_guessed(scene, tmp_path):
    """The preset by the names, the name by the folders, the output beside them."""
    path = tmp_path / "session.yaml"
    by_options(path, scene)

    config = load_config(path)
    assert config.watch.directories == [scene]
    assert config.watch.preset == "motioncor"
    assert config.session.name == "krios1-2026-11-30"
    assert config.particle.diameter_angstrom == "auto"
    assert config.micrograph.pixel_size_angstrom is None
    assert config.output.directory == scene.parent / "livepick"


def test_options_are_taken(scene, tmp_path):
    path = tmp_path / "session.yaml"

    status = by_options(
        path, scene, "--preset", "plain", "--pixel-size", "1.5", "--diameter", "150",
        "--output", tmp_path / "my picks: all", "--name", "mine",
    )  # fmt: skip

    config = load_config(path)
    assert status == 0
    assert config.watch.preset == "plain"
    assert config.micrograph.pixel_size_angstrom == 1.5
    assert config.micrograph.trust is None
    assert config.particle.diameter_angstrom == 150
    assert config.output.directory == tmp_path / "my picks: all"
    assert config.session.name == "mine"


def test_five_questions_are_asked(scene, tmp_path):
    """Enter takes the default."""
    path = tmp_path / "session.yaml"

    result = asked(path, [str(scene), "", "", "150", "", str(tmp_path / "state")])

    assert result.exit_code == 0, result.output
    assert [f"{number}. " in result.output for number in range(1, 7)] == [True] * 5 + [False]
    assert "1 of 2 images are named _DW: motioncor" in result.output
    assert "1.5 Å in the header of a_DW.mrc" in result.output
    assert load_config(path).particle.diameter_angstrom == 150


def test_a_wrong_answer_is_asked_again(scene, tmp_path):
    path = tmp_path / "session.yaml"
    (tmp_path / "file").write_text("")

    result = asked(
        path,
        [
            str(tmp_path / "no" / "where"), str(tmp_path / "file"), str(scene),
            "serialem", "Plain", "zero", "300", "headers", "big", "5", "auto",
            str(tmp_path / "file" / "x"), "", str(tmp_path / "state"),
        ],
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    for said in (
        "exists", "is not a folder", "choose one of", "zero is not a number", "from 0.1 to 20",
        "big is not a number", "from 20 to 2000", "cannot be written",
    ):  # fmt: skip
        assert said in result.output


def test_a_pixel_size_other_than_that_of_the_headers_is_trusted(scene, tmp_path):
    """Whoever gives one knows it; the check would refuse the difference otherwise."""
    path = tmp_path / "session.yaml"

    status = by_options(path, scene, "--pixel-size", "0.83")

    assert status == 0
    assert load_config(path).micrograph.trust == "config"


def test_headers_without_a_pixel_size_need_one(scene, tmp_path, capsys):
    path = tmp_path / "session.yaml"
    for file in scene.iterdir():
        with mrcfile.open(file, "r+") as mrc:
            mrc.voxel_size = 0

    assert by_options(path, scene) == 78
    assert "Give it by --pixel-size" in capsys.readouterr().err
    assert by_options(path, scene, "--pixel-size", "headers") == 78
    assert not path.exists()
    assert by_options(path, scene, "--pixel-size", "1.5") == 0


def test_an_existing_file_is_never_replaced(scene, tmp_path, capsys):
    """Not even a link to nowhere."""
    path, link = tmp_path / "session.yaml", tmp_path / "link.yaml"
    path.write_text("mine\n")
    link.symlink_to(tmp_path / "nowhere")

    assert by_options(path, scene) == 78
    assert by_options(link, scene) == 78

    assert path.read_text() == "mine\n"
    assert not (tmp_path / "nowhere").exists()
    assert "exists, and is not replaced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--preset", "serialem"], "choose one of plain, motioncor"),
        (["--diameter", "wide"], "wide is not a number"),
        (["--name", "two words"], "--name two words: a name has letters"),
        (["--output", "/proc/nothing"], "cannot be written"),
        (["--state", "/proc/nothing"], "cannot be written"),
    ],
)
def test_a_wrong_option_is_named(scene, tmp_path, capsys, option, said):
    path = tmp_path / "session.yaml"

    status = set_up(path, "--yes", "--watch", scene, "--state", tmp_path / "state", *option)

    assert status == 78
    assert said in capsys.readouterr().err
    assert not path.exists()


def test_picks_are_not_written_among_the_micrographs(scene, tmp_path, capsys):
    """The setting may do that, but nobody wants it by mistake."""
    assert by_options(tmp_path / "session.yaml", scene, "--output", scene) == 78
    assert "choose one of its own" in capsys.readouterr().err


def test_without_a_terminal_the_options_are_named(tmp_path, capsys, monkeypatch):
    """As in a script, or with standard input from /dev/null."""
    monkeypatch.setattr("sys.stdin", io.StringIO())

    assert set_up(tmp_path / "session.yaml") == 78
    said = capsys.readouterr().err
    assert "Folder with the micrographs: there is nobody to answer" in said
    assert "--watch, and --yes for the defaults" in said


def test_nothing_is_asked_without_a_folder(tmp_path, capsys):
    assert set_up(tmp_path / "s.yaml", "--yes") == 78
    assert "Give it by --watch" in capsys.readouterr().err


def test_a_folder_that_comes_later_is_allowed(tmp_path):
    """It is made when the session begins."""
    path = tmp_path / "session.yaml"

    assert by_options(path, tmp_path / "later") == 0
    assert load_config(path).watch.directories == [tmp_path / "later"]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/data/krios1/MotionCorr/job002/Micrographs", "krios1"),
        ("/data/krios1/20261130 Müller/aligned", "krios1-20261130-M-ller"),
        ("/Micrographs", "session"),
        ("/a/b/c/d", "c-d"),
    ],
)
def test_a_session_has_the_name_of_its_folders(folder, name):
    assert guess_name(Path(folder)) == name


def test_folders_of_another_session_are_not_suggested(tmp_path, monkeypatch):
    monkeypatch.setattr(first_config, "SYSTEM_STATE", tmp_path)
    monkeypatch.setattr(first_config.os, "geteuid", lambda: 0)
    (tmp_path / "livepick" / ".livepick").mkdir(parents=True)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "ledger.sqlite").touch()

    assert guess_output(tmp_path / "in") == tmp_path / "livepick-2"
    assert guess_state("s") == tmp_path / "s-2"


def test_picks_of_a_relion_project_go_to_an_external_job(tmp_path):
    """Not into the folder of motion correction."""
    (tmp_path / "default_pipeline.star").touch()
    watched = tmp_path / "MotionCorr" / "job002"
    watched.mkdir(parents=True)

    assert guess_output(watched) == tmp_path / "External" / "livepick"


def test_a_user_gets_a_state_folder_on_a_local_disk(tmp_path, monkeypatch):
    """A home is often on a network file system."""
    monkeypatch.setattr(first_config.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert guess_state("s") == tmp_path / "livepick" / "s"

    monkeypatch.setattr(first_config, "file_system_type", lambda _path: "nfs4")
    assert guess_state("s").parts[:3] == ("/", "var", "tmp")


def test_a_page_gets_a_free_port(monkeypatch):
    """Another session may have the default one."""
    monkeypatch.undo()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        monkeypatch.setattr(first_config, "FIRST_PORT", port)
        listen = first_config.free_listen()

    assert listen is not None
    assert int(listen.rpartition(":")[2]) > port
