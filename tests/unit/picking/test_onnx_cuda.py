"""The CUDA path, without a GPU.

IO binding is run for real on the CPU provider. For CUDA, the classes of the installed onnxruntime
are used with the device exchanged, so that a wrong argument is refused as it would be on a GPU; the
names of the options are looked up in its CUDA library.
"""

import inspect
import mmap
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from factories import network_graph, publish_blob, publish_bundle
from livepick.config.engine_section import CudaSettings
from livepick.core.contracts.job import CPU, CUDA
from livepick.errors import ModelError
from livepick.models.general_model import SHIPPED
from livepick.picking import cuda_settings, onnx_cuda, onnx_session
from livepick.picking.onnx_cuda import BoundSession, cuda_options
from livepick.picking.onnx_session import graph_scores, load_model, score_map

REAL_SESSION = onnxruntime.InferenceSession

SHAPES = [(1, 1, 96, 96), (1, 1, 160, 112)]


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """Return a function that sets the settings of CUDA of this process, as in a worker."""
    monkeypatch.setattr(cuda_settings, "_in_use", [])

    def use(**settings):
        cuda_settings.use_cuda_settings(CudaSettings(**settings))
        return cuda_settings.cuda_settings()

    return use


@pytest.fixture(params=["network", "blob"])
def model(request, tmp_path):
    """Return a model on the CPU: one that takes a mask, and one that does not."""
    if request.param == "blob":
        return load_model(publish_blob(tmp_path), "cpu")
    return load_model(publish_bundle(tmp_path, network_graph()), "cpu")


class ClaimsCuda(onnxruntime.InferenceSession):
    """A session on the CPU that says it is on CUDA, and records how it was made and run."""

    made: list["ClaimsCuda"] = []  # noqa: RUF012 - reset by the fixture
    refused_options: set[str] = set()  # noqa: RUF012

    def __init__(
        self, path_or_bytes, sess_options=None, providers=None, provider_options=None, **kwargs
    ):
        (name, options), *_ = providers
        assert name == CUDA
        if self.refused_options & options.keys():
            raise RuntimeError("this session cannot use CUDA graphs")
        sess_options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")
        super().__init__(path_or_bytes, sess_options, [CPU], provider_options, **kwargs)
        self.cuda_options = options
        self.graph_ids = []
        self.spoil = lambda score: score
        ClaimsCuda.made.append(self)

    def get_providers(self):
        return [CUDA]

    def run(self, output_names, input_feed, run_options=None):
        self.graph_ids.append(("run", _graph_id(run_options)))
        return super().run(output_names, input_feed, run_options)

    def run_with_iobinding(self, iobinding, run_options=None):
        self.graph_ids.append(("bound", _graph_id(run_options)))
        super().run_with_iobinding(iobinding, run_options)


def _graph_id(options):
    return None if options is None else int(options.get_run_config_entry("gpu_graph_id"))


class OnCpu(onnxruntime.OrtValue):
    """Values for ``cuda``, in the memory of the CPU."""

    devices: list[str] = []  # noqa: RUF012 - reset by the fixture

    @classmethod
    def ortvalue_from_shape_and_type(  # noqa: PLR0917 - as in onnxruntime
        cls,
        shape,
        element_type,
        device_type="cpu",
        device_id=0,
        vendor_id=-1,
        memory_info=None,
    ):
        cls.devices.append(device_type)
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            shape, element_type, "cpu", device_id, vendor_id, memory_info
        )


@pytest.fixture
def cuda(monkeypatch, tmp_path):
    """Return a function that loads a model on CUDA, or what says so."""
    monkeypatch.setattr(ClaimsCuda, "made", [])
    monkeypatch.setattr(ClaimsCuda, "refused_options", set())
    monkeypatch.setattr(OnCpu, "devices", [])
    monkeypatch.setattr(
        onnx_session.onnxruntime,
        "InferenceSession",
        lambda *args, **named: (
            REAL_SESSION(*args, **named)
            if named["providers"] == [CPU]
            else ClaimsCuda(*args, **named)
        ),
    )
    stub = type("onnxruntime", (), {"OrtValue": OnCpu, "RunOptions": onnxruntime.RunOptions})
    monkeypatch.setattr(onnx_cuda, "onnxruntime", stub)
    bundle = publish_bundle(tmp_path / "cuda", network_graph())
    return lambda: load_model(bundle, "require-gpu")


