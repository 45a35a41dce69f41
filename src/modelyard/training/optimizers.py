"""Optimizers from params, and their state as named tensors for checkpoints without pickle."""

import torch
from torch import Tensor, nn

from modelyard.params import Optimizer


def make_optimizer(params: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, Adam or AdamW over all parameters of ``network`` that take a gradient."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if params.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=params.lr,
            momentum=params.momentum,
            weight_decay=params.weight_decay,
        )
    kind = torch.optim.Adam if params.name == "adam" else torch.optim.AdamW
    return kind(
        parameters,
        lr=params.lr,
        betas=params.betas,
        weight_decay=params.weight_decay,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state as ``{"<parameter index>.<slot>": tensor}`` on the CPU."""
    return {
        f"{index}.{slot}": value.detach().cpu()
        for index, slots in optimizer.state_dict()["state"].items()
        for slot, value in slots.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` gave; groups (rates, betas) stay as params made them."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, slot = key.partition(".")
        state.setdefault(int(index), {})[slot] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
