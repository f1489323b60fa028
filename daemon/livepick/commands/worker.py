"""``livepick worker``: work for the services of a Dask cluster, on this machine."""

import functools
import importlib.util
import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from livepick.commands.durations import parse_duration
from livepick.commands.program_log import log_to_stderr
from livepick.config.engine_section import ClusterTls, CudaSettings
from livepick.errors import ConfigError
from livepick.host.certificate_end import SOON_SECONDS, authority_ends_at
from livepick.picking.gpu_pins import visible_gpus
from livepick.retraining.trainer_process import TrainerProcess

__all__ = ["worker"]

_log = logging.getLogger(__name__)


def worker(
    *,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address of the scheduler, such as tls://host:8786."),
    ] = None,
    scheduler_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="File that dask scheduler --scheduler-file writes, in its place."
        ),
    ] = None,
    device: Annotated[
        Literal["require-gpu", "cpu"],
        typer.Option(help="Without a usable GPU it does not join, unless this is cpu."),
    ] = "require-gpu",
    devices: Annotated[
        str | None,
        typer.Option(metavar="IDS", help="GPUs to use, such as 0,1; by default the first one."),
    ] = None,
    cuda: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Setting of engine.cuda for these GPUs, such as graphs=true; may be repeated.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Micrographs at a time, each on one core; by default one a GPU, or one a core.",
        ),
    ] = None,
    memory_limit_gib: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Memory limit of each, which a session can lower, but not raise;"
            " by default a share of the machine's.",
        ),
    ] = None,
    heavy: Annotated[
        bool, typer.Option("--heavy", help="Offer trainings and 2D classes, too, one at a time.")
    ] = False,
    mount: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Folder that must be readable; may be repeated."),
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate of the cluster's authority.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A certificate of this authority.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Join a scheduler without TLS that others can reach: they can run programs here.",
        ),
    ] = False,
    port: Annotated[
        str | None,
        typer.Option(help="Port to listen on, or a range such as 40000:40099; by default any."),
    ] = None,
    lifetime: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Leave after this time, such as 23.5h or 55m."),
    ] = None,
    lifetime_stagger: Annotated[
        str,
        typer.Option(metavar="DURATION", help="Leave up to this much earlier, at random."),
    ] = "0s",
    name: Annotated[
        str | None,
        typer.Option(help="Begin of its name in the cluster; by default the host's."),
    ] = None,
) -> None:
    """Pick micrographs for the services of a Dask cluster, on this machine.

    Before it joins, it runs the model that ships with livepick, checks the versions at the
    scheduler and the folders of --mount, and prints what it found and offers. It picks for every
    session whose config names the same scheduler (engine.kind: dask).

    If the scheduler is lost, it waits for it and joins again. SIGTERM, SIGINT and the end of the
    lifetime end it: running jobs get 20 seconds to finish, and the others are handed back. Exit
    status: 0 then, 78 if an option is wrong, 1 if anything else is.
    """
    _check_installed()
    # Only these modules need Dask.
    from livepick.picking.cluster.heavy_on_node import HeavyWork  # noqa: PLC0415
    from livepick.picking.cluster.scheduler import SchedulerPlace  # noqa: PLC0415
    from livepick.picking.cluster.worker_checks import check_machine  # noqa: PLC0415
    from livepick.picking.cluster.worker_program import (  # noqa: PLC0415
        Joining,
        check_joining,
        run_worker_program,
    )

    if (scheduler is None) == (scheduler_file is None):
        raise ConfigError(
            "--scheduler and --scheduler-file are both given"
            if scheduler
            else "it is not said where the scheduler is",
            "Give one of --scheduler ADDRESS and --scheduler-file PATH.",
        )
    files = [file for file in (tls_ca, tls_certificate, tls_key) if file is not None]
    if len(files) not in (0, 3):
        raise ConfigError(
            "of --tls-ca, --tls-certificate and --tls-key only some are given",
            "Give all three, or none; deploy/dask/make-certificates.sh makes the files.",
        )
    joining = Joining(
        SchedulerPlace(scheduler, scheduler_file),
        tls=_tls(files),
        insecure=insecure,
        name=name,
        port=_port(port),
        lifetime_seconds=None if lifetime is None else parse_duration(lifetime),
        stagger_seconds=parse_duration(lifetime_stagger),
    )
    check_joining(joining)
    log_to_stderr()
    offer = check_machine(
        device=device,
        workers=workers,
        devices=_devices(devices),
        memory_limit_gib=memory_limit_gib,
        heavy=heavy,
        folders=mount or [],
        cuda=_cuda(cuda or ()),
    )
    for line in offer.lines:
        typer.echo(line)
    typer.echo(f"scheduler  {joining.place}")
    if joining.tls is not None and (ends_at := authority_ends_at(joining.tls.ca)) is not None:
        _say_end(ends_at)
    start = functools.partial(TrainerProcess.start, environment=visible_gpus(offer.devices))
    run_worker_program(offer, joining, HeavyWork(start) if heavy else None)


def _say_end(ends_at: float) -> None:
    """Say until when the certificates are valid."""
    day = time.strftime("%Y-%m-%d", time.localtime(ends_at))
    typer.echo(f"TLS        until {day}")
    if ends_at - time.time() < SOON_SECONDS:
        _log.warning("worker: the certificates end on %s; make new ones (deploy/cluster.md)", day)


def _check_installed() -> None:
    if importlib.util.find_spec("distributed") is None:
        raise ConfigError(
            "Dask distributed is not installed here",
            'Install it next to livepick: pip install -c constraints.txt ".[dask]".',
        )


def _tls(files: Sequence[Path]) -> ClusterTls | None:
    if not files:
        return None
    ca, certificate, key = (file.absolute() for file in files)
    return ClusterTls(ca=ca, certificate=certificate, key=key)


def _devices(text: str | None) -> list[int]:
    """Return the GPUs of an option like ``0,1``. Raises ConfigError."""
    if text is None:
        return []
    if re.fullmatch(r"[0-9]{1,3}(,[0-9]{1,3})*", text) is None:
        raise ConfigError(
            f"--devices is {text!r}", "Give the numbers that nvidia-smi shows, such as 0,1."
        )
    return [int(word) for word in text.split(",")]


def _cuda(words: Sequence[str]) -> CudaSettings:
    """Return the settings of options like ``graphs=true``. Raises ConfigError."""
    try:
        return CudaSettings.model_validate_strings(dict(word.split("=", 1) for word in words))
    except ValueError as error:  # pydantic's are of it
        raise ConfigError(
            f"--cuda {' --cuda '.join(words)} cannot be used",
            f"Give KEY=VALUE with one of {', '.join(CudaSettings.model_fields)};"
            " config.example.yaml explains them (engine.cuda).",
        ) from error


def _port(text: str | None) -> str | None:
    """Return a port, or a range of ports, that Dask accepts. Raises ConfigError."""
    if text is None:
        return None
    first, _, last = text.partition(":")
    try:
        numbers = [int(first), int(last or first)]
    except ValueError:
        numbers = [0, 0]
    if not 0 < numbers[0] <= numbers[1] < 65536:
        raise ConfigError(
            f"--port is {text!r}", "Give a port such as 40000, or a range such as 40000:40099."
        )
    return text
