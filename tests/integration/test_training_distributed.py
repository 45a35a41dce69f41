"""Real workers: any number of them gives the same training, the same inputs give the same bytes."""

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_project import make_project, model_params, run, train_params

from modelyard.artifacts import Layout, TrainedModel, read_json
from modelyard.errors import ParamsError, TrainingFailed, WorkspaceError
from modelyard.models import load
from modelyard.params import ModelParams
from modelyard.training import Stream

pytestmark = pytest.mark.distributed

MLP = ModelParams(factory="mlp", args={"hidden": [16]}, init="xavier")
CNN = ModelParams(factory="cnn", args={"channels": [4, 8], "hidden": 16, "dropout": 0.2})


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_project(tmp_path)


def test_any_number_of_workers_trains_the_same(layout: Layout) -> None:
    optimizer = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "clip_norm": 1.0}
    loss = {"name": "cross_entropy", "class_weights": "balanced", "label_smoothing": 0.1}
    histories = [
        run(
            layout,
            MLP,
            train_params(workers=workers, epochs=2, optimizer=optimizer, loss=loss),
            f"checkpoints-{workers}",
        )[1]
        for workers in (1, 2, 4)
    ]
    assert histories[0][-1]["train_loss"] < histories[0][0]["train_loss"]
    for history in histories[1:]:
        for record, alone in zip(history, histories[0], strict=True):
            assert record == pytest.approx(alone, abs=1e-5)


def test_same_inputs_give_same_bytes_in_any_thread(layout: Layout) -> None:
    in_main, history, reported = run(layout, CNN, train_params(), "one")
    results: list[str] = []
    thread = threading.Thread(
        target=lambda: results.append(run(layout, CNN, train_params(), "two")[0])
    )
    thread.start()
    thread.join()
    assert results == [in_main]
    assert [vars(record) for record in reported] == history
    other, *_ = run(layout, CNN, train_params(seed=1), "three")
    assert other != in_main


def test_outputs_describe_the_best_epoch(layout: Layout) -> None:
    stopping = {"metric": "score", "patience": 2}
    params = train_params(epochs=12, early_stopping=stopping)
    _, history, _ = run(layout, CNN, params)
    description = read_json(layout.trained / "model.json")
    metrics = read_json(layout.metrics("train"))
    best = history[description["best_epoch"] - 1]
    assert len(history) == description["epochs_run"] == description["best_epoch"] + 2 < 12
    assert best["validation_score"] == max(r["validation_score"] for r in history)
    assert metrics["validation_score"] == best["validation_score"] > 0.9
    assert description["input_shape"] == [1, 8, 8]
    model = load(TrainedModel(layout.trained), layout.root)
    assert sum(p.numel() for p in model.parameters()) == metrics["num_parameters"]
    weights = load_file(layout.trained / "model.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])
    text = "".join(path.read_text() for path in layout.trained.glob("*.json"))
    assert str(layout.root) not in text


def test_a_finished_training_is_not_repeated(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = run(layout, MLP, train_params(epochs=1))
    monkeypatch.setattr("modelyard.training.launcher.launch", lambda job: pytest.fail("launched"))
    (layout.trained / "history.json").write_text("left by somebody")
    again, _, reported = run(layout, MLP, train_params(epochs=1))
    assert again == first
    assert reported == []


def test_losing_mlflow_changes_nothing(layout: Layout) -> None:
    nowhere = Stream("http://127.0.0.1:9", "no-such-run")
    without, *_ = run(layout, MLP, train_params(epochs=2), "without")
    with_it, *_ = run(layout, MLP, train_params(epochs=2), "with", nowhere)
    assert with_it == without


def test_a_rank_that_raises_is_named_with_its_traceback(layout: Layout) -> None:
    model = model_params("raise", folder=str(layout.root), rank=1, step=3)
    with pytest.raises(TrainingFailed) as failure:
        run(layout, model, train_params())
    text = str(failure.value)
    assert "rank 1 of 2 failed: RuntimeError: the planted failure" in text
    assert "misbehaving.py" in text
    assert "in act" in text
    assert not layout.trained.exists()
    again, *_ = run(layout, model_params(folder=str(layout.root)), train_params(), "again")
    assert again


def test_a_rank_that_exits_is_named(layout: Layout) -> None:
    model = model_params("exit", folder=str(layout.root), rank=1, step=3)
    with pytest.raises(TrainingFailed, match="rank 1 of 2 ended with exit code 3"):
        run(layout, model, train_params())


def test_a_loss_that_is_not_finite_says_where_and_what_to_do(layout: Layout) -> None:
    params = train_params(optimizer={"name": "sgd", "lr": 1e30}, schedule={"name": "constant"})
    with pytest.raises(TrainingFailed, match=r"loss is (nan|inf) in epoch 1, step \d") as failure:
        run(layout, MLP, params)
    assert "train.optimizer.lr (now 1e+30)" in failure.value.remedy


def test_errors_of_params_and_disk_keep_their_class(layout: Layout) -> None:
    with pytest.raises(ParamsError, match="did you mean 'channels'"):
        run(layout, ModelParams(factory="cnn", args={"chanels": [4]}), train_params())
    layout.trained.parent.mkdir(exist_ok=True)
    layout.trained.parent.joinpath("trained").write_text("a file where the folder should be")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        run(layout, MLP, train_params(epochs=1), "other")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator")
def test_one_step_on_an_accelerator(layout: Layout) -> None:
    params = train_params(workers=1, epochs=1, batch_size=96)
    on_device, history, _ = run(layout, CNN, params, "one")
    assert run(layout, CNN, params, "two")[0] == on_device
    assert history[0]["train_loss"] < 2
