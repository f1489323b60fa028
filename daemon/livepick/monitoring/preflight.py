"""Preflight checks: test what the service will need, before a session depends on it.

Each check returns one finding with a verdict and, unless it is ``ok``, a remedy. A fault means
that the service would not start, or would not do its whole job. A warning means that it would
work, but that somebody should know. The checks leave nothing behind: a missing folder is not
created.
"""

import concurrent.futures
import errno
import importlib.util
import ipaddress
import itertools
import logging
import multiprocessing
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livepick.config.recommendations import advice
from livepick.config.schema import Config
from livepick.config.sections import Device
from livepick.core.contracts.bundle import read_card
from livepick.core.formats.ctf_files import find_ctfs
from livepick.core.formats.micrograph import read_header, resolve_pixel_size
from livepick.core.formats.name_matching import match_names
from livepick.errors import LivepickError
from livepick.host.atomic_files import TEMPORARY_PREFIX
from livepick.host.disks import TIGHT_GIB
from livepick.host.filesystem import file_system_type, is_network
from livepick.host.lock import holder
from livepick.ingest.presets import is_ignored_name, is_image_name, rules_for
from livepick.ingest.scan import file_system
from livepick.ledger.database import LEDGER
from livepick.models.registry import verify_graph
from livepick.picking import tasks
from livepick.retraining.seeds_from_coordinates import CuratedPicks, named, refuse_too_few

__all__ = ["Check", "check_environment"]

Verdict = Literal["ok", "warning", "fault"]

OUTPUT_GIB = 2.0
"""Coordinates of 10,000 micrographs at about 100 kB each, with a safety factor of two."""

STATE_GIB = 5.0
"""Space for the ledger with all candidates, training patches and models of a long session."""

PROBE_SECONDS = 120.0
"""Timeout of a probe; the first CUDA session may compile kernels for a minute."""

ADVISED = "It is allowed; change it, unless you know better."

FILES_LOOKED_AT = 20_000
"""Maximum number of names that the search for a first micrograph reads."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check."""

    name: str
    """Short name of the check."""

    verdict: Verdict
    """``fault``: the service cannot do its job in this state."""

    found: str
    """Finding of the check."""

    remedy: str = ""
    """Advice; empty if the verdict is ``ok``."""


def check_environment(config: Config) -> Iterator[Check]:
    """Run the checks one after another, and yield each result as soon as it is known."""
    for folder in config.watch.directories:
        yield _watched(folder, config.watch.mode)
    yield _writable("output folder", config.output.directory)
    yield _writable("state folder", config.state.directory)
    yield _local(config.state.directory)
    yield _alone(config)
    yield _pixel_size(config)
    yield _provider(config)
    yield _trainer(config)
    yield _first_picks(config)
    if config.micrograph.ctf is not None:
        yield _defocus(config.micrograph.ctf)
    yield from (Check("advice", "warning", sentence, ADVISED) for sentence in advice(config))
    yield _space("output disk", config.output.directory, OUTPUT_GIB)
    yield _space("state disk", config.state.directory, STATE_GIB)
    yield _door(config)
    yield _clock()


def _watched(folder: Path, mode: Literal["auto", "inotify", "poll"]) -> Check:
    name = "watched folder"
    if not folder.exists():
        return Check(
            name,
            "warning",
            f"{folder} is not there yet",
            "The service waits for it; make sure that the path and the mount are right.",
        )
    if not folder.is_dir():
        return Check(name, "fault", f"{folder} is no folder", "Name the folder that holds it.")
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except OSError as error:
        return Check(
            name,
            "fault",
            f"{folder} cannot be read: {error.strerror}",
            "Give the service's user the rights to read and enter it.",
        )
    on = file_system(folder)
    if mode == "inotify" and not on.local:
        return Check(
            name,
            "warning",
            f"{folder} is on {on.kind}, where inotify does not hear of writes by other machines",
            "Micrographs are found at the next listing only; watch.mode: auto polls more often.",
        )
    how = "polled" if mode == "poll" or not on.local else "inotify"
    return Check(name, "ok", f"{folder} ({on.kind}, {how})")


def _writable(name: str, folder: Path) -> Check:
    place = _nearest(folder)
    try:
        if not place.is_dir():
            raise NotADirectoryError(20, f"{place} is no folder")
        with tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX, dir=place) as file:
            file.write(b"livepick check")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check(
            name,
            "fault",
            f"{folder} cannot be written: {error.strerror}",
            "Name another folder, or give the service's user the rights to write there.",
        )
    return Check(name, "ok", f"{folder}" if place == folder else f"{folder} (will be made)")


