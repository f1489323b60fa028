"""Which GPU a number of ``engine.devices`` is, with and without an inherited list."""

import pytest

from livepick.errors import ProviderError
from livepick.picking.gpu_pins import pins, visible_gpus

UUIDS = "GPU-8f0c0000-1111,GPU-9a1d0000-2222"


def test_numbers_are_those_of_nvidia_smi_if_nothing_is_inherited():
    """By default, CUDA would number them by speed."""
    (pin,) = pins([1], {})
    assert pin.name == "GPU 1"
    assert pin.environment == {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_an_order_that_the_administrator_set_stays():
    (pin,) = pins([1], {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})
    assert pin.environment == {"CUDA_VISIBLE_DEVICES": "1"}


@pytest.mark.parametrize(
    ("inherited", "numbers", "visible"),
    [
        ("5,7", [0, 1], ["5", "7"]),
        (" 5, 7 ", [1], ["7"]),
        (UUIDS, [1, 0], UUIDS.split(",")[::-1]),
        ("MIG-77", [0], ["MIG-77"]),
    ],
)
def test_numbers_are_places_in_an_inherited_list(inherited, numbers, visible):
    """A worker never gets a GPU that was not given to the service."""
    found = pins(numbers, {"CUDA_VISIBLE_DEVICES": inherited})
    assert [pin.environment for pin in found] == [{"CUDA_VISIBLE_DEVICES": v} for v in visible]
    assert [pin.index for pin in found] == numbers


@pytest.mark.parametrize(
    ("inherited", "count"),
    [
        ("7", "1 GPU,"),
        ("", "no GPUs"),
        ("-1", "no GPUs"),
        ("NoDevFiles", "no GPUs"),
        ("3,-1,4", "1 GPU,"),
    ],
)
def test_a_number_beyond_the_inherited_list_is_named(inherited, count):
    """CUDA ignores everything after the first entry that is not a GPU."""
    with pytest.raises(ProviderError, match=rf"engine\.devices has 1, and .*{count}"):
        pins([1], {"CUDA_VISIBLE_DEVICES": inherited})


@pytest.mark.parametrize(
    ("environ", "variables"),
    [
        ({}, {"CUDA_VISIBLE_DEVICES": "2,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
        ({"CUDA_VISIBLE_DEVICES": "5,6,7"}, {"CUDA_VISIBLE_DEVICES": "7,5"}),
    ],
)
def test_a_trainer_sees_all_gpus_of_its_worker_and_no_other(environ, variables):
    """Without a list it is left to CUDA."""
    assert visible_gpus([2, 0], environ) == variables
    assert visible_gpus([], environ) == {}
