"""The readers of foreign files, each with valid files and the errors that it may raise."""

import bz2
import functools
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import tifffile
from ctf_texts import CTFFIND, MICROGRAPHS, OPTICS, WARP
from picked_micrographs import cs_file, picked

from factories import make_card, make_settings
from livepick.config.last_known_good import read_config_copy, read_settings
from livepick.config.yaml_edit import EditableConfig, set_key
from livepick.config.yaml_loader import load_config, parse_config
from livepick.core.contracts.bundle import CARD, publish, read_card, sha256
from livepick.core.contracts.held_out_labels import HELD_OUT, HeldOutLabels
from livepick.core.contracts.progress import PROGRESS, Progress, ProgressReader
from livepick.core.contracts.run import RUN, RunSpec
from livepick.core.contracts.training_report import (
    REPORT,
    read_classes,
    read_epochs,
    read_figures,
    read_findings,
)
from livepick.core.formats.coordinates import read_all_positions, read_coordinates
from livepick.core.formats.cryolo_cbox import write_cbox
from livepick.core.formats.csv_coordinates import write_csv
from livepick.core.formats.ctf_files import find_ctfs
from livepick.core.formats.eman_box import write_box
from livepick.core.formats.eman_json import write_info
from livepick.core.formats.micrograph import read_header, read_micrograph
from livepick.core.formats.relion_star import coordinates_star, particles_star
from livepick.core.formats.topaz import write_topaz
from livepick.errors import (
    ConfigError,
    CoordinatesError,
    MicrographError,
    ModelError,
    TrainerError,
)
from livepick.models.promotions import PROMOTIONS_FILE, Promotion, append_promotion, read_promotions
from livepick.monitoring.headline import Headline
from livepick.picking.cryosparc_files import known_exposures
from livepick.picking.relion_job import read_list
from livepick.picking.relion_project import RelionProject
from livepick.retraining.run_store import WAITING, Waiting, read_waiting
from livepick.web.address_file import AddressFile


@dataclass(frozen=True)
class Reader:
    """A reader of one kind of file."""

    name: str
    """Name of the file that it reads."""
    read: Callable[[Path], object]
    """Function that reads the file at a path."""
    seeds: Callable[[], list[bytes]]
    """Function that returns valid files."""
    errors: tuple[type[Exception], ...] = ()
    """Errors that it may raise."""


PICKED = picked(*[(10 + i, 200 - 3 * i, 0.5 + i / 100) for i in range(5)])


def _beside(path: Path) -> None:
    """Read a CTF file beside a micrograph."""
    find_ctfs(None, [path.with_suffix(".mrc"), path.with_name("other.mrc")])


def _ctf_list(path: Path) -> None:
    find_ctfs(path, [path.with_name("mic_1.mrc"), path.parent / "A" / "mic_2.mrc"])


def _exposures() -> list[bytes]:
    table = np.array(
        [(7, b"S1/import/a.mrc"), (8, b"S1/import/b.mrc")],
        dtype=[("uid", "<u8"), ("micrograph_blob/path", "S40")],
    )
    data = io.BytesIO()
    np.save(data, table)
    return [data.getvalue()]


def _picks_read(path: Path) -> None:
    for positions in read_all_positions(path).values():
        positions.picks(pixel_size_angstrom=1.0, shape_px=(100, 100))
    read_coordinates(path)


def _read_micrograph(path: Path) -> None:
    read_header(path)
    size_angstrom = 1.5 if path.suffix == ".tif" else None  # a TIFF has none
    read_micrograph(path, pixel_size_angstrom=size_angstrom)


def _config_texts() -> list[bytes]:
    full = Path(__file__).parents[2] / "config.example.yaml"
    small = json.dumps(make_settings(Path("/data")), indent=1)
    anchors = b"a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}, e: ~}\n? f\n: |\n  text\n"
    return [full.read_bytes(), small.encode(), anchors]