def _local(state: Path) -> Check:
    name = "ledger's file system"
    kind = file_system_type(state)
    if is_network(kind):
        return Check(
            name,
            "fault",
            f"{state} is on a network file system ({kind})",
            "SQLite's WAL would be damaged there; give state.directory a local disk.",
        )
    if not file_system(_nearest(state)).local:
        return Check(
            name,
            "warning",
            f"{state} is on {kind or 'an unknown file system'}",
            "Make sure that it is a local disk: SQLite's WAL would be damaged on a network one.",
        )
    return Check(name, "ok", f"local ({kind})")


def _alone(config: Config) -> Check:
    name = "other service"
    process = holder(config.state.directory / LEDGER)
    if process is None:
        return Check(name, "ok", f"none runs on {config.state.directory}")
    return Check(
        name,
        "warning",
        f"livepick runs on {config.state.directory} (process {process})",
        "A second one would be refused; stop it first, or give this one another state.directory.",
    )


def _pixel_size(config: Config) -> Check:
    name = "pixel size"
    configured = config.micrograph.pixel_size_angstrom
    path = _first_micrograph(config)
    if path is None:
        if configured is not None:
            return Check(name, "ok", f"{configured:g} Å, as configured; no micrograph there yet")
        return Check(
            name,
            "warning",
            "no micrograph is there yet whose header would say it",
            "Set micrograph.pixel_size_angstrom if the headers are not to be trusted.",
        )
    try:
        size_angstrom = resolve_pixel_size(path, read_header(path), configured)
    except LivepickError as error:
        return Check(name, "fault", error.what, error.remedy)
    source = "as configured and" if configured is not None else "as"
    return Check(name, "ok", f"{size_angstrom:g} Å, {source} in the header of {path.name}")


def _first_micrograph(config: Config) -> Path | None:
    return next(_micrographs(config), None)


def _micrographs(config: Config) -> Iterator[Path]:
    rules = rules_for(config.watch)
    for root in config.watch.directories:
        for path in itertools.islice(_files(root, config), FILES_LOOKED_AT):
            relative = path.relative_to(root).as_posix()
            if is_image_name(path.name) and rules.selects(relative):
                yield path


def _files(root: Path, config: Config) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, followlinks=config.watch.follow_symlinks):
        folders[:] = sorted(name for name in folders if not is_ignored_name(name))
        yield from (Path(folder, name) for name in sorted(files))


def _provider(config: Config) -> Check:
    name = "picking device"
    device = config.picking.device
    try:
        provider = _in_a_worker(_probe, config, device)
    except LivepickError as error:
        return Check(name, "fault", error.what, error.remedy)
    except (concurrent.futures.BrokenExecutor, TimeoutError) as error:
        return Check(
            name,
            "fault",
            f"a worker process did not answer: {error or type(error).__name__}",
            "Look at the installation of onnxruntime; picking.device: cpu goes without the GPU.",
        )
    if device == "prefer-gpu" and provider == "CPUExecutionProvider":
        return Check(
            name,
            "warning",
            f"the GPU cannot be used, so the CPU will pick ({provider})",
            "Look at nvidia-smi and the CUDA libraries, or set picking.device: cpu to be quiet.",
        )
    return Check(name, "ok", f"{provider}, asked for: {device}")


def _probe(config: Config, device: Device) -> str:
    """Create the blob picker in a temporary folder, and run it. Called in a separate process."""
    from livepick.models.registry import Models  # noqa: PLC0415 - only the process apart needs them

    with tempfile.TemporaryDirectory(prefix="livepick-check-") as folder:
        return tasks.probe(Models(Path(folder) / "models").ensure_blob(config).path, device)


def _in_a_worker(function: Callable[[Config, Device], str], config: Config, device: Device) -> str:
    """Call a function in a process like a worker, so that a crash of onnxruntime stays there."""
    context = multiprocessing.get_context("spawn")
    # Logging is disabled because the check reports what a worker would log.
    pool = concurrent.futures.ProcessPoolExecutor(
        1, mp_context=context, initializer=logging.disable
    )
    try:
        return pool.submit(function, config, device).result(PROBE_SECONDS)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _trainer(config: Config) -> Check:
    name = "trainer"
    # find_spec instead of an import: the service's processes never load torch.
    absent = [
        package
        for package in ("livepick_trainer", "torch", "matplotlib")
        if importlib.util.find_spec(package) is None
    ]
    if absent:
        return Check(
            name,
            "fault",
            f"not installed: {', '.join(absent)}; only blob picks would be made",
            'Install it beside livepick: pip install "livepick[trainer]".',
        )
    count = config.bootstrap.micrographs
    return Check(name, "ok", f"installed; trains from {count} picked micrographs on")


