"""The model bundle: a folder that appears by one rename, is complete, and never changes.

``models/NNNN/`` holds ``model.onnx``, ``model.json`` (the card) and, for a trained model,
``weights.npz``, ``report.json`` and pictures. The trainer publishes it and the daemon reads it;
neither needs anything else from the other.
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from livepick.config.sections import Contrast
from livepick.errors import ModelError
from livepick.host.atomic_files import fsync_folder, write_synced
from livepick.host.foreign_files import parse_json, read_bounded

__all__ = [
    "CARD",
    "FORMAT",
    "GRAPH",
    "MOST_GRAPH_BYTES",
    "MOST_WEIGHTS_BYTES",
    "PROVISIONAL_KINDS",
    "WEIGHTS",
    "Kind",
    "ModelCard",
    "bundle_name",
    "is_provisional",
    "numbered_folders",
    "publish",
    "read_card",
    "sha256",
]

FORMAT = 1
"""Format number; increased when the meaning of a card or the input of a graph changes."""

MOST_CARD_BYTES = 1 << 20
"""Largest card that is read."""

MOST_SHOWN = 200
"""Maximum number of characters of a wrong entry in an error."""

MOST_GRAPH_BYTES = 1 << 30
"""Largest graph that is read."""

MOST_WEIGHTS_BYTES = 1 << 26
"""Largest file of weights that is read."""

GRAPH = "model.onnx"
CARD = "model.json"

WEIGHTS = "weights.npz"
"""Weights of the network as float32 arrays by name, for trainings that start from them. The graph
does not serve for that, because its normalization layers are folded into the convolutions."""

Kind = Literal["blob", "general", "trained"]

PROVISIONAL_KINDS: tuple[Kind, ...] = ("blob", "general")
"""Kinds of models that know nothing of the session's particle but its size. Their picks are
provisional: a trained model replaces them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """Properties of a model that the daemon needs to use it correctly."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    version: Annotated[int, Field(ge=0, lt=10**9)]
    """Number of the model, and name of its folder; 0 is the first blob picker."""

    kind: Kind
    """``blob`` (analytic weights), ``general`` (trained on many other particles), or ``trained`` on
    this one."""

    fingerprint: str
    """``Config.training_fingerprint()`` of the config that the model was trained for; for a blob
    picker or a general model ``Config.particle_fingerprint()``."""

    particle_fingerprint: str
    """``Config.particle_fingerprint()``: a model is used only for the particle it was made for."""

    diameter_angstrom: Annotated[float, Field(gt=0, le=1e5)]
    """Longest diameter of the particle."""

    min_distance_angstrom: Annotated[float, Field(gt=0, le=1e6)]
    """Smallest allowed distance between centres."""

    contrast: Contrast
    """Contrast of the particles, dark or bright, in the micrograph as it lands."""

    pixel_size_angstrom: Annotated[float, Field(gt=0, le=1e4)]
    """Pixel size to which micrographs are (nearly) Fourier-cropped before the graph gets them."""

    normalization: str
    """Name of the normalization that the graph expects (``core.imaging.normalize``)."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    """Lowest score at which a peak counts as a particle."""

    threshold_source: str
    """Description of how the threshold was chosen."""

    graph_sha256: str
    """Digest of ``model.onnx``."""

    created_at: float
    """Unix seconds."""

    livepick_version: str
    """Version of the livepick that made the bundle."""

    run: str | None = None
    """Name of the training run's folder; None for a blob picker or a general model."""

    parent: int | None = None
    """Version of the bundle whose picks were the seeds."""

    lowpass_angstrom: Annotated[float, Field(gt=0)] | None = None
    """Detail finer than this is filtered out before the graph gets a micrograph; None: all kept."""

    noise_sigma: Annotated[float, Field(gt=0)] | None = None
    """Noise of the training micrographs, by which each micrograph is divided. None: each is divided
    by its own noise, as for every card without this entry."""

    edge_fraction: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Smallest distance of a pick's centre from the edge of the image data, as a fraction of the
    diameter (``core.imaging.pick_area``). Older cards do not have this entry."""

    weights_sha256: str | None = None
    """Digest of ``weights.npz``; None without that file, as in bundles of earlier versions."""

    format: int = FORMAT
    """Format number of the card and the graph's inputs and outputs."""

    @property
    def is_provisional(self) -> bool:
        """True if a trained model replaces the picks of this one."""
        return is_provisional(self.kind)