@pytest.mark.parametrize(
    ("stub", "real", "name"),
    [
        (ClaimsCuda, onnxruntime.InferenceSession, "__init__"),
        (ClaimsCuda, onnxruntime.InferenceSession, "run"),
        (ClaimsCuda, onnxruntime.InferenceSession, "run_with_iobinding"),
        (OnCpu, onnxruntime.OrtValue, "ortvalue_from_shape_and_type"),
    ],
)
def test_the_stubs_take_what_onnxruntime_takes(stub, real, name):
    def parameters(owner):
        found = inspect.signature(getattr(owner, name)).parameters.values()
        return [(each.name, each.kind, each.default) for each in found]

    assert parameters(stub) == parameters(real)


def images(shape, count):
    noise = np.random.default_rng(7).standard_normal((count, *shape))
    return list(noise.astype(np.float32))


def inputs_of(model, image, number):
    mask = (np.indices(image.shape[2:]).sum(axis=0) < 40 * (number + 1)).astype(np.float32)
    return {"image": image, **({"mask": mask[None, None]} if model.takes_mask else {})}


def test_bound_runs_give_the_scores_of_ordinary_ones(model):
    """For several sizes in turn, with and without a mask, beyond the runs that are compared."""
    bound = BoundSession(model.session, CudaSettings(), "cpu")
    kept = []
    for number in range(onnx_cuda.CHECKED_RUNS + 3):
        for shape in SHAPES:
            inputs = inputs_of(model, images(shape, 10)[number], number)
            kept.append((bound.run(inputs), model.session.run(["score"], inputs)[0]))
    assert not bound.fault
    for score, expected in kept:  # also of those whose buffer has been used again since
        np.testing.assert_array_equal(score, expected)


def test_buffers_are_used_again(model, monkeypatch):
    """Each size has its own."""
    made = []
    real = onnx_cuda._device_array
    monkeypatch.setattr(onnx_cuda, "_device_array", lambda *args: made.append(args) or real(*args))
    bound = BoundSession(model.session, CudaSettings(), "cpu")
    for number in range(9):
        for shape in SHAPES:
            bound.run(inputs_of(model, images(shape, 10)[number], number))
    assert len(made) == len(SHAPES) * (3 if model.takes_mask else 2)


def test_many_sizes_do_not_fill_the_memory(model):
    bound = BoundSession(model.session, CudaSettings(), "cpu")
    for side in range(96, 96 + 16 * 30, 16):
        bound.run(inputs_of(model, images((1, 1, side, 96), 1)[0], 0))
    assert len(bound._buffers) == 2 * onnx_cuda.MOST_SHAPES


@pytest.mark.parametrize("run", range(onnx_cuda.CHECKED_RUNS))
@pytest.mark.parametrize("fault", ["stale", "nan", "error", "no words"])
def test_binding_that_does_not_work_is_switched_off(model, monkeypatch, caplog, run, fault):
    """No wrong score is used, whichever of the first runs shows the fault."""
    bound = BoundSession(model.session, CudaSettings(), "cpu")
    real, count = onnx_cuda._Buffers.run, iter(range(100))

    def broken(buffers, *args):
        score = real(buffers, *args)
        if next(count) < run:
            return score
        if fault == "error":
            raise RuntimeError("CUDA error 900\nmore")
        if fault == "no words":
            raise MemoryError
        return np.full_like(score, np.nan) if fault == "nan" else 1 - score

    monkeypatch.setattr(onnx_cuda._Buffers, "run", broken)
    for number, image in enumerate(images(SHAPES[0], 8)):
        inputs = inputs_of(model, image, number)
        np.testing.assert_array_equal(bound.run(inputs), model.session.run(["score"], inputs)[0])
    assert bound.fault
    assert caplog.text.count("io_binding: switched off") == 1


