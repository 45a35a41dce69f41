"""What was saved is what is loaded, and a folder that does not fit is refused."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modelyard.artifacts import TrainedModel
from modelyard.errors import WorkspaceError
from modelyard.models import build, load, save
from modelyard.models.trained import Description, describe
from modelyard.params import ModelParams

ARGS = {"channels": [2], "hidden": 4}
DESCRIPTION = Description("cnn", ARGS, "classification", (1, 8, 8), (), 3, 2, 3, 99)


def _saved(tmp_path: Path) -> tuple[TrainedModel, dict[str, torch.Tensor]]:
    params = ModelParams(factory=DESCRIPTION.factory, args=DESCRIPTION.args)
    model = build(params, DESCRIPTION.input_shape, DESCRIPTION.num_outputs, tmp_path)
    weights = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    save_file(weights, tmp_path / "weights")
    history = [{"epoch": 1, "train_loss": 0.5}]
    return save(tmp_path / "trained", tmp_path / "weights", DESCRIPTION, history), weights


def test_round_trip_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained/stale").touch()
    trained, weights = _saved(tmp_path)
    assert {path.name for path in trained.path.iterdir()} == {
        "model.safetensors",
        "model.json",
        "history.json",
    }
    assert describe(trained) == DESCRIPTION
    model = load(trained, tmp_path)
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])
    assert {path.name for path in tmp_path.iterdir()} == {"trained", "weights"}


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    _saved(tmp_path)
    other = dataclasses.replace(DESCRIPTION, args={"channels": [3], "hidden": 4})
    trained = save(tmp_path / "trained", tmp_path / "weights", other, [])
    with pytest.raises(WorkspaceError, match="do not fit cnn") as error:
        load(trained, tmp_path)
    assert "run the stage train again" in error.value.remedy


def test_no_trained_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no trained model"):
        load(TrainedModel(tmp_path / "nothing"), tmp_path)
