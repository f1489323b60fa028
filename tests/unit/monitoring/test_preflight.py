"""The preflight checks of ``livepick check``."""

import importlib.util
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest
from ctf_texts import CTFFIND

from factories import make_card, make_config, publish_bundle
from livepick import cli
from livepick.config.schema import Config
from livepick.config.sections import Device
from livepick.config.yaml_loader import load_config
from livepick.core.contracts.bundle import GRAPH, WEIGHTS, publish, sha256
from livepick.errors import ModelError, ProviderError
from livepick.host.isolated_call import ProcessDiedError
from livepick.ingest.file_system import FileSystem
from livepick.ledger.database import LEDGER, Database
from livepick.models.registry import Models
from livepick.monitoring.preflight import folders, picking
from livepick.monitoring.preflight.check import Check
from livepick.monitoring.preflight.environment import check_environment

REAL_WORKER = picking._in_a_worker
WEB = 'web: {listen: "127.0.0.1:0"}\n'


def _config(folder: Path, more: str = "") -> Path:
    path = folder / "session.yaml"
    path.write_text(
        f"""\
session: {{name: s}}
watch: {{directories: [in]}}
particle: {{diameter_angstrom: 150}}
output: {{directory: out}}
state: {{directory: state}}
{more}
"""
    )
    return path


def _tried(path: Path) -> dict[str, Check]:
    return {result.name: result for result in check_environment(load_config(path))}


def _micrograph(folder: Path, pixel_size_angstrom: float) -> None:
    with mrcfile.new(folder / "mic.mrc") as mrc:
        mrc.set_data(np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32))
        mrc.voxel_size = pixel_size_angstrom


@pytest.fixture(autouse=True)
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the worker process, whose start takes seconds."""

    def answer(function: Callable[[Config, Device], str], config: Config, device: Device) -> str:
        return "CPUExecutionProvider"

    monkeypatch.setattr(picking, "_in_a_worker", answer)


@pytest.fixture(autouse=True)
def watched(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()


@pytest.mark.slow
@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_a_missing_gpu_is_detected_in_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fallback of onnxruntime to the CPU is detected in a spawned worker."""
    monkeypatch.setattr(picking, "_in_a_worker", REAL_WORKER)
    path = _config(tmp_path, WEB + "picking: {device: require-gpu}\n")
    result = _tried(path)["picking device"]
    assert result.verdict == "fault"
    assert "the GPU cannot be used: onnxruntime offers" in result.found
    assert "prefer-gpu or cpu" in result.remedy


def test_a_check_creates_nothing(tmp_path: Path) -> None:
    path = _config(tmp_path, WEB)
    _tried(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in", "session.yaml"]
    assert list((tmp_path / "in").iterdir()) == []


def test_a_watched_folder_may_appear_later(tmp_path: Path) -> None:
    """The session may not have begun."""
    (tmp_path / "in").rmdir()
    assert _tried(_config(tmp_path, WEB))["watched folder"].verdict == "warning"


def test_a_watched_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "in").rmdir()
    (tmp_path / "in").write_text("")
    assert _tried(_config(tmp_path, WEB))["watched folder"].verdict == "fault"


def test_an_output_folder_below_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    result = _tried(_config(tmp_path, WEB))["output folder"]
    assert result.verdict == "fault"
    assert "out, a file, is in the way" in result.found


def test_a_ledger_on_a_network_file_system_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "file_system_type", lambda path: "nfs4")
    result = _tried(_config(tmp_path, WEB))["ledger's file system"]
    assert result.verdict == "fault"
    assert "network file system (nfs4)" in result.found


def test_a_running_service_is_detected(tmp_path: Path) -> None:
    """It holds the ledger and the port; neither is a fault."""
    with (
        Database.writable(tmp_path / "state" / LEDGER),
        socket.create_server(("127.0.0.1", 0)) as door,
    ):
        port = door.getsockname()[1]
        tried = _tried(_config(tmp_path, f'web: {{listen: "127.0.0.1:{port}"}}\n'))
        assert tried["other service"].verdict == "warning"
        assert f"process {os.getpid()}" in tried["other service"].found
        assert tried["page and metrics"].verdict == "ok"
    assert _tried(_config(tmp_path, WEB))["other service"].verdict == "ok"


