"""Figures of the GPUs from NVML, also when the driver does not answer."""
# ruff: noqa: N802 - the names are NVML's

import logging
from types import SimpleNamespace

import pytest

from livepick.host.gpus import NOT_SUPPORTED, STALE_SECONDS, Gpu, GpuMonitor, nvml
from livepick.monitoring.metrics.exporter import Metrics

GIB = 2**30
SERIES = ("memory_used_bytes", "memory_size_bytes", "busy_ratio")


class Driver:
    """Replaces pynvml: it has two GPUs, and its functions fail on demand."""

    class NVMLError(Exception):
        """Error that its functions raise."""

        def __init__(self, value, text="Driver Not Loaded"):
            super().__init__(text)
            self.value = value

    def __init__(self):
        self.failing = {}
        self.lost = set()
        self.begun = self.ended = 0

    def _ask(self, what):
        if what in self.failing:
            raise self.NVMLError(self.failing[what])

    def nvmlInit(self):
        self._ask("init")
        self.begun += 1

    def nvmlShutdown(self):
        self.ended += 1
        self._ask("shutdown")

    def nvmlDeviceGetCount(self):
        self._ask("count")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        if index in self.lost:
            raise self.NVMLError(15, "GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle):
        self._ask("memory")
        return SimpleNamespace(total=80 * GIB, used=(handle + 1) * GIB, free=0)

    def nvmlDeviceGetUtilizationRates(self, handle):
        self._ask("rates")
        return SimpleNamespace(gpu=25 * (handle + 1), memory=99)


@pytest.fixture
def driver():
    return Driver()


@pytest.fixture
def clock():
    return SimpleNamespace(now=100.0)


@pytest.fixture
def monitor(driver, clock, caplog):
    caplog.set_level(logging.INFO, logger="livepick.host.gpus")
    return GpuMonitor(driver, clock=lambda: clock.now)


def series(metrics):
    """Return the exported values of GPUs, by name and GPU."""
    return {
        (sample.name.removeprefix("livepick_gpu_"), sample.labels["gpu"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("livepick_gpu_") and "gpu" in sample.labels
    }


def test_each_gpu_has_its_figures(monitor):
    """Used memory, all memory, and load, as the driver reports them."""
    monitor.query()
    metrics = Metrics()
    metrics.host.gpus(monitor.gpus)

    assert monitor.gpus == (Gpu(0, GIB, 80 * GIB, 0.25), Gpu(1, 2 * GIB, 80 * GIB, 0.5))
    assert series(metrics) == {
        ("memory_used_bytes", "0"): GIB,
        ("memory_used_bytes", "1"): 2 * GIB,
        ("memory_size_bytes", "0"): 80 * GIB,
        ("memory_size_bytes", "1"): 80 * GIB,
        ("busy_ratio", "0"): 0.25,
        ("busy_ratio", "1"): 0.5,
    }


def test_without_its_driver_a_gpu_has_no_series_and_one_line_in_the_log(monitor, driver, caplog):
    """A last value that stays would look like a working GPU. The driver may come back."""
    metrics = Metrics()
    monitor.query()
    metrics.host.gpus(monitor.gpus)
    driver.failing = {"count": 9, "init": 9, "shutdown": 1}
    for _ in range(3):
        monitor.query()
        metrics.host.gpus(monitor.gpus)
    assert series(metrics) == {}
    driver.failing = {}
    monitor.query()
    metrics.host.gpus(monitor.gpus)
    assert len(series(metrics)) == 6

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "gpu 0, 1: found"),
        ("WARNING", "gpu 0, 1: no longer available: Driver Not Loaded"),
        ("INFO", "gpu 0, 1: found"),
    ]
    assert (driver.begun, driver.ended) == (2, 1)


def test_a_gpu_that_falls_off_the_bus_leaves_the_others(monitor, driver, caplog):
    metrics = Metrics()
    monitor.query()
    metrics.host.gpus(monitor.gpus)
    driver.lost = {0}
    monitor.query()
    metrics.host.gpus(monitor.gpus)

    assert {gpu for _, gpu in series(metrics)} == {"1"}
    assert caplog.messages[-1] == "gpu 0: no longer available: GPU is lost"
    assert driver.ended == 0


def test_a_figure_that_a_gpu_does_not_have_is_absent(monitor, driver):
    """A GPU split by MIG has no utilisation, but its memory is known."""
    driver.failing = {"rates": NOT_SUPPORTED}
    monitor.query()
    metrics = Metrics()
    metrics.host.gpus(monitor.gpus)

    assert {name for name, _ in series(metrics)} == {"memory_used_bytes", "memory_size_bytes"}


def test_figures_expire_while_the_driver_hangs(monitor, clock):
    """Old figures would look like current ones."""
    monitor.query()
    clock.now += STALE_SECONDS - 1
    assert monitor.gpus
    clock.now += 1
    assert monitor.gpus == ()


@pytest.mark.parametrize("what", ["init", "count"])
def test_without_a_driver_there_are_no_figures_and_no_log_lines(monitor, driver, caplog, what):
    driver.failing = {what: 12}
    monitor.query()

    assert monitor.gpus == ()
    assert caplog.records == []


def test_without_the_library_the_thread_waits_until_it_is_stopped(caplog):
    monitor = GpuMonitor(None)
    monitor.query()
    monitor.stop()
    monitor.run()

    assert monitor.gpus == ()
    assert caplog.records == []


@pytest.mark.skipif(nvml() is None, reason="nvidia-ml-py is missing (the extra gpu)")
def test_the_real_library_has_all_functions_that_are_used():
    """On a machine without a driver it reports no GPUs and logs nothing."""
    real = nvml()
    for name in vars(Driver):
        if name.startswith("nvml"):
            assert callable(getattr(real, name))
    assert real.NVML_ERROR_NOT_SUPPORTED == NOT_SUPPORTED
    assert issubclass(real.NVMLError, Exception)
    assert real.NVMLError(NOT_SUPPORTED).value == NOT_SUPPORTED

    monitor = GpuMonitor(real)
    monitor.query()
    for gpu in monitor.gpus:
        assert gpu.memory_size_bytes is None or gpu.memory_size_bytes > 0
