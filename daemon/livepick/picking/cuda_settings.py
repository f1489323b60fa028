"""The settings of CUDA in a worker process: those of the config, once the process is set up."""

from livepick.config.engine_section import CudaSettings

__all__ = ["cuda_settings", "use_cuda_settings"]

_in_use: list[CudaSettings] = []


def cuda_settings() -> CudaSettings:
    """Return the settings of this process; the defaults in a process that is not a worker."""
    return _in_use[-1] if _in_use else CudaSettings()


def use_cuda_settings(settings: CudaSettings) -> None:
    """Use these settings from now on; sessions that exist already keep theirs."""
    _in_use[:] = [settings]
