"""Section of the configuration about the workers: on this machine, or on a Dask cluster."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from livepick.config.error_messages import contradiction
from livepick.config.setting import RESTART, Folder, Section
from livepick.host.loopback import is_loopback

__all__ = ["ClusterTls", "CudaSettings", "EngineSettings", "scheduler_host"]


class ClusterTls(Section):
    """Files in PEM format with which the members of a Dask cluster trust each other."""

    ca: Folder = Field(json_schema_extra=RESTART)
    """Certificate of the authority that signed the certificates of all members."""

    certificate: Folder = Field(json_schema_extra=RESTART)
    """Certificate of this member."""

    key: Folder = Field(json_schema_extra=RESTART)
    """Private key of that certificate, without a password."""


class CudaSettings(Section):
    """Use of a GPU by a worker process. ``tests/device/gpu.py`` measures each of them."""

    io_binding: bool = Field(default=True, json_schema_extra=RESTART)
    """True to keep the buffers of the image and of its scores on the GPU from one micrograph to the
    next. If the scores differ from those without it, it is switched off."""

    graphs: bool = Field(default=False, json_schema_extra=RESTART)
    """True to record the work of the GPU for an image of one size once, and to repeat it as a
    whole; needs ``io_binding``. For sessions whose micrographs all have the same size."""

    pinned: bool = Field(default=False, json_schema_extra=RESTART)
    """True to copy images to the GPU from page-locked memory; needs ``io_binding``."""

    in_flight: int = Field(
        default=1, ge=1, le=16, examples=["2 is usual on a large GPU"], json_schema_extra=RESTART
    )
    """Micrographs in progress at a time on each GPU, each in a worker process, so that one is read
    and prepared while the GPU computes another. Each process takes about half a gigabyte of the
    GPU's memory. Without effect if a number of workers is given."""

    convolution_search: Literal["heuristic", "exhaustive"] = Field(
        default="heuristic", json_schema_extra=RESTART
    )
    """Choice of cuDNN's algorithms: ``exhaustive`` tries all of them for each new size of image,
    which takes time and may be faster from then on."""

    full_precision: bool = Field(default=False, json_schema_extra=RESTART)
    """True for scores as on the CPU; false to let the GPU round the numbers in convolutions to 10
    bits (TF32), which is faster."""