def is_provisional(kind: str) -> bool:
    """Return True if a trained model replaces the picks of this kind of model."""
    return kind in PROVISIONAL_KINDS


def bundle_name(version: int) -> str:
    """Return the folder name of a version: ``0007``."""
    return f"{version:04d}"


def numbered_folders(directory: Path) -> list[Path]:
    """Return the folders of bundles, or of runs, by their number; empty if there is no directory.

    Parameters
    ----------
    directory
        Folder of all bundles or of all runs.
    """
    if not directory.is_dir():
        return []
    found = [path for path in directory.iterdir() if path.name.isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name))


def sha256(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def publish(models: Path, card: ModelCard, files: Mapping[str, bytes]) -> Path:
    """Write a bundle to the folder ``models`` in one step, and return the bundle's folder.

    ``files`` must hold ``model.onnx``, with the digest that is in the card, and may hold
    ``weights.npz``, likewise. An existing bundle of
    the same version is kept if it has the same graph, so that a trainer that died after the rename
    can publish again.

    Raises
    ------
    ModelError
        The version exists with another graph, or the bundle cannot be written.
    """
    if sha256(files[GRAPH]) != card.graph_sha256:
        raise ValueError("the card's graph_sha256 is not that of the graph")
    if WEIGHTS in files and sha256(files[WEIGHTS]) != card.weights_sha256:
        raise ValueError("the card's weights_sha256 is not that of the weights")
    place = models / bundle_name(card.version)
    draft = None
    try:
        draft = _new_draft(place)
        draft.chmod(0o755)  # mkdtemp's 0700 would hide it from workers of another user
        for name, data in files.items():
            write_synced(draft / name, data)
        card_text = json.dumps(dataclasses.asdict(card), indent=2) + "\n"
        write_synced(draft / CARD, card_text.encode())
        fsync_folder(draft)
        os.rename(draft, place)  # noqa: PTH104 - Path.rename; fails if the name is taken
        fsync_folder(models)
    except OSError as error:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        if place.is_dir():
            there = read_card(place)
            if there.graph_sha256 == card.graph_sha256:
                return place
            raise ModelError(
                f"{place} exists already, with another graph",
                "Bundles never change; ask for the next version number.",
            ) from error
        raise ModelError(
            f"the bundle {place} could not be written: {error}",
            "Look at the disk space and the permissions of the state directory.",
        ) from error
    return place


def _new_draft(place: Path) -> Path:
    """Create a folder beside ``place``, in which the bundle is assembled, and return it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".draft-{place.name}-"
    for leftover in place.parent.glob(f"{prefix}*"):  # from this version's only publisher, killed
        shutil.rmtree(leftover, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=place.parent))


def read_card(bundle: Path) -> ModelCard:
    """Read the card of a bundle.

    Raises
    ------
    ModelError
        The card is missing, not JSON, of another format, has missing or unknown entries, or an
        entry has another type or an impossible value.
    """
    path = bundle / CARD
    remedy = "Remove this bundle or restore it whole; livepick trains another."
    try:
        data = read_bounded(path, limit_bytes=MOST_CARD_BYTES)
        entries: dict[str, Any] = parse_json(data)
        format_number = entries.get("format")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read: {error}", remedy) from error
    if format_number != FORMAT:
        raise ModelError(
            f"{path} has format {repr(format_number)[:MOST_SHOWN]}, this livepick reads {FORMAT}",
            "Use the livepick version that made it, or train again.",
        )
    try:
        card: ModelCard = _adapter().validate_json(data)
    except ValidationError as error:
        raise ModelError(f"{path} {_fault(entries, error)}", remedy) from error
    return card


@functools.cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(ModelCard)


def _fault(entries: dict[str, Any], error: ValidationError) -> str:
    """Describe what is wrong with the entries of a card."""
    known = {field.name for field in dataclasses.fields(ModelCard)}
    optional = {f.name for f in dataclasses.fields(ModelCard) if f.default is not MISSING}
    odd = sorted((known - optional - entries.keys()) | (entries.keys() - known))
    if odd:
        return f"has missing or unknown entries: {', '.join(odd)[:MOST_SHOWN]}"
    fault = error.errors()[0]
    value = repr(fault["input"])[:MOST_SHOWN]
    return f"has {'.'.join(map(str, fault['loc']))} {value}: {fault['msg']}"
