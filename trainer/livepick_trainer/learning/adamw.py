"""AdamW, computed by torch, but without its class ``torch.optim.AdamW``.

An optimizer of torch imports torch's compiler when it is made. The trainer compiles nothing, and
that import takes as long as all others together, and 70 MB.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

__all__ = ["AdamW"]

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class AdamW:
    """AdamW optimizer of parameters, with the attributes that a ``GradScaler`` uses.

    Parameters
    ----------
    parameters
        Parameters to optimize.
    learning_rate, weight_decay
        Settings. ``param_groups[0]["lr"]`` is the learning rate of the next step.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, learning_rate: float, weight_decay: float
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [
            {"params": list(parameters), "lr": learning_rate, "weight_decay": weight_decay}
        ]
        self._state: dict[int, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Remove all gradients."""
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def step(self) -> None:
        """Change the parameters that have a gradient."""
        (group,) = self.param_groups
        learned = [(n, p) for n, p in enumerate(group["params"]) if p.grad is not None]
        state = [self._state.setdefault(n, _first_state(p)) for n, p in learned]
        with torch.no_grad():
            adamw(
                [parameter for _, parameter in learned],
                [parameter.grad for _, parameter in learned],
                [entry["exp_avg"] for entry in state],
                [entry["exp_avg_sq"] for entry in state],
                [],
                [entry["step"] for entry in state],
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=EPSILON,
                maximize=False,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state in the form of ``torch.optim.AdamW``; tensors are not copied."""
        (group,) = self.param_groups
        numbers = list(range(len(group["params"])))
        return {"state": self._state, "param_groups": [group | {"params": numbers}]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a copy of the state that ``state_dict``, or ``torch.optim.AdamW``, has returned."""
        (group,), (loaded,) = self.param_groups, state["param_groups"]
        group.update({name: loaded[name] for name in ("lr", "weight_decay")})
        self._state = {
            number: {
                "step": entry["step"].clone(),
                "exp_avg": entry["exp_avg"].to(group["params"][number].device, copy=True),
                "exp_avg_sq": entry["exp_avg_sq"].to(group["params"][number].device, copy=True),
            }
            for number, entry in state["state"].items()
        }


def _first_state(parameter: Tensor) -> dict[str, Tensor]:
    return {
        "step": torch.tensor(0.0),
        "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
    }