def test_only_micrographs_are_read(tmp_path: Path) -> None:
    """A file that the preset excludes is not used for the pixel size."""
    _micrograph(tmp_path / "in", 1.25)
    (tmp_path / "in" / "mic.mrc").rename(tmp_path / "in" / "mic_noDW.mrc")
    assert "no micrograph yet" in _tried(_config(tmp_path, WEB))["pixel size"].found


def test_a_state_folder_on_an_odd_file_system_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FUSE does not tell what is below it."""
    monkeypatch.setattr(folders, "file_system_type", lambda path: "fuse.odd")
    monkeypatch.setattr(folders, "file_system", lambda path: FileSystem("fuse.odd"))
    assert _tried(_config(tmp_path, WEB))["ledger's file system"].verdict == "warning"


def test_forced_inotify_on_a_network_file_system_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "file_system", lambda path: FileSystem("nfs4"))
    path = _config(tmp_path, WEB)
    assert _tried(path)["watched folder"].found.endswith("(nfs4, polled)")
    path.write_text(path.read_text().replace("[in]", "[in], mode: inotify"))
    assert _tried(path)["watched folder"].verdict == "warning"


def test_the_pixel_size_is_that_of_a_first_header(tmp_path: Path) -> None:
    _micrograph(tmp_path / "in", 1.25)
    result = _tried(_config(tmp_path, WEB))["pixel size"]
    assert (result.verdict, result.found) == ("ok", "1.25 Å, from the header of mic.mrc")


def test_a_header_that_contradicts_the_config_is_a_fault(tmp_path: Path) -> None:
    _micrograph(tmp_path / "in", 1.25)
    path = _config(tmp_path, WEB + "micrograph: {pixel_size_angstrom: 0.62}\n")
    assert _tried(path)["pixel size"].verdict == "fault"


def test_no_pixel_size_anywhere_is_a_fault(tmp_path: Path) -> None:
    _micrograph(tmp_path / "in", 0.0)
    assert _tried(_config(tmp_path, WEB))["pixel size"].verdict == "fault"


def test_a_missing_required_gpu_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise ProviderError("no GPU", "Look at nvidia-smi.")

    monkeypatch.setattr(picking, "_in_a_worker", refuse)
    result = _tried(_config(tmp_path, WEB + "picking: {device: require-gpu}\n"))["picking device"]
    assert (result.verdict, result.found) == ("fault", "no GPU")


@pytest.mark.parametrize(("sign", "verdict"), [("nvidia-smi is installed", "warning"), ("", "ok")])
def test_a_preferred_gpu_that_does_not_work_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: str, verdict: str
) -> None:
    """A machine without one picks on the CPU, and that is said."""
    monkeypatch.setattr("livepick.monitoring.preflight.picking.gpu_sign", lambda: sign)
    result = _tried(_config(tmp_path, WEB))["picking device"]
    assert result.verdict == verdict
    assert (sign or "no NVIDIA GPU") in result.found


@pytest.mark.parametrize(("broken", "verdict"), [(None, "ok"), ("7", "fault")])
def test_each_gpu_of_the_engine_is_tried_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str | None, verdict: str
) -> None:
    """In the environment of its worker."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    own = threading.Lock()

    def in_a_worker(function: Callable[..., str], config: Config, device: Device) -> str:
        with own:  # a worker has an environment of its own
            return function(config, device)

    monkeypatch.setattr(picking, "_in_a_worker", in_a_worker)

    def probe(config: Config, device: Device) -> str:
        if os.environ["CUDA_VISIBLE_DEVICES"] == broken:
            raise ProviderError("no CUDA", "Look at nvidia-smi.")
        return "CUDAExecutionProvider"

    monkeypatch.setattr(picking, "_probe_blob_picker", probe)
    path = _config(tmp_path, WEB + "engine: {devices: [0, 1]}\n")
    result = _tried(path)["picking device"]
    assert result.verdict == verdict
    assert result.found.startswith("GPU 0 (5): CUDAExecutionProvider")
    assert ("GPU 1 (7): no CUDA" in result.found) == (broken == "7")


