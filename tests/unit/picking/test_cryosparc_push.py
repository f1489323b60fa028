"""Picks sent to CryoSPARC: a substitute for the server, with the shapes that its library documents.

Nothing here has seen a server. The fields are those that ``alloc_output`` of cryosparc-tools 5.0
documents, and that exposures have after motion correction.
"""

import builtins
import contextlib
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.imaging.picks import Picks
from livepick.errors import LivepickError
from livepick.picking import cryosparc_push
from livepick.picking.cryosparc_push import Pushed, connect, push

FIELDS = {
    "location/micrograph_uid": np.dtype("<u8"),
    "location/exp_group_id": np.dtype("<u4"),
    "location/micrograph_path": np.dtype("O"),
    "location/micrograph_shape": np.dtype(("<u4", (2,))),
    "location/micrograph_psize_A": np.dtype("<f4"),
    "location/center_x_frac": np.dtype("<f4"),
    "location/center_y_frac": np.dtype("<f4"),
    "location/min_dist_A": np.dtype("<f4"),
    "pick_stats/ncc_score": np.dtype("<f4"),
    "pick_stats/power": np.dtype("<f4"),
}


class Dataset(dict):
    """A mapping of columns that keeps their types, and refuses another length."""

    def __setitem__(self, name, values):
        self[name][...] = np.asarray(values).reshape(self[name].shape)


def exposures(**changes):
    """Return two micrographs, as a job after motion correction has them."""
    columns = {
        "uid": np.array([5001, 5002], "<u8"),
        "micrograph_blob/path": np.array(
            [
                "J2/motioncorrected/000000000000000005001_b_patch_aligned_doseweighted.mrc",
                "J2/motioncorrected/000000000000000005002_a_patch_aligned_doseweighted.mrc",
            ],
            dtype=object,
        ),
        "micrograph_blob/shape": np.array([[400, 300], [400, 300]], "<u4"),
        "micrograph_blob/psize_A": np.array([1.5, 1.5], "<f4"),
        "mscope_params/exp_group_id": np.array([7, 8], "<u4"),
    } | changes
    return {name: column for name, column in columns.items() if column is not None}


class Server:
    """A project, a job with exposures, and an External job, in one; it records what is done."""

    uid = "J17"

    def __init__(self, known=None, *, refuses=""):
        self.known = exposures() if known is None else known
        self.refuses = refuses
        self.steps = []
        self.saved = None

    def _step(self, *step):
        if self.refuses == step[0]:
            raise ValueError(f"no {step[0]} today")
        self.steps.append(step)

    def find_project(self, project):
        self._step("find_project", project)
        return self

    def find_job(self, job):
        self._step("find_job", job)
        return self

    def load_output(self, name):
        self._step("load_output", name)
        return self.known

    def create_external_job(self, workspace, title):
        self._step("create_external_job", workspace, title)
        return self

    def connect(self, target, job, output, slots):
        self._step("connect", target, job, output, slots)

    def add_output(self, kind, name, slots, alloc):
        self._step("add_output", kind, name, slots, alloc)
        columns = {key: np.zeros((alloc, *d.shape), d.base) for key, d in FIELDS.items()}
        return Dataset(columns, uid=np.arange(alloc, dtype="<u8"))

    @contextlib.contextmanager
    def run(self):
        self._step("start")
        yield
        self._step("stop")

    def save_output(self, name, dataset):
        self._step("save_output", name)
        self.saved = dataset


def micrograph(name, *xy, folder="/data/J2/motioncorrected"):
    x, y = np.array(xy or [(0, 0)], dtype=np.float32)[: len(xy)].T
    score = np.linspace(0.9, 0.5, len(x), dtype=np.float32)
    return PickedMicrograph(Path(folder, name), Picks(x, y, score), (400, 300), 1.5, 150.0)


A = "000000000000000005002_a_patch_aligned_doseweighted.mrc"
B = "000000000000000005001_b_patch_aligned_doseweighted.mrc"


def send(server, *picked, source="J2"):
    return push(
        server,
        picked,
        project="P3",
        workspace="W1",
        exposures=source,
        min_distance_angstrom=90.0,
    )


def test_an_external_job_has_the_picks_with_the_numbers_of_cryosparc():
    server = Server()
    pushed = send(server, micrograph(A, (30, 100), (299, 0)), micrograph(B, (150, 200)))

    assert pushed == Pushed("J17", particles=3, micrographs=2, missing=())
    assert server.steps == [
        ("find_project", "P3"),
        ("find_job", "J2"),
        ("load_output", "exposures"),
        ("create_external_job", "W1", "livepick picks"),
        ("connect", "exposures", "J2", "exposures", ["micrograph_blob"]),
        ("add_output", "particle", "particles", ["location", "pick_stats"], 3),
        ("start",),
        ("save_output", "particles"),
        ("stop",),
    ]
    saved = server.saved
    order = np.argsort(saved["location/center_x_frac"])
    uids = saved["location/micrograph_uid"][order]
    assert uids.tolist() == [5002, 5001, 5002]
    assert saved["location/exp_group_id"][order].tolist() == [8, 7, 8]
    assert saved["location/micrograph_path"][order].tolist() == [
        f"J2/motioncorrected/{name}" for name in (A, B, A)
    ]
    assert saved["location/micrograph_shape"].tolist() == [[400, 300]] * 3
    np.testing.assert_allclose(saved["location/micrograph_psize_A"], 1.5)
    np.testing.assert_allclose(saved["location/center_x_frac"][order], [0.1, 0.5, 299 / 300])
    np.testing.assert_allclose(saved["location/center_y_frac"][order], [0.25, 0.5, 0.0])
    np.testing.assert_allclose(saved["location/min_dist_A"], 90.0)
    np.testing.assert_allclose(saved["pick_stats/ncc_score"][order], [0.9, 0.9, 0.5])


