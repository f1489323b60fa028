"""Figures of the cards from NVML, also when the driver does not answer."""
# ruff: noqa: N802 - the names are NVML's

import logging
from types import SimpleNamespace

import pytest

from livepick.host.gpus import NOT_SUPPORTED, STALE_SECONDS, Card, Cards, nvml
from livepick.monitoring.metrics.exporter import Metrics

GIB = 2**30
SERIES = ("memory_used_bytes", "memory_size_bytes", "busy_ratio")


class Driver:
    """Replaces pynvml: it has two cards, and its functions fail on demand."""

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
def cards(driver, clock, caplog):
    caplog.set_level(logging.INFO, logger="livepick.host.gpus")
    return Cards(driver, clock=lambda: clock.now)


def series(metrics):
    """Return the exported values of GPUs, by name and card."""
    return {
        (sample.name.removeprefix("livepick_gpu_"), sample.labels["gpu"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("livepick_gpu_")
    }


def test_each_card_has_its_figures(cards):
    """Used memory, all memory, and load, as the driver reports them."""
    cards.query()
    metrics = Metrics()
    metrics.host.gpus(cards.present)

    assert cards.present == (Card(0, GIB, 80 * GIB, 0.25), Card(1, 2 * GIB, 80 * GIB, 0.5))
    assert series(metrics) == {
        ("memory_used_bytes", "0"): GIB,
        ("memory_used_bytes", "1"): 2 * GIB,
        ("memory_size_bytes", "0"): 80 * GIB,
        ("memory_size_bytes", "1"): 80 * GIB,
        ("busy_ratio", "0"): 0.25,
        ("busy_ratio", "1"): 0.5,
    }


def test_without_its_driver_a_card_has_no_series_and_one_line_in_the_log(cards, driver, caplog):
    """A last value that stays would look like a working card. The driver may come back."""
    metrics = Metrics()
    cards.query()
    metrics.host.gpus(cards.present)
    driver.failing = {"count": 9, "init": 9, "shutdown": 1}
    for _ in range(3):
        cards.query()
        metrics.host.gpus(cards.present)
    assert series(metrics) == {}
    driver.failing = {}
    cards.query()
    metrics.host.gpus(cards.present)
    assert len(series(metrics)) == 6

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "gpu 0, 1: found"),
        ("WARNING", "gpu 0, 1: no longer available: Driver Not Loaded"),
        ("INFO", "gpu 0, 1: found"),
    ]
    assert (driver.begun, driver.ended) == (2, 1)


def test_a_card_that_falls_off_the_bus_leaves_the_others(cards, driver, caplog):
    metrics = Metrics()
    cards.query()
    metrics.host.gpus(cards.present)
    driver.lost = {0}
    cards.query()
    metrics.host.gpus(cards.present)

    assert {gpu for _, gpu in series(metrics)} == {"1"}
    assert caplog.messages[-1] == "gpu 0: no longer available: GPU is lost"
    assert driver.ended == 0


def test_a_figure_that_a_card_does_not_have_is_absent(cards, driver):
    """A card split by MIG has no utilisation, but its memory is known."""
    driver.failing = {"rates": NOT_SUPPORTED}
    cards.query()
    metrics = Metrics()
    metrics.host.gpus(cards.present)

    assert {name for name, _ in series(metrics)} == {"memory_used_bytes", "memory_size_bytes"}


def test_figures_expire_while_the_driver_hangs(cards, clock):
    """Old figures would look like current ones."""
    cards.query()
    clock.now += STALE_SECONDS - 1
    assert cards.present
    clock.now += 1
    assert cards.present == ()


@pytest.mark.parametrize("what", ["init", "count"])
def test_without_a_driver_there_are_no_figures_and_no_log_lines(cards, driver, caplog, what):
    driver.failing = {what: 12}
    cards.query()

    assert cards.present == ()
    assert caplog.records == []


def test_without_the_library_the_thread_waits_until_it_is_stopped(caplog):
    cards = Cards(None)
    cards.query()
    cards.stop()
    cards.run()

    assert cards.present == ()
    assert caplog.records == []


@pytest.mark.skipif(nvml() is None, reason="nvidia-ml-py is missing (the extra gpu)")
def test_the_real_library_has_all_functions_that_are_used():
    """On a machine without a driver it reports no cards and logs nothing."""
    real = nvml()
    for name in vars(Driver):
        if name.startswith("nvml"):
            assert callable(getattr(real, name))
    assert real.NVML_ERROR_NOT_SUPPORTED == NOT_SUPPORTED
    assert issubclass(real.NVMLError, Exception)
    assert real.NVMLError(NOT_SUPPORTED).value == NOT_SUPPORTED

    cards = Cards(real)
    cards.query()
    for card in cards.present:
        assert card.memory_size_bytes is None or card.memory_size_bytes > 0