def _first_picks(config: Config) -> Check:
    name = "first picks"
    picks = config.bootstrap.picks
    try:
        if picks == "blob":
            return Check(name, "ok", "by the blob picker")
        if picks.model is not None:
            return _first_model(name, config, picks.model)
        return _first_coordinates(name, config, Path(picks.coordinates or ""))
    except LivepickError as error:
        return Check(name, "fault", error.what, error.remedy)


def _first_model(name: str, config: Config, bundle: Path) -> Check:
    card = read_card(bundle)
    verify_graph(bundle, card)
    found = f"by model {bundle} ({card.kind}, made for {card.diameter_angstrom:g} Å)"
    try:
        _in_a_worker(_probe_bundle, config, "cpu")
    except (concurrent.futures.BrokenExecutor, TimeoutError) as error:
        return Check(
            name,
            "fault",
            f"{found}: a worker process did not answer: {error or type(error).__name__}",
            "Name another bundle in bootstrap.picks, or take blob.",
        )
    return Check(name, "ok", found)


def _first_coordinates(name: str, config: Config, place: Path) -> Check:
    curated = CuratedPicks(place)
    positions = curated.positions()
    refuse_too_few(config, place, positions)
    total = sum(len(here) for here in positions.values())
    found = f"{total} in {len(positions)} micrographs, from {place}"
    ours = [path.stem for path in _micrographs(config)]
    if ours and not match_names(positions, ours):
        return Check(
            name,
            "warning",
            f"{found}: none of them is for a micrograph that is there yet; it has"
            f" {named(sorted(positions))}, and there are {named(ours)}",
            "Name coordinates of these micrographs, unless the others are still to come.",
        )
    return Check(name, "ok", found)


def _probe_bundle(config: Config, device: Device) -> str:
    """Run the graph of the bootstrap bundle once. Called in a separate process."""
    picks = config.bootstrap.picks
    if picks == "blob" or picks.model is None:
        raise ValueError("bootstrap.picks has no model")
    return tasks.probe(picks.model, device)


def _defocus(place: Path) -> Check:
    _, faults = find_ctfs(place, [])
    if faults:
        return Check("defocus", "fault", faults[0].what, faults[0].remedy)
    return Check("defocus", "ok", str(place))


def _space(name: str, folder: Path, expected_gib: float) -> Check:
    free_gib = shutil.disk_usage(_nearest(folder)).free / 2**30
    found = f"{free_gib:.1f} GiB free at {folder}"
    if free_gib < TIGHT_GIB:
        return Check(
            name, "fault", found, f"Make room: a session needs up to {expected_gib:g} GiB."
        )
    if free_gib < expected_gib:
        return Check(
            name, "warning", found, f"Make room: a long session needs up to {expected_gib:g} GiB."
        )
    return Check(name, "ok", found)


def _door(config: Config) -> Check:
    name = "page and metrics"
    host, port = config.web.host, config.web.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(address)
            door.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and holder(config.state.directory / LEDGER) is not None:
            return Check(name, "ok", f"{config.web.listen} is taken, as the service runs")
        return Check(
            name,
            "fault",
            f"{config.web.listen} cannot be listened on: {error.strerror}",
            "Set web.listen to a free port of this machine.",
        )
    if not ipaddress.ip_address(address[0]).is_loopback:
        return Check(
            name,
            "warning",
            f"{config.web.listen} can be reached from other machines",
            "The page has no password: keep it on 127.0.0.1, or behind a firewall.",
        )
    return Check(name, "ok", f"{config.web.listen} is free")


def _clock() -> Check:
    name = "system time"
    # The installation is older than any session, so a clock set before it must be wrong.
    installed_at = Path(__file__).stat().st_mtime
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    if now < installed_at - 86400:
        return Check(
            name,
            "warning",
            f"it is {shown}, before livepick was installed",
            "Set the clock: timedatectl set-ntp true.",
        )
    return Check(name, "ok", shown)


def _nearest(folder: Path) -> Path:
    """Return the nearest existing folder: the path itself or one of its parents."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
