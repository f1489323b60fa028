"""Preflight checks of everything that picks: the device, the trainer, and the first picks.

Models run in a process of their own, so that a crash of onnxruntime does not end the check.
"""

import functools
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from livepick.config.schema import Config
from livepick.config.sections import Device
from livepick.core.contracts.bundle import read_card
from livepick.core.formats.image_names import without_image_suffix
from livepick.core.formats.name_matching import match_names, short_names
from livepick.errors import LivepickError
from livepick.host.gpu_signs import gpu_sign
from livepick.host.isolated_call import ProcessDiedError, call_isolated
from livepick.host.trainer_packages import missing_packages
from livepick.models.bundle_on_disk import verify_graph
from livepick.models.general_model import SHIPPED, read_general_card
from livepick.models.registry import Models
from livepick.models.start_weights import read_start_weights
from livepick.monitoring.preflight.check import Check
from livepick.monitoring.preflight.micrographs import micrographs
from livepick.picking import tasks
from livepick.picking.gpu_pins import PROBES_AT_A_TIME, GpuPin, pins
from livepick.retraining.curated_picks import CuratedPicks, shortened_list
from livepick.retraining.seeds_from_coordinates import refuse_too_few

__all__ = ["first_picks", "picking_device", "trainer"]

PROBE_SECONDS = 120.0
"""Timeout of a probe; the first CUDA session may compile kernels for a minute."""


def picking_device(config: Config) -> Check:
    """Check that a worker runs a model on the configured device, or on each of the GPUs."""
    name = "picking device"
    try:
        devices = pins(config.engine.devices or ())
    except LivepickError as error:
        return Check(name, "fault", error.what, error.remedy)
    if not devices:
        return _one_device(name, config, _probe_blob_picker)
    with ThreadPoolExecutor(PROBES_AT_A_TIME, "probe") as probes:
        tried = list(
            probes.map(
                lambda device: _one_device(name, config, functools.partial(_probe_on, device)),
                devices,
            )
        )
    found = "; ".join(
        f"{device.name}: {check.found}" for device, check in zip(devices, tried, strict=True)
    )
    worst = max(tried, key=lambda check: ("ok", "warning", "fault").index(check.verdict))
    return Check(name, worst.verdict, found, worst.remedy)


def _one_device(name: str, config: Config, probe: Callable[[Config, Device], str]) -> Check:
    device = config.picking.device
    try:
        provider = _in_a_worker(probe, config, device)
    except LivepickError as error:
        return Check(name, "fault", error.what, error.remedy)
    except (ProcessDiedError, OSError) as error:
        return Check(
            name,
            "fault",
            f"a worker process did not answer: {error or type(error).__name__}",
            "Check the installation of onnxruntime, or set picking.device: cpu to do without the"
            " GPU.",
        )
    if device == "prefer-gpu" and provider == "CPUExecutionProvider":
        sign = gpu_sign()
        if not sign and not config.engine.devices:
            return Check(name, "ok", f"{provider} (this machine has no NVIDIA GPU)")
        why = f": {sign}" if sign else ""
        return Check(
            name,
            "warning",
            f"the GPU cannot be used, so livepick will pick on the CPU ({provider}){why}",
            "Run nvidia-smi and check the CUDA libraries, or set picking.device: cpu to silence"
            " this warning.",
        )
    return Check(name, "ok", f"{provider} (picking.device: {device})")


def trainer(config: Config) -> Check:
    """Check that the trainer and its libraries are installed, and the weights to start from."""
    name = "trainer"
    absent = missing_packages()
    if absent and config.engine.heavy == "cluster":
        return Check(
            name,
            "ok",
            f"not installed here ({', '.join(absent)}); only workers with --heavy train",
        )
    if absent:
        return Check(
            name,
            "fault",
            f"not installed: {', '.join(absent)}; only the blob picker would pick",
            'Install it next to livepick: pip install "livepick[trainer]".',
        )
    try:
        start = read_start_weights(config.training)
    except LivepickError as error:
        return Check(name, "fault", error.what, error.remedy)
    count = config.bootstrap.micrographs
    found = f"installed; training starts after {count} picked micrographs"
    if start is not None:
        found += f", from the weights of {start.for_run().name}"
    return Check(name, "ok", found)