def _edited(path: Path) -> None:
    config = EditableConfig.read(path)
    parse_config(config.text, path)
    set_key(config.text, path, "training.generation", 3)


def _settings(path: Path) -> None:
    read_settings(path)
    read_config_copy(path.parent)


def _report(path: Path) -> None:
    bundle = path.parent
    read_figures(bundle)
    read_findings(bundle)
    read_epochs(bundle)
    read_classes(bundle)


def _report_seeds() -> list[bytes]:
    report = {
        "figures": {"average_precision": 0.9, "best_f1": None, "precision_at_count": 0.5},
        "micrographs": ["a.mrc"],
        "seeds": {"from": "blob"},
        "findings": [{"kind": "x", "is_fault": True, "evidence": "e", "remedy": "r"}],
        "epochs": [{"training_loss": 1.0, "validation_loss": 1.0, "training_accuracy": 0.5}],
        "classes": {
            "classes": [{"particles": 3, "accepted": True, "reason": "x", "overruled": False}]
        },
    }
    return [json.dumps(report).encode()]


def _card_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        graph = b"graph"
        bundle = publish(
            Path(folder), make_card(graph, graph_sha256=sha256(graph)), {"model.onnx": graph}
        )
        return [(bundle / CARD).read_bytes()]


def _promotion_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        for version in (1, 2):
            append_promotion(
                Path(folder),
                Promotion(version=version, at=1.0, by="operator", why="x", fingerprint="f"),
            )
        return [(Path(folder) / PROMOTIONS_FILE).read_bytes()]


def _run_seeds() -> list[bytes]:
    run = {
        "version": 1,
        "parent": 0,
        "fingerprint": "f",
        "particle_fingerprint": "p",
        "models_directory": "/m",
        "particle": {"diameter_angstrom": 150.0},
        "training": {},
        "seed_threshold": 0.5,
        "micrographs": [
            {
                "path": "/m/a.mrc",
                "pixel_size_angstrom": 1.0,
                "held_out": False,
                "seeds": [[1.0, 2.0, 0.5]],
                "ctf": None,
            }
        ],
    }
    return [json.dumps(run).encode()]


def _labels_seeds() -> list[bytes]:
    labels = {
        "by": "person",
        "radius_angstrom": 50.0,
        "micrographs": [
            {
                "path": "/m/a.mrc",
                "pixel_size_angstrom": 1.0,
                "particles": [[1.0, 2.0]],
                "doubtful": [],
            }
        ],
    }
    return [json.dumps(labels).encode()]


def _headline_seeds() -> list[bytes]:
    return [Headline("good", "Picking.", "", "", (), kind=None).as_json()]


