"""What NVML says of cards, and what becomes of it when the driver does not answer."""
# ruff: noqa: N802 - the names are NVML's

import logging
from types import SimpleNamespace

import pytest

from livepick.host.gpus import NOT_SUPPORTED, STALE_SECONDS, Card, Cards, nvml
from livepick.monitoring.metrics.exporter import Metrics

GIB = 2**30
SERIES = ("memory_used_bytes", "memory_size_bytes", "busy_ratio")


class Driver:
    """Stands in for pynvml: it has two cards, and fails where it is told to."""

    class NVMLError(Exception):
        """What its functions raise."""

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
    """Return the values that are exported of GPUs, by name and card."""
    return {
        (sample.name.removeprefix("livepick_gpu_"), sample.labels["gpu"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("livepick_gpu_")
    }


def test_each_card_has_its_figures(cards):
    """Memory used and in all, and how busy it is, as the driver says."""
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


def test_a_driver_that_goes_takes_the_series_with_it_and_is_said_once(cards, driver, caplog):
    """A last value that stays would look like a card that is well; and it may come back."""
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
    """A card split by MIG has no utilisation; its memory is told all the same."""
    driver.failing = {"rates": NOT_SUPPORTED}
    cards.query()
    metrics = Metrics()
    metrics.host.gpus(cards.present)

    assert {name for name, _ in series(metrics)} == {"memory_used_bytes", "memory_size_bytes"}


def test_a_driver_that_hangs_is_not_waited_for(cards, clock):
    """What it said long ago is not told as if it were so now."""
    cards.query()
    clock.now += STALE_SECONDS - 1
    assert cards.present
    clock.now += 1
    assert cards.present == ()


@pytest.mark.parametrize("what", ["init", "count"])
def test_without_a_driver_nothing_is_told_and_nothing_said(cards, driver, caplog, what):
    driver.failing = {what: 12}
    cards.query()

    assert cards.present == ()
    assert caplog.records == []


def test_without_the_library_it_waits_to_be_stopped(caplog):
    cards = Cards(None)
    cards.query()
    cards.stop()
    cards.run()

    assert cards.present == ()
    assert caplog.records == []


@pytest.mark.skipif(nvml() is None, reason="nvidia-ml-py is missing (the extra gpu)")
def test_the_real_library_has_what_is_asked_for():
    """And on a machine without a driver it says nothing of cards, without a word in the log."""
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