def first_picks(config: Config) -> Check:
    """Check that the model or the coordinates of ``bootstrap.picks`` can be used."""
    name = "first picks"
    picks = config.bootstrap.picks
    try:
        if picks == "blob":
            return Check(name, "ok", "from the blob picker")
        if picks == "general":
            return _general_model(name, config)
        if picks.model is not None:
            return _first_model(name, config, picks.model)
        return _first_coordinates(name, config, Path(picks.coordinates or ""))
    except LivepickError as error:
        return Check(name, "fault", error.what, error.remedy)


def _general_model(name: str, config: Config) -> Check:
    card = read_general_card(SHIPPED)
    try:
        _in_a_worker(_probe_general, config, "cpu")
    except (ProcessDiedError, OSError) as error:
        return Check(
            name,
            "fault",
            "the general model does not run: a worker process did not answer:"
            f" {error or type(error).__name__}",
            "Set bootstrap.picks: blob.",
        )
    return Check(name, "ok", f"from the general model of livepick {card.livepick_version}")


def _first_model(name: str, config: Config, bundle: Path) -> Check:
    card = read_card(bundle)
    verify_graph(bundle, card)
    found = f"from model {bundle} ({card.kind}, made for {card.diameter_angstrom:g} Å)"
    try:
        _in_a_worker(_probe_bundle, config, "cpu")
    except (ProcessDiedError, OSError) as error:
        return Check(
            name,
            "fault",
            f"{found}: a worker process did not answer: {error or type(error).__name__}",
            "Choose another bundle in bootstrap.picks, or blob.",
        )
    return Check(name, "ok", found)


def _first_coordinates(name: str, config: Config, place: Path) -> Check:
    curated = CuratedPicks(place)
    positions = curated.positions()
    refuse_too_few(config, place, positions)
    total = sum(len(here) for here in positions.values())
    found = f"{total} in {len(positions)} micrographs, from {place}"
    present = [str(without_image_suffix(path)) for path in micrographs(config)]
    if present and not match_names(positions, present).pairs:
        theirs, ours = (list(short_names(names).values()) for names in (positions, present))
        return Check(
            name,
            "warning",
            f"{found}: they are for {shortened_list(sorted(theirs))}, but the watched folders"
            f" have {shortened_list(ours)}",
            "Choose coordinates of these micrographs, unless the others have yet to arrive.",
        )
    return Check(name, "ok", found)


def _in_a_worker(function: Callable[[Config, Device], str], config: Config, device: Device) -> str:
    """Call a function in a process like a worker, so that a crash of onnxruntime stays there."""
    # Logging is disabled because the check reports what a worker would log.
    return call_isolated(function, config, device, timeout_seconds=PROBE_SECONDS, log=False)


def _probe_blob_picker(config: Config, device: Device) -> str:
    """Create the blob picker in a temporary folder, and run it. Called in a separate process."""
    with tempfile.TemporaryDirectory(prefix="livepick-check-") as folder:
        return tasks.probe(Models(Path(folder) / "models").ensure_blob(config).path, device)


def _probe_on(pin: GpuPin, config: Config, device: Device) -> str:
    """Run the blob picker on one GPU, as a worker does. Called in a separate process."""
    os.environ.update(pin.environment)
    return _probe_blob_picker(config, device)


def _probe_general(_config: Config, device: Device) -> str:
    """Run the graph of the general model once. Called in a separate process."""
    return tasks.probe(SHIPPED, device)


def _probe_bundle(config: Config, device: Device) -> str:
    """Run the graph of the bootstrap bundle once. Called in a separate process."""
    picks = config.bootstrap.picks
    if isinstance(picks, str) or picks.model is None:
        raise ValueError("bootstrap.picks has no model")
    return tasks.probe(picks.model, device)