def test_a_gpu_that_is_not_there_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    result = _tried(_config(tmp_path, WEB + "engine: {devices: [1]}\n"))["picking device"]
    assert result.verdict == "fault"
    assert "engine.devices has 1" in result.found


def test_a_worker_that_crashes_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> str:
        raise ProcessDiedError("ended abruptly")

    monkeypatch.setattr(picking, "_in_a_worker", crash)
    assert _tried(_config(tmp_path, WEB))["picking device"].verdict == "fault"


def test_a_port_that_is_taken_is_a_fault(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        path = _config(tmp_path, f'web: {{listen: "127.0.0.1:{port}"}}\n')
        assert _tried(path)["page and metrics"].verdict == "fault"


def test_a_port_open_to_all_is_a_warning(tmp_path: Path) -> None:
    path = _config(tmp_path, 'web: {listen: "0.0.0.0:0", insecure: true}\n')
    assert _tried(path)["page and metrics"].verdict == "warning"


def test_a_faulty_file_of_passwords_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("basic_auth_users: {anna: secret}\n")
    path = _config(tmp_path, 'web: {listen: "127.0.0.1:0", web_config_file: web.yml}\n')
    result = _tried(path)["page and metrics"]
    assert result.verdict == "fault"
    assert "basic_auth_users.anna is not a hash of bcrypt" in result.found
    assert "secret" not in result.found


def test_a_missing_trainer_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = _tried(_config(tmp_path, WEB))["trainer"]
    assert result.verdict == "fault"
    assert "livepick[trainer]" in result.remedy


def test_a_trainer_that_only_workers_have_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run then waits for a worker, however long."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    engine = {"kind": "dask", "scheduler": "tcp://127.0.0.1:9", "heavy": "cluster"}
    result = picking.trainer(make_config(tmp_path, engine=engine))
    assert result.verdict == "ok"
    assert "only workers with --heavy train" in result.found


def test_weights_to_start_from_are_checked(tmp_path: Path) -> None:
    """Otherwise the training would fail hours later."""
    weights = {"weights_sha256": sha256(b"weights")}
    files = {GRAPH: b"graph", WEIGHTS: b"weights"}
    bundle = publish(tmp_path / "models", make_card(**weights), files)
    path = _config(tmp_path, WEB + f"training: {{start: {{model: {bundle}}}}}")
    assert _tried(path)["trainer"].found.endswith(f"from the weights of model {bundle}")
    (bundle / WEIGHTS).unlink()
    result = _tried(path)["trainer"]
    assert result.verdict == "fault"
    assert f"a training cannot start from {bundle}" in result.found


def test_a_full_disk_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    assert _tried(_config(tmp_path, WEB))["state disk"].verdict == "fault"


def test_the_command_ends_with_0_when_nothing_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(_config(tmp_path, WEB))]) == 0
    out = capsys.readouterr().out
    assert "trainer: installed" in out
    assert "FAULT" not in out


def test_the_command_ends_with_1_on_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("")
    assert cli.main(["check", str(_config(tmp_path, WEB)), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ready"] is False
    assert [c["name"] for c in report["checks"] if c["verdict"] == "fault"] == ["output folder"]


def test_the_command_ends_with_78_on_a_bad_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(_config(tmp_path, "particles: 3\n"))]) == 78
    assert "line 6: particles is unknown; perhaps you mean particle" in capsys.readouterr().err


def test_an_unusual_setting_is_a_warning(tmp_path: Path) -> None:
    """The warning contains the advice of the setting and its reason."""
    result = _tried(_config(tmp_path, WEB + "training: {epochs: 5}"))["advice"]
    assert result.verdict == "warning"
    assert "training.epochs is 5; the recommended range is 20 to 50" in result.found
    assert "advice" not in _tried(_config(tmp_path, WEB))