class EngineSettings(Section):
    """Workers that pick: processes of this machine, or a Dask cluster."""

    kind: Literal["local", "dask"] = Field(default="local", json_schema_extra=RESTART)
    """``local``: worker processes of this machine; ``dask``: the workers of a Dask cluster, which
    ``livepick worker`` starts."""

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = Field(
        default="auto",
        examples=["cores of the machine minus one is usual"],
        json_schema_extra=RESTART,
    )
    """Worker processes of this machine; another name of ``picking.workers``. ``auto``: one for each
    of ``devices``, else 1 with a GPU, else the number of cores minus one (at least 1)."""

    devices: list[int] | None = Field(
        default=None,
        min_length=1,
        examples=["for example [0, 1]"],
        json_schema_extra=RESTART,
    )
    """Numbers of the GPUs to use, as ``nvidia-smi`` shows them; each gets a worker process. None:
    the first GPU."""

    cuda: CudaSettings = Field(default=CudaSettings(), json_schema_extra=RESTART)
    """Use of the GPUs of this machine."""

    scheduler: str | None = Field(
        default=None,
        examples=["for example tls://login1.example.org:8786"],
        json_schema_extra=RESTART,
    )
    """Address of the Dask scheduler: ``tls://HOST:PORT`` or ``tcp://HOST:PORT``."""

    scheduler_file: Folder | None = Field(default=None, json_schema_extra=RESTART)
    """File in which the Dask scheduler writes its address, on a file system that this machine sees.
    It is read again when it changes."""

    tls: ClusterTls | None = Field(default=None, json_schema_extra=RESTART)
    """Certificates of the cluster: ``{ca: PATH, certificate: PATH, key: PATH}``."""

    insecure: bool = Field(default=False, json_schema_extra=RESTART)
    """True to accept a scheduler on another machine without TLS: whoever reaches it can run
    programs as the user of this service."""

    heavy: Literal["local", "cluster"] = Field(default="local", json_schema_extra=RESTART)
    """Where training and 2D classes run: on this machine, or on a worker of the cluster that offers
    it (``livepick worker --heavy``)."""

    @field_validator("devices")
    @classmethod
    def _is_each_once(cls, devices: list[int] | None) -> list[int] | None:
        """Refuse a GPU that is listed twice, and a number that no GPU has."""
        for device in devices or ():
            if device < 0:
                raise contradiction(
                    f"engine.devices lists {device}; the numbers of GPUs begin with 0"
                    " (nvidia-smi -L lists them)"
                )
            if (devices or []).count(device) > 1:
                raise contradiction(f"engine.devices lists {device} twice; list each GPU once")
        return devices

    @field_validator("scheduler")
    @classmethod
    def _is_address(cls, scheduler: str | None) -> str | None:
        """Refuse what is not the address of a scheduler."""
        if scheduler is None:
            return None
        found = re.fullmatch(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[\w.-]+):([0-9]{1,5})", scheduler)
        if found is None or not 0 < int(found[3]) < 65536:
            raise contradiction(
                f"engine.scheduler is {scheduler!r}; it must be tls://HOST:PORT or tcp://HOST:PORT,"
                " such as tls://login1.example.org:8786"
            )
        return scheduler

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Refuse settings that contradict the kind, and a cluster that anybody may use."""
        (self._refuse_of_local if self.kind == "dask" else self._refuse_of_dask)()
        return self

    def _refuse_of_dask(self) -> None:
        names = [name for name in ("scheduler", "scheduler_file", "tls") if getattr(self, name)]
        if self.heavy == "cluster":
            names.append("heavy: cluster")
        if names:
            raise contradiction(
                f"engine.{names[0]} is given, which is of a Dask cluster, and engine.kind is local;"
                " set engine.kind: dask, or remove it",
                key=names[0].partition(":")[0],
            )

    def _refuse_of_local(self) -> None:
        if (self.scheduler is None) == (self.scheduler_file is None):
            both = "both are given" if self.scheduler is not None else "neither is given"
            raise contradiction(
                "engine.kind is dask, which needs one of engine.scheduler and"
                f" engine.scheduler_file, and {both}; give the address of the scheduler, or the"
                " file in which it writes its address",
                key="scheduler",
            )
        for name in ("workers", "devices"):
            if getattr(self, name) not in ("auto", None):
                raise contradiction(
                    f"engine.{name} is given, which is of this machine, and engine.kind is dask;"
                    f" remove it, and give it to each livepick worker (--{name})",
                    key=name,
                )
        if self.cuda != CudaSettings():
            raise contradiction(
                "engine.cuda is given, which is of this machine, and engine.kind is dask; remove"
                " it, and give it to each livepick worker (--cuda)",
                key="cuda",
            )
        if self.scheduler is None:
            return
        is_tls = self.scheduler.startswith("tls://")
        if is_tls != (self.tls is not None):
            raise contradiction(
                f"engine.scheduler is {self.scheduler}, and engine.tls is"
                f" {'missing' if is_tls else 'given'}; "
                + (
                    "give {ca: PATH, certificate: PATH, key: PATH}"
                    if is_tls
                    else "write tls:// for a scheduler with certificates, or remove engine.tls"
                ),
                key="tls",
            )
        if not (is_tls or self.insecure or is_loopback(scheduler_host(self.scheduler))):
            raise contradiction(
                f"engine.scheduler is {self.scheduler}, on another machine and without TLS, so"
                " whoever reaches it can run programs as your user; set engine.tls and tls://, or"
                " accept it with engine.insecure: true",
                key="scheduler",
            )


def scheduler_host(address: str) -> str:
    """Return the host of an address such as ``tls://host:8786``, IPv6 without its brackets."""
    return address.rpartition("://")[2].rpartition(":")[0].strip("[]")
