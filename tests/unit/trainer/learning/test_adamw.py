"""The optimizer: that of torch, without what torch's class brings along."""

import subprocess
import sys

import torch

from livepick_trainer.learning.adamw import AdamW


def steps(optimizer, parameters, count, seed):
    """Take steps with random gradients; the last parameter never has one."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        optimizer.zero_grad()
        for parameter in parameters[:-1]:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.param_groups[0]["lr"] *= 0.9
        optimizer.step()


def made():
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4), (5,), (2,))
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def test_it_is_the_optimizer_of_torch_to_the_bit():
    """Also when it continues from a state of torch's, as of a checkpoint of an earlier version."""
    ours, theirs, resumed = made(), made(), made()
    one = AdamW(ours, learning_rate=0.01, weight_decay=0.1)
    other = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1)
    steps(one, ours, 3, seed=1)
    steps(other, theirs, 3, seed=1)
    for parameter, value in zip(resumed, theirs, strict=True):
        parameter.data.copy_(value.data)
    again = AdamW(resumed, learning_rate=1.0, weight_decay=1.0)
    again.load_state_dict(other.state_dict())

    for optimizer, parameters in ((one, ours), (other, theirs), (again, resumed)):
        steps(optimizer, parameters, 2, seed=2)

    for a, b, c in zip(ours, theirs, resumed, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(c, b)
    assert one.state_dict()["state"].keys() == other.state_dict()["state"].keys()


def test_a_trainer_loads_no_compiler():
    """It takes as long as the other imports together, and so does what scipy.signal brings."""
    code = """
import sys, torch
from livepick_trainer import __main__, stages
from livepick_trainer.learning.adamw import AdamW
torch.set_deterministic_debug_mode("error")
parameter = torch.nn.Parameter(torch.ones(1))
optimizer = AdamW([parameter], learning_rate=0.1, weight_decay=0.1)
parameter.sum().backward()
torch.amp.GradScaler("cpu", enabled=False).step(optimizer)
print(sorted({"torch._dynamo", "torch._inductor", "scipy.signal"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