def test_the_options_exist_in_the_cuda_library():
    """Onnxruntime without a GPU does not look at them."""
    library = Path(onnxruntime.__file__).parent / "capi/libonnxruntime_providers_cuda.so"
    if not library.exists():
        pytest.skip("onnxruntime-gpu is not installed")
    options = cuda_options(CudaSettings(graphs=True))
    assert "enable_cuda_graph" in options
    words = {*options, "HEURISTIC", "EXHAUSTIVE", "kSameAsRequested"}
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        assert {word for word in words if content.find(word.encode()) < 0} == set()
    assert all(isinstance(value, str) for value in options.values())


def test_each_setting_has_its_option():
    base = cuda_options(CudaSettings())
    assert base["use_tf32"] == "1"
    assert base["cudnn_conv_algo_search"] == "HEURISTIC"
    assert "enable_cuda_graph" not in base
    changed = cuda_options(
        CudaSettings(graphs=True, full_precision=True, convolution_search="exhaustive")
    )
    assert changed["enable_cuda_graph"] == "1"
    assert changed["use_tf32"] == "0"
    assert changed["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    without_binding = cuda_options(CudaSettings(graphs=True, io_binding=False))
    assert "enable_cuda_graph" not in without_binding


def test_a_session_on_cuda_never_continues_on_the_cpu(cuda):
    """By default, onnxruntime repeats a run that fails on the CPU, and prints it."""
    model = cuda()
    assert model.provider == CUDA
    assert model.session._enable_fallback is False
    assert model.session.cuda_options["device_id"] == "0"


def test_on_cuda_all_buffers_are_on_the_gpu(cuda, settings):
    settings(io_binding=True)
    model = cuda()
    for image in images(SHAPES[0], 7):
        graph_scores(model, image)
    assert set(OnCpu.devices) == {"cuda"}
    assert model.session.graph_ids[-2:] == [("bound", None)] * 2  # no longer compared


def test_without_io_binding_runs_are_ordinary(cuda, settings):
    settings(io_binding=False, graphs=True)
    model = cuda()
    graph_scores(model, images(SHAPES[0], 1)[0])
    assert model.session.graph_ids == [("run", None)]
    assert model.bound is None


def test_each_size_has_a_graph_of_its_own_and_comparisons_have_none(cuda, settings):
    """A graph repeats the buffers that it was recorded with."""
    settings(graphs=True)
    model = cuda()
    for number in range(onnx_cuda.CHECKED_RUNS + 1):
        for shape in SHAPES:
            image = images(shape, 10)[number]
            (expected,) = REAL_SESSION.run(model.session, ["score"], {"image": image})
            np.testing.assert_array_equal(graph_scores(model, image), expected)
    runs = [run for run in model.session.graph_ids if run[1] is not None]
    assert {graph for kind, graph in runs if kind == "run"} == {-1}
    assert {graph for kind, graph in runs if kind == "bound"} == {1, 2}
    assert model.session.graph_ids[-2:] == [("bound", 1), ("bound", 2)]


def test_only_a_few_sizes_have_graphs(cuda, settings):
    """They keep their memory; other sizes are run without."""
    settings(graphs=True)
    model = cuda()
    for side in range(96, 96 + 16 * 12, 16):
        graph_scores(model, images((1, 1, side, 96), 1)[0])
    graphs = {graph for kind, graph in model.session.graph_ids if kind == "bound"}
    assert graphs == {-1, *range(1, onnx_cuda.MOST_SHAPES + 1)}
    assert len(model.bound._buffers) == 2 * onnx_cuda.MOST_SHAPES


def test_a_session_that_cannot_record_graphs_is_made_without(cuda, settings, caplog):
    settings(graphs=True)
    ClaimsCuda.refused_options.add("enable_cuda_graph")
    model = cuda()
    assert model.provider == CUDA
    assert "engine.cuda.graphs: switched off: this session cannot use CUDA graphs" in caplog.text
    graph_scores(model, images(SHAPES[0], 1)[0])
    assert {graph for _, graph in model.session.graph_ids} == {None}


def test_pinned_memory_is_locked_once_and_released(cuda, settings, monkeypatch):
    """The images pass through it."""
    calls = []

    class Runtime:
        def cudaHostRegister(self, address, size, flags):  # noqa: N802 - of CUDA
            calls.append(("lock", address.value, size.value))
            return 0

        def cudaHostUnregister(self, address):  # noqa: N802 - of CUDA
            calls.append(("release", address.value))

    monkeypatch.setattr(onnx_cuda.ctypes, "CDLL", lambda name: Runtime())
    settings(pinned=True)
    model = cuda()
    for image in images(SHAPES[0], 7):
        (expected,) = REAL_SESSION.run(model.session, ["score"], {"image": image})
        np.testing.assert_array_equal(graph_scores(model, image), expected)
    ((word, address, size),) = calls
    assert (word, size) == ("lock", 4 * 96 * 96)
    model.bound._buffers.clear()
    assert calls[1:] == [("release", address)]


@pytest.mark.parametrize("status", [None, 2])
def test_memory_that_cannot_be_locked_is_used_as_it_is(cuda, settings, monkeypatch, caplog, status):
    def load(name):
        if status is None:
            raise OSError(name)
        return type("Runtime", (), {"cudaHostRegister": lambda *_: status})()

    monkeypatch.setattr(onnx_cuda.ctypes, "CDLL", load)
    settings(pinned=True)
    assert graph_scores(cuda(), images(SHAPES[0], 1)[0]).shape == SHAPES[0]
    assert "engine.cuda.pinned: without effect" in caplog.text


def test_a_gpu_that_fails_later_is_an_error_of_the_model(cuda, monkeypatch):
    """The pool then tries another GPU; scores never come from the CPU unnoticed."""
    model = cuda()
    for image in images(SHAPES[0], 6):
        graph_scores(model, image)

    def lost(*_):
        raise RuntimeError("CUDA failure 999: unknown error ; GPU=0")

    monkeypatch.setattr(ClaimsCuda, "run_with_iobinding", lost)
    with pytest.raises(ModelError, match=r"could not run model 1 on CUDA.*CUDA failure 999"):
        graph_scores(model, images(SHAPES[0], 1)[0])


@pytest.mark.parametrize("size", [1025, 1200, 1500, 1920, 1921, 2816, 4000, 8184])
def test_all_tiles_have_one_size_and_cover_the_image(size):
    """Each has a border whose scores are discarded, except at the edge of the image."""
    tiles = list(onnx_session._tiles(size))
    padded = size + -size % onnx_session.MULTIPLE_PX
    (tile,) = {min(outer.stop + padded - size, padded) - outer.start for outer, _ in tiles[-1:]} | {
        outer.stop - outer.start for outer, _ in tiles[:-1]
    }
    assert tile <= onnx_session.TILE_PX
    assert all(outer.start % onnx_session.MULTIPLE_PX == 0 for outer, _ in tiles)
    assert (tiles[0][1].start, tiles[-1][1].stop) == (0, size)
    for (_, before), (_, after) in pairwise(tiles):
        assert before.stop == after.start
    for outer, inner in tiles:
        assert outer.start == 0 or inner.start - outer.start >= onnx_session.OVERLAP_PX
        assert outer.stop == size or outer.stop - inner.stop >= onnx_session.OVERLAP_PX


def test_a_network_gives_the_same_scores_in_tiles(monkeypatch):
    """It halves the image, so tiles must begin where it does."""
    model = load_model(SHIPPED, "cpu")
    image = np.random.default_rng(3).standard_normal((611, 245)).astype(np.float32)
    whole = score_map(model, image)
    monkeypatch.setattr(onnx_session, "TILE_PX", 256)
    np.testing.assert_allclose(score_map(model, image), whole, atol=1e-5)


def test_a_large_image_has_one_set_of_buffers(cuda):
    model = cuda()
    score_map(model, np.zeros((1500, 1100), dtype=np.float32))
    assert len(model.bound._buffers) == 1
