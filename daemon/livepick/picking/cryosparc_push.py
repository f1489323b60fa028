"""Picks sent to a CryoSPARC server: an External job with the exposures as its input.

The only module that uses cryosparc-tools, the extra ``cryosparc``. It was written after that
library's own documentation and sources (5.0), and tested with a substitute for the server, never
with a server.
"""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livepick.core.formats.image_names import without_image_suffix
from livepick.core.formats.name_matching import match_names
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.errors import LivepickError

__all__ = ["Pushed", "Server", "connect", "push"]

Server = Any
"""A ``cryosparc.tools.CryoSPARC``, or a substitute for it."""

INPUT, OUTPUT = "exposures", "particles"

_PATH, _SHAPE = "micrograph_blob/path", "micrograph_blob/shape"

_TAKEN = (
    ("location/micrograph_uid", "uid"),
    ("location/micrograph_path", _PATH),
    ("location/micrograph_shape", _SHAPE),
    ("location/micrograph_psize_A", "micrograph_blob/psize_A"),
    ("location/exp_group_id", "ctf/exp_group_id"),
    ("location/exp_group_id", "mscope_params/exp_group_id"),
)
"""Fields of a particle that are those of its exposure; the last one that there is counts."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """An External job that holds picks."""

    job: str
    """Its name, as ``J17``."""
    particles: int
    micrographs: int
    missing: tuple[str, ...]
    """Picked micrographs that are not among the exposures."""


def connect() -> Server:
    """Connect to the server that the environment names.

    Raises
    ------
    LivepickError
        The library is not installed, or the server refuses the connection.
    """
    try:
        from cryosparc.tools import CryoSPARC  # noqa: PLC0415 - the extra may be missing
    except ImportError as error:
        raise LivepickError(
            "cryosparc-tools is not installed",
            "Install the version of your CryoSPARC beside livepick, such as"
            " pip install 'cryosparc-tools~=5.0.0'.",
        ) from error
    license_id = os.environ.get("CRYOSPARC_LICENSE_ID")
    by_license = license_id is not None and "CRYOSPARC_EMAIL" not in os.environ
    try:
        with warnings.catch_warnings(action="ignore"):  # one for each of its tries
            return CryoSPARC(license=license_id) if by_license else CryoSPARC()
    except Exception as error:  # the library raises TypeError, ValueError, RuntimeError and others
        why = " ".join(str(error).partition("\n\n")[0].split())  # then it explains its own login
        raise LivepickError(
            f"CryoSPARC cannot be reached: {why}",
            "Set CRYOSPARC_BASE_URL (or CRYOSPARC_MASTER_HOSTNAME and CRYOSPARC_BASE_PORT), and"
            " CRYOSPARC_EMAIL and CRYOSPARC_PASSWORD, or CRYOSPARC_LICENSE_ID.",
        ) from error


def push(
    server: Server,
    picked: Iterable[PickedMicrograph],
    *,
    project: str,
    workspace: str,
    exposures: str,
    min_distance_angstrom: float,
) -> Pushed:
    """Make an External job with picks as its output.

    Parameters
    ----------
    server
        Connection from ``connect``.
    picked
        Micrographs with their picks.
    project, workspace
        Place of the new job, as ``P3`` and ``W1``.
    exposures
        Job with the micrographs, and its output if that is not ``exposures``, as
        ``J5.exposures_accepted``.
    min_distance_angstrom
        Closest distance of two picks.

    Raises
    ------
    LivepickError
        None of the micrographs is among the exposures, or the server refuses a step.
    """
    source, _, output = exposures.partition(".")
    output = output or "exposures"
    micrographs = {_stem(one.path): one for one in picked}
    try:
        place = server.find_project(project)
        known = place.find_job(source).load_output(output)
        columns, pushed = _particles(known, micrographs, exposures)
        total = len(columns["pick_stats/ncc_score"])
        columns["location/min_dist_A"] = np.full(total, min_distance_angstrom)
        job = place.create_external_job(workspace, title="livepick picks")
        job.connect(INPUT, source, output, slots=["micrograph_blob"])
        slots = ["location", "pick_stats"]
        particles = job.add_output("particle", OUTPUT, slots=slots, alloc=total)
        for name in columns.keys() & set(particles):
            particles[name] = columns[name]
        with job.run():
            job.save_output(OUTPUT, particles)
    except LivepickError:
        raise
    except Exception as error:  # errors of the library and of its HTTP client have no common type
        raise LivepickError(
            f"CryoSPARC refused: {error}",
            f"Check that {project}, {workspace} and the output {exposures} exist, and that the"
            " version of cryosparc-tools is that of the server.",
        ) from error
    missing = tuple(sorted(micrographs.keys() - pushed))
    return Pushed(str(job.uid), total, len(pushed), missing)


def _particles(
    known: Any, micrographs: dict[str, PickedMicrograph], exposures: str
) -> tuple[dict[str, NDArray[Any]], set[str]]:
    """Return the fields of the particles, and the names of the micrographs that they are in."""
    if _PATH not in known or _SHAPE not in known:
        raise LivepickError(
            f"the exposures {exposures} have no motion-corrected micrographs",
            "Name a job after motion correction, such as Patch CTF.",
        )
    rows = {_stem(path): row for row, path in enumerate(known[_PATH])}
    pairs = match_names(rows, micrographs).pairs
    if not pairs:
        raise LivepickError(
            f"none of {len(micrographs)} picked micrographs is among the {len(rows)} exposures"
            f" {exposures}",
            "Name the job whose micrographs livepick has picked.",
        )
    found = [micrographs[name] for name in pairs]
    row = np.repeat([rows[name] for name in pairs.values()], [len(one.picks) for one in found])
    centres = np.concatenate([one.xy(turned=False) / one.shape_px[::-1] for one in found])
    columns = {name: np.asarray(known[field])[row] for name, field in _TAKEN if field in known}
    columns["location/center_x_frac"], columns["location/center_y_frac"] = centres.T
    columns["pick_stats/ncc_score"] = np.concatenate([one.picks.score for one in found])
    return columns, set(pairs)


def _stem(path: object) -> str:
    return str(without_image_suffix(PurePosixPath(str(path))))
