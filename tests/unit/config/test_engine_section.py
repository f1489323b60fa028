"""The section ``engine``: accepted settings, and the errors of the others."""

from pathlib import Path

import pytest

from livepick.config.schema import WrittenConfig
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"


def load(folder: Path, text: str) -> WrittenConfig:
    path = folder / "session.yaml"
    path.write_text(f"{EXAMPLE.read_text()}\n{text}\n")
    return load_config(path)


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ("{workers: many}", "engine.workers .* must be auto or a whole number between 1 and 256"),
        ("{devices: [0, 0]}", "engine.devices lists 0 twice"),
        ("{devices: [-1]}", r"engine.devices lists -1; .*nvidia-smi"),
        ("{kind: dask}", "one of engine.scheduler and engine.scheduler_file, and neither is given"),
        ("{kind: dask, scheduler: 'tcp://localhost:1', scheduler_file: x}", "and both are given"),
        ("{kind: dask, scheduler: 'a.b:8786'}", "must be tls://HOST:PORT or tcp://HOST:PORT"),
        ("{kind: dask, scheduler: 'tcp://a.b:99999'}", "must be tls://HOST:PORT or tcp://HOST"),
        ("{kind: dask, scheduler: 'tcp://a.b:1'}", "without TLS, .*engine.insecure: true"),
        ("{kind: dask, scheduler: 'tls://a.b:1'}", "engine.tls is missing; give {ca: PATH"),
        (
            "{kind: dask, scheduler: 'tcp://a.b:1', tls: {ca: a, certificate: b, key: c}}",
            "engine.tls is given; write tls://",
        ),
        ("{kind: dask, scheduler: 'tls://a.b:1', tls: {ca: a}}", "engine.tls.key is missing"),
        ("{kind: dask, scheduler_file: x, workers: 3}", "livepick worker .--workers"),
        ("{kind: dask, scheduler_file: x, devices: [1]}", "livepick worker .--devices"),
        (
            "{kind: dask, scheduler_file: x, cuda: {graphs: true}}",
            "engine.cuda is given, which is of",
        ),
        ("{cuda: {in_flight: 0}}", "engine.cuda.in_flight .* between 1 and 16"),
        ("{scheduler: 'tcp://localhost:1'}", "set engine.kind: dask, or remove it"),
        ("{heavy: cluster}", "engine.heavy: cluster is given, which is of a Dask cluster"),
    ],
)
def test_contradictions_are_refused_with_a_remedy(tmp_path: Path, engine: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(tmp_path, f"engine: {engine}")


@pytest.mark.parametrize(
    "engine",
    [
        "{kind: dask, scheduler: 'tls://a.b:8786', tls: {ca: a, certificate: b, key: c}}",
        "{kind: dask, scheduler: 'tcp://[::1]:8786'}",
        "{kind: dask, scheduler: 'tcp://10.0.0.7:8786', insecure: true}",
        "{kind: dask, scheduler_file: shared/scheduler.json, heavy: cluster}",
        "{workers: 2, devices: [0, 3]}",
    ],
)
def test_what_fits_together_is_accepted(tmp_path: Path, engine: str) -> None:
    load(tmp_path, f"engine: {engine}")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    engine = load(tmp_path, "engine: {kind: dask, scheduler_file: shared/scheduler.json}").engine
    assert engine.scheduler_file == tmp_path / "shared" / "scheduler.json"


@pytest.mark.parametrize(
    ("sections", "workers"),
    [
        ("", None),
        ("picking: {workers: 3}", 3),
        ("engine: {workers: 2}", 2),
        ("picking: {workers: 2}\nengine: {workers: 2}", 2),
    ],
)
def test_the_number_of_workers_has_two_names(
    tmp_path: Path, sections: str, workers: int | None
) -> None:
    assert load(tmp_path, sections).workers == workers


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            "picking: {workers: 3}\nengine: {workers: 2}",
            "engine.workers is 2 and picking.workers is 3",
        ),
        ("picking: {device: cpu}\nengine: {devices: [1]}", "picking.device is cpu, which uses no"),
        (
            "picking: {workers: 3}\nengine: {kind: dask, scheduler_file: x}",
            "picking.workers is 3, which is of this machine",
        ),
    ],
)
def test_two_sections_that_contradict_each_other_are_refused(
    tmp_path: Path, sections: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        load(tmp_path, sections)
