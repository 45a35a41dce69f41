"""What a sweep tries next, when it gives up, what it remembers, and how it looks."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import WorkspaceError
from modelyard.params.sweep import SweepParams
from modelyard.runs.sweep import trials
from modelyard.runs.sweep.picture import key_axis, parallel_coordinates
from modelyard.runs.sweep.report import short_names
from modelyard.runs.sweep.search import best_of, is_hopeless, propose
from modelyard.runs.sweep.trials import Trial

PARAMS = {
    "train.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "train.epochs": {"low": 2, "high": 8, "step": 2},
    "model.args.channels": [[4], [4, 8]],
}


def sweep(**changes: Any) -> SweepParams:
    tree = {"name": "tried", "trials": 30, "params": PARAMS, "seed": 1}
    return SweepParams.model_validate(tree | changes)


def epochs(*scores: float) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"epoch": index, "validation_score": score, "validation_loss": 1 - score}
        for index, score in enumerate(scores, 1)
    )


def value_of(params: dict[str, Any]) -> float:
    distance = abs(math.log10(params["train.optimizer.lr"]) + 2)
    return 1 - distance / 4 - 0.02 * (params["model.args.channels"] == [4])


def play(what: SweepParams, known: list[Trial] | None = None) -> list[Trial]:
    done = list(known or [])
    while (params := propose(what, done)) is not None:
        done.append(Trial(len(done), params, "done", value_of(params)))
    return done


def test_a_sweep_that_goes_on_tries_what_it_would_have_tried() -> None:
    what = sweep()
    whole = play(what)
    assert len(whole) == 30
    assert play(what, whole[:13]) == whole
    assert play(sweep(seed=2)) != whole


def test_it_learns_from_the_trials_before() -> None:
    done = play(sweep(seed=3))
    found = [abs(math.log10(trial.params["train.optimizer.lr"]) + 2) for trial in done]
    assert sum(found[15:]) < 0.75 * sum(found[:15])


def test_proposals_lie_in_what_is_asked_for() -> None:
    for trial in play(sweep()):
        lr, count, channels = trial.params.values()
        assert 1e-4 <= lr <= 1e-1
        assert count in (2, 4, 6, 8)
        assert channels in ([4], [4, 8])


def test_trials_under_way_do_not_repeat_each_other() -> None:
    what = sweep(params={"train.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}})
    done = [
        Trial(number, params, "done", 1.0 - number / 100)
        for number in range(12)
        if (params := propose(what, [])) is not None
    ]
    first = propose(what, done)
    assert first is not None
    second = propose(what, [*done, Trial(12, first)])
    assert second is not None
    assert second != first


def test_the_best_is_the_earliest_of_equals_in_the_objective_s_direction() -> None:
    done = [
        Trial(0, {}, "failed"),
        Trial(1, {}, "done", 0.5),
        Trial(2, {}, "done", 0.9),
        Trial(3, {}, "pruned", None, epochs=epochs(0.99)),
        Trial(4, {}, "done", 0.9),
    ]
    assert best_of(sweep(), done) == done[2]
    assert best_of(sweep(objective="loss"), done) == done[1]
    assert best_of(sweep(), done[:1]) is None


@pytest.mark.parametrize("objective", ["score", "loss"])
def test_the_pruner_waits_for_warmup_and_startup(objective: str) -> None:
    what = sweep(objective=objective, pruner={"name": "median", "warmup": 1, "startup": 2})
    good = [
        Trial(0, play(what)[0].params, "done", 0.9, epochs=epochs(0.6, 0.8, 0.9)),
        Trial(1, play(what)[1].params, "done", 0.8, epochs=epochs(0.5, 0.7, 0.8)),
    ]
    bad = Trial(2, play(what)[2].params, epochs=epochs(0.1))
    assert not is_hopeless(what, [*good, bad], bad), "the first epoch is for warming up"
    later = replace(bad, epochs=epochs(0.1, 0.2))
    assert is_hopeless(what, [*good, later], later)
    assert not is_hopeless(what, [good[0], later], later), "one finished trial is no median"
    fine = replace(bad, epochs=epochs(0.1, 0.9))
    assert not is_hopeless(what, [*good, fine], fine)
    never = sweep(objective=objective, pruner={"name": "none"})
    assert not is_hopeless(never, [*good, later], later)


def test_trials_are_read_as_they_were_written(tmp_path: Path) -> None:
    known = [
        Trial(0, {"model.args.channels": [4]}, "done", 0.5, epochs=epochs(0.1, 0.5), rows="ab"),
        Trial(1, {"model.args.channels": [4, 8]}, "failed", reason="the loss is nan"),
    ]
    for trial in known:
        trials.write(tmp_path, trial)
    assert trials.read(tmp_path) == known
    (tmp_path / "00000.json").write_text("{")
    with pytest.raises(WorkspaceError, match=r"00000\.json does not hold a trial"):
        trials.read(tmp_path)
    (tmp_path / "00000.json").unlink()
    with pytest.raises(WorkspaceError, match="lacks trial 0"):
        trials.read(tmp_path)


def test_the_picture_has_the_same_bytes_for_the_same_trials() -> None:
    what = sweep()
    done = play(what)
    done[3] = replace(done[3], state="pruned", value=None, epochs=epochs(0.2))
    done[4] = replace(done[4], state="failed", value=None)
    picture = parallel_coordinates(what, done, best_of(what, done))
    assert picture == parallel_coordinates(what, json_round(done), best_of(what, done))
    assert picture.startswith(b"\x89PNG")
    assert picture != parallel_coordinates(what, done[:10], done[0])
    assert parallel_coordinates(what, [], None).startswith(b"\x89PNG")


def test_keys_are_told_apart_by_as_little_as_does() -> None:
    keys = ["train.optimizer.lr", "train.schedule.gamma", "train.loss.gamma", "a.b", "b"]
    expected = ["lr", "schedule.gamma", "loss.gamma", "a.b", "b"]
    assert list(short_names(keys).values()) == expected


def json_round(done: list[Trial]) -> list[Trial]:
    return [replace(trial, params=json.loads(json.dumps(trial.params))) for trial in done]


def test_axes_place_values_by_ratio_step_and_list() -> None:
    lr, count, channels = (key_axis(key, values) for key, values in sweep().params.items())
    assert lr.place(1e-4) == 0
    assert lr.place(1e-1) == pytest.approx(1)
    assert lr.place(10**-2.5) == pytest.approx(0.5)
    assert [count.place(item) for item in (2, 4, 6, 8)] == [0, 1 / 3, 2 / 3, 1]
    assert (channels.place([4]), channels.place([4, 8])) == (0, 1)
