"""``livepick worker``: what is refused before anything is started, with words and exit status."""

import importlib.util

import pytest

pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

from livepick import cli
from livepick.core.contracts.job import CPU
from livepick.picking.cluster import worker_checks, worker_program

LOCAL = ("--scheduler", "tcp://127.0.0.1:8786")


@pytest.fixture
def joined(monkeypatch):
    """Return the workers that would have joined; the model is not run."""
    joined = []
    monkeypatch.setattr(worker_checks, "find_provider", lambda device, devices: CPU)
    monkeypatch.setattr(
        worker_program, "run_worker_program", lambda *arguments: joined.append(arguments)
    )
    return joined


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "it is not said where the scheduler is"),
        ((*LOCAL, "--scheduler-file", "/s.json"), "--scheduler and --scheduler-file are both"),
        (("--scheduler", "head"), "the address of the scheduler is 'head'"),
        (("--scheduler", "tcp://head:8786"), "tcp://head:8786 is not encrypted"),
        (("--scheduler", "tls://head:8786"), "no TLS files are given"),
        ((*LOCAL, "--tls-ca", "/ca.pem"), "only some are given"),
        (
            (*LOCAL, "--tls-ca", "/ca", "--tls-certificate", "/c", "--tls-key", "/k"),
            "the TLS file /ca cannot be read",
        ),
        ((*LOCAL, "--devices", "a,b"), "--devices is 'a,b'"),
        ((*LOCAL, "--device", "cpu", "--devices", "0"), "--device is cpu"),
        ((*LOCAL, "--device", "cpu", "--workers", "100000"), "100000 workers need 100000 cores"),
        ((*LOCAL, "--cuda", "graphs"), "--cuda graphs cannot be used"),
        ((*LOCAL, "--cuda", "graph=true"), "--cuda graph=true cannot be used"),
        ((*LOCAL, "--cuda", "in_flight=0"), "--cuda in_flight=0 cannot be used"),
        ((*LOCAL, "--device", "cpu", "--cuda", "graphs=true"), "--cuda is of GPUs"),
        ((*LOCAL, "--port", "70000"), "--port is '70000'"),
        ((*LOCAL, "--port", "40010:40000"), "--port is '40010:40000'"),
    ],
)
def test_a_wrong_option_is_named_and_systemd_does_not_try_again(joined, capsys, options, words):
    assert cli.main(["worker", *options]) == 78
    assert words in capsys.readouterr().err
    assert joined == []


def test_a_folder_that_is_not_mounted_yet_is_tried_again(joined, capsys, tmp_path):
    mount = ("--mount", str(tmp_path / "away"))
    assert cli.main(["worker", *LOCAL, "--device", "cpu", "--workers", "1", *mount]) == 1
    assert "away cannot be read" in capsys.readouterr().err
    assert joined == []


def test_a_trainer_that_is_not_installed_is_named(joined, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )
    assert cli.main(["worker", *LOCAL, "--device", "cpu", "--workers", "1", "--heavy"]) == 78
    assert "--heavy offers trainings, and here is not installed: torch" in capsys.readouterr().err


def test_without_dask_it_says_what_to_install(joined, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "distributed" else found(name)
    )
    assert cli.main(["worker", *LOCAL]) == 78
    assert "Dask distributed is not installed here" in capsys.readouterr().err


def test_settings_of_cuda_hold_for_the_gpus_of_the_worker(joined):
    settings = ("--cuda", "graphs=true", "--cuda", "convolution_search=exhaustive")
    assert cli.main(["worker", *LOCAL, *settings]) == 0
    ((offer, _, _),) = joined
    assert (offer.cuda.graphs, offer.cuda.convolution_search) == (True, "exhaustive")
    assert (offer.cuda.pinned, offer.workers) == (False, 1)


def test_it_says_what_it_found_and_offers(joined, capsys, tmp_path):
    options = ("--device", "cpu", "--workers", "1", "--mount", str(tmp_path), "--heavy")
    join = ("--lifetime", "23.5h", "--lifetime-stagger", "10m", "--port", "40000:40099")
    assert cli.main(["worker", *LOCAL, *options, *join, "--name", "gpu7"]) == 0
    text = capsys.readouterr().out
    assert "offers     1 micrograph at a time, and one heavy job" in text
    assert "scheduler  tcp://127.0.0.1:8786" in text
    ((offer, joining, heavy_work),) = joined
    assert (offer.workers, offer.provider, offer.folders) == (1, CPU, (tmp_path,))
    assert (joining.lifetime_seconds, joining.stagger_seconds) == (23.5 * 3600, 600)
    assert (joining.name, joining.port, joining.insecure) == ("gpu7", "40000:40099", False)
    assert heavy_work is not None