@functools.cache
def mrc_files() -> list[bytes]:
    """Return MRC files of all modes, some of them compressed, of the other byte order, or odd."""
    image = np.random.default_rng(0).normal(50, 20, (12, 16))
    files = []
    for kind in ("int8", "int16", "float32", "uint16", "float16"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.mrc"
            with mrcfile.new(path, image.astype(kind)) as mrc:
                mrc.voxel_size = 1.5
            files.append(path.read_bytes())
    big = bytearray(files[2])
    for at in range(0, 1024, 4):
        if at not in (208, 212) and not at >= 224:
            big[at : at + 4] = big[at : at + 4][::-1]
    big[212:216] = b"\x11\x11\0\0"
    big[1024:] = np.frombuffer(bytes(big[1024:]), "<f4").astype(">f4").tobytes()
    extended = bytearray(files[2])
    extended[92:96] = (160).to_bytes(4, "little")
    extended = extended[:1024] + bytes(160) + extended[1024:]
    return [
        *files,
        bytes(big),
        bytes(extended),
        gzip.compress(files[2]),
        bz2.compress(files[1]),
    ]


@functools.cache
def tiff_files() -> list[bytes]:
    """Return TIFF files of several types, byte orders and layouts."""
    image = np.random.default_rng(0).normal(50, 20, (12, 16))
    files = []
    for kind, options in (
        ("uint8", {}),
        ("int16", {"byteorder": ">"}),
        ("uint16", {"rowsperstrip": 3}),
        ("float32", {"bigtiff": True}),
        ("uint8", {"compression": "zlib"}),
        ("uint16", {"compression": "zlib", "predictor": True}),
        ("float32", {"tile": (16, 16)}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, image.astype(kind), **options)
        files.append(file.getvalue())
    return files


COORDINATES = (CoordinatesError,)

READERS = [
    Reader("mic_1.mrc", _read_micrograph, mrc_files, (MicrographError,)),
    Reader("mic_1.mrc.gz", _read_micrograph, mrc_files, (MicrographError,)),
    Reader("mic_1.tif", _read_micrograph, tiff_files, (MicrographError,)),
    Reader(
        "a_autopick.star",
        _picks_read,
        lambda: [coordinates_star(PICKED), particles_star(PICKED, turned=False)],
        COORDINATES,
    ),
    Reader("a.csv", _picks_read, lambda: [write_csv(PICKED)], COORDINATES),
    Reader("a.box", _picks_read, lambda: [write_box(PICKED)], COORDINATES),
    Reader("a.cbox", _picks_read, lambda: [write_cbox(PICKED)], COORDINATES),
    Reader("a_info.json", _picks_read, lambda: [write_info(PICKED)], COORDINATES),
    Reader("a.txt", _picks_read, lambda: [write_topaz(PICKED)], COORDINATES),
    Reader("picks.cs", _picks_read, lambda: [cs_file(PICKED)], COORDINATES),
    Reader("exposures.cs", known_exposures, _exposures, (ConfigError,)),
    Reader("mic_1.txt", _beside, lambda: [CTFFIND.encode()]),
    Reader(
        "mic_1.xml",
        _beside,
        lambda: [WARP.encode("utf-16"), WARP.replace("utf-16", "utf-8").encode()],
    ),
    Reader("micrographs_ctf.star", _ctf_list, lambda: [(OPTICS + MICROGRAPHS).encode()]),
    Reader(
        "micrographs.star",
        lambda path: read_list(path.parent, path.name),
        lambda: [(OPTICS + MICROGRAPHS).encode()],
        (ConfigError,),
    ),
    Reader(
        "corrected_micrographs.star",
        lambda path: RelionProject(path.parent, Path("External/x"), path).read_names(),
        lambda: [(OPTICS + MICROGRAPHS).encode()],
        (ConfigError,),
    ),
    Reader("session.yaml", load_config, _config_texts, (ConfigError,)),
    Reader("edited.yaml", _edited, _config_texts, (ConfigError,)),
    Reader("config.yaml", _settings, _config_texts, (ConfigError,)),
    Reader(CARD, lambda path: read_card(path.parent), _card_seeds, (ModelError,)),
    Reader(
        PROMOTIONS_FILE, lambda path: read_promotions(path.parent), _promotion_seeds, (ModelError,)
    ),
    Reader(RUN, lambda path: RunSpec.read(path.parent), _run_seeds, (TrainerError,)),
    Reader(HELD_OUT, lambda path: HeldOutLabels.read(path.parent), _labels_seeds, (ModelError,)),
    Reader(
        PROGRESS,
        lambda path: ProgressReader(path.parent).new(),
        lambda: [Progress(at=1.0, stage="train").model_dump_json().encode() + b"\n"] * 2,
    ),
    Reader(REPORT, _report, _report_seeds),
    Reader(
        WAITING,
        lambda path: read_waiting(path.parent),
        lambda: [Waiting(fingerprint="f", sentence="s", trouble=True).model_dump_json().encode()],
    ),
    Reader(
        "headline.json",
        lambda path: Headline.of_json(path.read_bytes()),
        _headline_seeds,
        (ValueError,),
    ),
    Reader("web.address", lambda path: AddressFile(path.parent).read(), lambda: [b"h:80\n"]),
]
