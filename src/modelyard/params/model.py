"""The sections after ``data``, and the whole.

They are model, train, evaluate, compress, registry and promote; serve is in a file of its own.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field as Key
from pydantic import model_validator

from modelyard.errors import ParamsError
from modelyard.params.base import Section
from modelyard.params.data import DataParams
from modelyard.params.serve import ServeParams

LOSSES = {
    "classification": ("cross_entropy", "focal"),
    "multi-label": ("binary_cross_entropy",),
    "regression": ("mse", "mae", "huber"),
}
_NAME = "[a-z0-9][a-z0-9_-]{0,62}"
Positive = Annotated[float, Key(gt=0)]
NonNegative = Annotated[float, Key(ge=0)]
Count = Annotated[int, Key(ge=1)]
Seed = Annotated[int, Key(ge=0, lt=2**32)]
Workers = Annotated[int, Key(ge=1, le=64)]
PromoteMode = Literal["auto", "manual", "approve"]
Fraction = Annotated[float, Key(ge=0, lt=1)]


class ModelParams(Section):
    """Which network: a name of the zoo, or ``package.module:function`` called with ``args``."""

    factory: Annotated[str, Key(pattern=r"^(mlp|cnn|resnet|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")]
    args: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it for each section
    init: Literal["default", "xavier", "kaiming"] = "default"


class Loss(Section):
    """What is minimized; ``auto`` is the task's first one.

    Classification: cross_entropy or focal. Multi-label: binary_cross_entropy. Regression (of the
    target scaled by train's mean and deviation): mse, mae or huber, without weights of classes
    and without smoothing.
    """

    name: Literal[
        "auto", "cross_entropy", "focal", "binary_cross_entropy", "mse", "mae", "huber"
    ] = "auto"
    label_smoothing: Fraction = 0.0
    gamma: NonNegative = 2.0
    class_weights: Literal["none", "balanced"] = "none"


class Optimizer(Section):
    """How weights follow the gradient; ``momentum`` is SGD's, ``betas`` are Adam's and AdamW's."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    momentum: Fraction = 0.9
    betas: Annotated[tuple[Fraction, Fraction], Key(strict=False)] = (0.9, 0.999)
    clip_norm: Positive | None = None


class Schedule(Section):
    """The learning rate over the steps, after ``warmup`` (a share of all steps) of linear rise."""

    name: Literal["constant", "cosine", "step", "one_cycle"] = "constant"
    warmup: Fraction = 0.0
    step_epochs: Count = 10
    gamma: Annotated[float, Key(gt=0, le=1)] = 0.1


class EarlyStopping(Section):
    """End when the validation metric has not improved by ``min_delta`` for ``patience`` epochs.

    The best weights count. ``score`` is the task's main metric (``artifacts.MAIN_METRIC``).
    """

    metric: Literal["loss", "score"] = "loss"
    patience: Count = 3
    min_delta: NonNegative = 0.0


class TrainParams(Section):
    """How the network is trained; ``batch_size`` is that of all workers together."""

    workers: Workers = 2
    epochs: Count = 10
    batch_size: Count = 64
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    early_stopping: EarlyStopping | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _batch_feeds_every_worker(self) -> Self:
        if self.batch_size % self.workers:
            lower = max(self.workers, self.batch_size - self.batch_size % self.workers)
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of workers {self.workers}; "
                f"nearest: {lower}"
            )
        return self


class EvaluateParams(Section):
    """How the trained model is judged.

    ``bootstrap`` resamples give intervals of level ``confidence``. ``folds`` above 0 trains that
    many more networks, each judged on rows that it did not see (cross-validation). ``baselines``
    are scikit-learn's: a linear model (logistic or ridge regression), gradient boosting.
    """

    bootstrap: Annotated[int, Key(ge=100, le=100_000)] = 1000
    confidence: Annotated[float, Key(gt=0.5, lt=1)] = 0.95
    folds: Annotated[int, Key(ge=0, le=50)]
    baselines: Annotated[tuple[Literal["linear", "boosting"], ...], Key(strict=False)] = ()
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_fold_is_none(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds: 1 leaves nothing to train on; nearest: 2, or 0 for none")
        return self


class CompressParams(Section):
    """The candidates, and how much paired validation accuracy the chosen one may lose."""

    candidates: Annotated[
        tuple[Literal["fp32", "fp16", "int8"], ...], Key(strict=False, min_length=1)
    ] = (
        "fp32",
        "fp16",
        "int8",
    )
    max_drop: Annotated[float, Key(ge=0, le=1)] = 0.01
    objective: Literal["latency", "size"] = "latency"
    calibration_rows: Annotated[int, Key(ge=8)] = 256
    golden_rows: Annotated[int, Key(ge=1, le=256)] = 8

    @model_validator(mode="after")
    def _fp32_is_the_way_back(self) -> Self:
        if "fp32" not in self.candidates:
            raise ValueError(
                "candidates must name fp32: it ships when nothing smaller is within max_drop"
            )
        return self


class RegistryParams(Section):
    """The registered model's name in MLflow, which is also its name in the server."""

    name: Annotated[str, Key(pattern=f"^{_NAME}$")]


def check_name(name: str) -> str:
    """Return ``name`` if a model can be registered by it.

    Raises:
        ParamsError: it is no name of a registered model.
    """
    if not re.fullmatch(_NAME, name):
        raise ParamsError(
            f"{name!r} is no name of a model",
            "A name has lower-case letters, digits, - and _, at most 63, "
            "and begins with a letter or digit.",
        )
    return name


class Budgets(Section):
    """Absolute bounds that every version must keep.

    They are on the lower interval end of the task's main metric, one-row latency (p50) and file
    size; on the shipped file's recall of each class (or label), and on the lower interval end of
    the main metric in each sensitive group that is large enough to be compared.
    """

    min_score: Annotated[float, Key(ge=-1, le=1)] | None = None
    max_latency_ms: Positive | None = None
    max_size_mb: Positive | None = None
    min_class_recall: Annotated[float, Key(ge=0, le=1)] | None = None
    min_group_score: Annotated[float, Key(ge=-1, le=1)] | None = None


class PromoteParams(Section):
    """The gate; ``margin`` is the largest loss of accuracy against the champion that the interval may admit.

    What passed it goes live at once (``auto``), waits for `modelyard promote` or an alias
    (``manual``), or for a person in Prefect's UI (``approve``), for ``approval_minutes`` at most.
    """  # noqa: E501 - docs/reference has it whole

    mode: PromoteMode = "auto"
    margin: Fraction = 0.02
    budgets: Budgets = Budgets()
    approval_minutes: Positive = 60.0


class Params(Section):
    """The whole of params.yaml.

    Each section is there, so that DVC can name what a stage depends on.
    """

    data: DataParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    compress: CompressParams
    registry: RegistryParams
    promote: PromoteParams
    serve: ServeParams = ServeParams()

    @model_validator(mode="after")
    def _loss_fits_the_task(self) -> Self:
        known = LOSSES[self.data.task]
        if self.train.loss.name not in ("auto", *known):
            raise ValueError(
                f"train.loss.name {self.train.loss.name!r} is not for task {self.data.task}; "
                f"possible: {', '.join(known)}"
            )
        if self.data.task == "regression" and (
            self.train.loss.class_weights != "none" or self.train.loss.label_smoothing
        ):
            raise ValueError(
                "train.loss: class_weights and label_smoothing are for classes and labels; "
                "task regression has none: leave both out"
            )
        return self
