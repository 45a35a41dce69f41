"""A whole params file around a proposed contract: a network and a training of fitting size."""

import math
from typing import Any

from modelyard.data.suggest.proposal import Proposal
from modelyard.data.suggest.written import data_yaml, section_yaml

_STEPS = 2000
"""About as many optimizer steps as a small network needs."""


def recipe(proposal: Proposal, name: str) -> str:
    """The text of a params file that runs as it is.

    Sizes go by the number of rows: enough steps to learn by, few enough for minutes on a CPU.

    Args:
        proposal: The ``data`` section.
        name: That of the registered model.
    """
    data, num_train = proposal.tree, math.ceil(0.8 * proposal.num_rows)
    largest = 256 if num_train < 500_000 else 2048
    batch = min(largest, max(16, 2 ** round(math.log2(max(num_train, 1) / 40))))
    epochs = min(60, max(2, round(_STEPS * batch / max(num_train, 1))))
    workers = 2 if proposal.num_rows >= 20_000 else 1
    seen = data["kind"] in ("image", "audio")
    model, lr = (_cnn(data), 0.003) if seen else (_mlp(num_train), 0.002)
    notes = {
        "model.factory": "mlp | cnn | resnet | custom.module:function",
        "train.batch_size": "over all workers together",
        "train.epochs": f"at most; about {_STEPS} steps for {num_train} rows",
        "promote.budgets": _why_budget(proposal),
    }
    budgets = {"min_score": _least(proposal), "max_latency_ms": 20, "max_size_mb": 20}
    sections: dict[str, dict[str, Any]] = {
        "model": model,
        "train": {
            "workers": workers,
            "epochs": epochs,
            "batch_size": batch,
            "loss": {"name": "auto"},
            "optimizer": {"name": "adamw", "lr": lr, "weight_decay": 0.01},
            "schedule": {"name": "one_cycle"},
            "early_stopping": {"metric": "loss", "patience": max(3, epochs // 5)},
            "seed": 0,
        },
        "evaluate": {
            "bootstrap": 1000,
            "confidence": 0.95,
            "folds": 0,
            "baselines": [] if seen else ["linear", "boosting"],
        },
        "compress": {
            "candidates": ["fp32", "fp16", "int8"],
            "max_drop": 0.01,
            "objective": "latency",
            "calibration_rows": 256,
        },
        "registry": {"name": name},
        "promote": {"mode": "auto", "margin": 0.05, "budgets": budgets},
    }
    written = [section_yaml(key, tree, notes) for key, tree in sections.items()]
    head = "# Made by `modelyard init` from the source: every comment is a guess's evidence.\n"
    return "\n".join([head + data_yaml(proposal), *written])


def _mlp(num_train: int) -> dict[str, Any]:
    """Wider and less held back where there are more rows."""
    sizes = ((1000, [32], 0.2), (10_000, [64, 32], 0.1), (100_000, [128, 64], 0.1))
    hidden, dropout = next(
        ((hidden, dropout) for most, hidden, dropout in sizes if num_train < most),
        ([256, 128], 0.0),
    )
    return {"factory": "mlp", "args": {"hidden": hidden, "dropout": dropout}, "init": "kaiming"}


def _cnn(data: dict[str, Any]) -> dict[str, Any]:
    """One stage for each halving that leaves 4 pixels, three at most."""
    fields = data["schema"]["fields"]
    sides = [min(field["height"], field["width"]) for field in fields if "height" in field]
    stages = max(1, min(3, int(math.log2(min(sides, default=40) / 4))))
    args = {"channels": [16, 32, 64][:stages], "hidden": 64}
    return {"factory": "cnn", "args": args, "init": "kaiming"}


def _least(proposal: Proposal) -> float:
    """What a version must reach: what always answering the commonest class would, nearly.

    The budget is on the lower end of the test's interval, so two standard errors are taken off.
    """
    share, num_test = proposal.commonest, max(1, proposal.num_rows // 10)
    error = math.sqrt(share * (1 - share) / num_test)
    return max(0, math.floor(100 * (share - 2 * error - 0.05))) / 100


def _why_budget(proposal: Proposal) -> str:
    if proposal.tree["task"] == "regression":
        return "min_score 0: as good as always answering the median; raise it"
    if proposal.tree["task"] == "multi-label":
        return "min_score 0: no label right; raise it"
    share = f"{proposal.commonest:.2f}"
    return f"min_score: hardly less than the commonest class's share, {share}; raise it"