def test_rows_of_a_tiff_are_not_turned_over():
    """CryoSPARC does not turn them, and its micrograph is the same file."""
    path = np.array(["J1/imported/000000000000000005001_b.tif"], dtype=object)
    server = Server({name: column[:1] for name, column in exposures().items()})
    server.known["micrograph_blob/path"] = path
    send(server, micrograph("000000000000000005001_b.tif", (30, 100), folder="/data/J1/imported"))
    np.testing.assert_allclose(server.saved["location/center_y_frac"], [0.25])


def test_an_output_of_the_job_can_be_named():
    server = Server()
    send(server, micrograph(A, (1, 1)), source="J5.exposures_accepted")
    assert ("find_job", "J5") in server.steps
    assert ("load_output", "exposures_accepted") in server.steps
    assert ("connect", "exposures", "J5", "exposures_accepted", ["micrograph_blob"]) in server.steps


def test_micrographs_are_matched_by_their_plain_names():
    """The service watched another copy, without the number and the endings of CryoSPARC."""
    server = Server()
    pushed = send(server, micrograph("a.mrc", (1, 1), folder="/in"))
    assert (pushed.micrographs, pushed.missing) == (1, ())
    assert server.saved["location/micrograph_uid"].tolist() == [5002]


def test_micrographs_that_are_not_there_are_named():
    pushed = send(Server(), micrograph(A, (1, 1)), micrograph("c.mrc", (1, 1), folder="/in"))
    assert (pushed.particles, pushed.missing) == (1, ("/in/c",))


def test_a_micrograph_without_picks_adds_none():
    pushed = send(Server(), micrograph(A), micrograph(B, (1, 1)))
    assert (pushed.particles, pushed.micrographs) == (1, 2)


def test_particles_of_exposures_without_a_group_have_group_0():
    server = Server(exposures(**{"mscope_params/exp_group_id": None}))
    send(server, micrograph(A, (1, 1)))
    assert server.saved["location/exp_group_id"].tolist() == [0]


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        (exposures(**{"micrograph_blob/path": None}), "J2 have no motion-corrected micrographs"),
        (
            exposures(**{"micrograph_blob/path": np.array(["J2/x.mrc", "J2/y.mrc"], dtype=object)}),
            "none of 1 picked micrographs is among the 2 exposures J2",
        ),
    ],
)
def test_exposures_that_do_not_fit_leave_no_job_behind(known, sentence):
    server = Server(known)
    with pytest.raises(LivepickError, match=sentence):
        send(server, micrograph(A, (1, 1)))
    assert "create_external_job" not in [step[0] for step in server.steps]


@pytest.mark.parametrize("step", ["find_project", "load_output", "connect", "save_output"])
def test_a_step_that_the_server_refuses_is_an_error_with_a_remedy(step):
    with pytest.raises(LivepickError) as caught:
        send(Server(refuses=step), micrograph(A, (1, 1)))
    assert caught.value.what == f"CryoSPARC refused: no {step} today"
    assert "P3, W1" in caught.value.remedy


@pytest.fixture
def library(monkeypatch):
    """Return the arguments of the connections to a substitute for cryosparc-tools."""
    connections = []
    tools = ModuleType("cryosparc.tools")
    tools.CryoSPARC = lambda **kwargs: connections.append(kwargs) or "server"
    monkeypatch.setitem(sys.modules, "cryosparc", ModuleType("cryosparc"))
    monkeypatch.setitem(sys.modules, "cryosparc.tools", tools)
    monkeypatch.delenv("CRYOSPARC_LICENSE_ID", raising=False)
    monkeypatch.delenv("CRYOSPARC_EMAIL", raising=False)
    return connections


def test_server_and_login_are_those_of_the_environment(library, monkeypatch):
    """The library reads most of it itself; the licence is for a server without accounts."""
    assert connect() == "server"
    monkeypatch.setenv("CRYOSPARC_LICENSE_ID", "secret")
    connect()
    monkeypatch.setenv("CRYOSPARC_EMAIL", "ali@example.com")
    connect()
    assert library == [{}, {"license": "secret"}, {}]


def test_a_server_that_does_not_answer_is_an_error_with_a_remedy(library, monkeypatch):
    def refuse():
        warnings.warn("attempt 1/3", stacklevel=1)
        raise RuntimeError("Could not connect:\nrefused\n\nSee our documentation")

    monkeypatch.setattr(sys.modules["cryosparc.tools"], "CryoSPARC", refuse)
    with warnings.catch_warnings(action="error"), pytest.raises(LivepickError) as caught:
        connect()
    assert caught.value.what == "CryoSPARC cannot be reached: Could not connect: refused"


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("cryosparc"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LivepickError, match="cryosparc-tools is not installed") as caught:
        connect()
    assert "pip install" in caught.value.remedy
    assert cryosparc_push.connect is connect