def _by_hand(folder: Path, names: str, *, count: int = 100) -> Path:
    rows = [f"{name},{place},{place}" for name in names for place in range(count)]
    (folder / "hand.csv").write_text("\n".join(["micrograph,x_px,y_px", *rows]))
    return _config(folder, WEB + "bootstrap: {picks: {coordinates: hand.csv}}")


def test_first_picks_by_hand_are_counted(tmp_path: Path) -> None:
    result = _tried(_by_hand(tmp_path, "abc"))["first picks"]
    assert (result.verdict, result.found.split(",")[0]) == ("ok", "300 in 3 micrographs")


def test_first_picks_for_other_micrographs_are_a_warning(tmp_path: Path) -> None:
    """The right ones may have yet to arrive."""
    path = _by_hand(tmp_path, "abc")
    _micrograph(tmp_path / "in", 1.0)
    result = _tried(path)["first picks"]
    assert result.verdict == "warning"
    assert "they are for a, b, c, but the watched folders have mic" in result.found


@pytest.mark.parametrize(
    ("names", "count", "says"), [("abc", 1, "3 particles in total"), ("ab", 200, "2 micrographs")]
)
def test_too_few_first_picks_are_a_fault(tmp_path: Path, names: str, count: int, says: str) -> None:
    result = _tried(_by_hand(tmp_path, names, count=count))["first picks"]
    assert result.verdict == "fault"
    assert says in result.found


def test_a_missing_bootstrap_is_a_fault(tmp_path: Path) -> None:
    """Both for a path of coordinates and of a model."""
    for kind in ("coordinates", "model"):
        path = _config(tmp_path, WEB + f"bootstrap: {{picks: {{{kind}: nowhere}}}}")
        result = _tried(path)["first picks"]
        assert result.verdict == "fault"
        assert str(tmp_path / "nowhere") in result.found


def test_a_bootstrap_model_is_verified_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged model is found before the session needs it."""
    bundle = Models(tmp_path / "models").ensure_blob(load_config(_config(tmp_path))).path
    path = _config(tmp_path, WEB + f"bootstrap: {{picks: {{model: {bundle}}}}}")
    assert "made for 150 Å" in _tried(path)["first picks"].found

    def refuse(function: Callable[[Config, Device], str], config: Config, device: Device) -> str:
        raise ModelError("onnxruntime does not accept it", "Take another.")

    monkeypatch.setattr(picking, "_in_a_worker", refuse)
    assert _tried(path)["first picks"].verdict == "fault"
    (bundle / "model.onnx").write_bytes(b"half")
    assert "is not the graph" in _tried(path)["first picks"].found


def test_the_general_model_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If its files are damaged, the service would pick with the blob picker."""
    path = _config(tmp_path, WEB + "bootstrap: {picks: general}")
    whole = publish_bundle(tmp_path / "package", kind="general", version=0)
    monkeypatch.setattr(picking, "SHIPPED", whole)
    assert "from the general model" in _tried(path)["first picks"].found

    (whole / "model.onnx").write_bytes(b"half")
    result = _tried(path)["first picks"]
    assert result.verdict == "fault"
    assert str(whole / "model.onnx") in result.found
    assert "Install livepick again" in result.remedy


def test_a_missing_ctf_file_is_a_fault(tmp_path):
    """Otherwise the classes would be made without it, and only the log would say so."""
    path = _config(tmp_path, WEB + "micrograph: {ctf: nowhere.star}")

    result = _tried(path)["defocus"]

    assert result.verdict == "fault"
    assert "nowhere.star" in result.found


def test_ctf_files_are_checked_only_if_configured(tmp_path):
    """Most sessions have no CTF files."""
    assert "defocus" not in _tried(_config(tmp_path, WEB))


def test_what_is_taken_and_left_out_is_listed(tmp_path: Path) -> None:
    """The check counts as the service does."""
    folder = tmp_path / "in"
    _micrograph(folder, 1.5)
    whole = (folder / "mic.mrc").read_bytes()
    for name in ("mic_ctf.mrc", "mic_intg.mrc", "a.MRC", "movie.mrcs", "#recycle/b.mrc"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(whole)
    with mrcfile.new(folder / "movie.mrcs", overwrite=True) as movie:
        movie.set_data(np.zeros((3, 8, 8), np.float32))
    (folder / "link.mrc").symlink_to(folder / "mic.mrc")
    (folder / "empty.mrc").touch()
    results = list(check_environment(load_config(_config(tmp_path, WEB))))
    taken = [one for one in results if one.name == "micrographs"]
    assert [one.found for one in taken] == [f"2 in {folder}"]
    left_out = {one.found: one for one in results if one.name == "left out"}
    for words, verdict in (
        ("files made from micrographs (power spectra or CTF fits): 1, such as mic_ctf.mrc", "ok"),
        ("links, which are not followed: 1, such as link.mrc", "warning"),
        ("files of 0 bytes: 1, such as empty.mrc", "warning"),
        ("stacks of several images (.mrcs): 1, such as movie.mrcs", "ok"),
    ):
        assert left_out[words].verdict == verdict
        assert left_out[words].remedy
    assert len(left_out) == 6


def test_a_preset_that_takes_nothing_is_a_warning(tmp_path: Path) -> None:
    _micrograph(tmp_path / "in", 1.5)
    text = _config(tmp_path, WEB).read_text().replace("[in]", "[in], preset: cryosparc")
    (tmp_path / "session.yaml").write_text(text)
    result = _tried(tmp_path / "session.yaml")["micrographs"]
    assert result.verdict == "warning"
    assert "none of the 1 images" in result.found


def test_micrographs_that_wait_for_another_file_are_a_warning_if_all_do(tmp_path: Path) -> None:
    """RELION writes NAME.star last; another program may write none."""
    _micrograph(tmp_path / "in", 1.5)
    text = _config(tmp_path, WEB).read_text().replace("[in]", "[in], preset: relion")
    (tmp_path / "session.yaml").write_text(text)
    result = _tried(tmp_path / "session.yaml")["micrographs"]
    assert result.verdict == "warning"
    assert result.found.startswith("1 of 1 wait until NAME.star is there")
    assert "plain" in result.remedy
    (tmp_path / "in" / "mic.star").touch()
    assert _tried(tmp_path / "session.yaml")["micrographs"].verdict == "ok"


def test_products_that_an_own_exclude_lets_in_are_a_warning(tmp_path: Path) -> None:
    _micrograph(tmp_path / "in", 1.5)
    (tmp_path / "in" / "mic.mrc").rename(tmp_path / "in" / "mic_ctf.mrc")
    text = _config(tmp_path, WEB).read_text().replace("[in]", '[in], exclude: ["*_bad.*"]')
    (tmp_path / "session.yaml").write_text(text)
    result = _tried(tmp_path / "session.yaml")["micrographs"]
    assert result.verdict == "warning"
    assert "mic_ctf.mrc" in result.found


def test_pixels_too_large_for_a_ctf_fit_are_told(tmp_path: Path) -> None:
    """It is not a fault: micrographs are picked all the same, without a defocus."""
    _micrograph(tmp_path / "in", 4.0)
    check = _tried(_config(tmp_path))["CTF fit"]
    assert check.verdict == "ok"
    assert check.found == (
        "none: pixels of 4 Å are too large for a CTF fit, which needs 3 Å or less"
    )
    assert "CTF fit" not in _tried(_config(tmp_path, "micrograph: {ctf: off}"))


def test_a_ctf_file_of_another_voltage_is_told(tmp_path: Path) -> None:
    """Where no file tells the voltage, nothing is known, and nothing is said."""
    _micrograph(tmp_path / "in", 1.5)
    assert not {"microscope", "CTF fit"} & _tried(_config(tmp_path)).keys()
    (tmp_path / "in" / "mic.txt").write_text(CTFFIND)
    check = _tried(_config(tmp_path))["microscope"]
    assert check.verdict == "warning"
    assert "microscope.voltage_kv is 300 kV, and the CTF file says 200 kV" in check.found
    right = "microscope: {voltage_kv: 200, spherical_aberration_mm: 1.4}"
    assert "microscope" not in _tried(_config(tmp_path, right))
