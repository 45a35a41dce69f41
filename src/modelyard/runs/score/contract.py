"""The contract of training as that of rows to be scored: the same but for what rows cannot have.

There is no target to check, and only columns that the model needs are read. What is asked of rows
together (unique values, repeats, bounds on the whole set) is not asked: each row is judged by
itself, so that what is said of it does not depend on what else is scored. Personal data are read
only where ``data.features`` may use their tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.data.files import has_files
from modelyard.data.source import SqlSource, parse_source
from modelyard.data.table_kinds import ACROSS_ROWS
from modelyard.data.table_suite import columns_named
from modelyard.errors import ModelyardError, SourceError, WorkspaceError
from modelyard.package.reader import TensorSpec
from modelyard.params import DataParams, Expectation, Field
from modelyard.params.data import MEDIA_KINDS
from modelyard.params.fields import FieldType
from modelyard.runs.git import git


@dataclass(frozen=True)
class Contract:
    """What a source must be like.

    Args:
        params: The section ``data`` of training with the source to be scored.
        fields: The columns that are read and checked.
        optional: Fields that a source may lack.
        features: The model's inputs as entries of dataset.json's ``features``.
        texts: That for a folder of texts, each file a row; None where the model takes more.
        learned_from_files: Whether the version's own rows were files.
        root: The project's folder, from which the user's functions are imported.
        state_dir: Where the key of tokens lies.
    """

    params: DataParams
    fields: tuple[Field, ...]
    optional: tuple[str, ...]
    features: tuple[dict[str, Any], ...]
    texts: DataParams | None
    learned_from_files: bool
    root: Path
    state_dir: Path

    @property
    def names(self) -> list[str]:
        """The model's inputs."""
        return [feature["name"] for feature in self.features]


def contract_of(
    data: DataParams, inputs: Sequence[TensorSpec], source: str, root: Path, state_dir: Path
) -> Contract:
    """The contract for ``source``.

    Args:
        data: The section ``data`` that the version was made with.
        inputs: What the model takes.
        source: As ``data.source``, relative to the folder that it is fetched from.
        root: The project's folder.
        state_dir: Of the settings.
    """
    inferred = tuple(
        Field(name=spec.name, type=_type(spec))
        for spec in inputs
        if spec.name not in {field.name for field in data.schema_.fields} and not data.features
    )
    fields = (*map(_alone, data.schema_.fields), *inferred)
    names = {spec.name for spec in inputs}
    read = tuple(
        field
        for field in fields
        if field.name not in data.targets and (_feeds(field, data) or field.name in names)
    )
    known = {field.name for field in read}
    optional = tuple(field.name for field in fields if field.name not in known)
    rest = "drop" if data.schema_.rest == "infer" else data.schema_.rest
    expectations = tuple(item for item in data.expectations if _is_asked(item, data, known))
    params = data.model_copy(
        update={
            "source": source,
            "sha256": None,
            "query": data.query if isinstance(parse_source(source), SqlSource) else None,
            "schema_": data.schema_.model_copy(update={"fields": fields, "rest": rest}),
            "target": (),
            "expectations": () if data.kind in MEDIA_KINDS else expectations,
            "quality": (),
            "clean": data.clean.model_copy(update={"duplicates": "keep", "outliers": None}),
        }
    )
    features = tuple(map(_feature, inputs))
    texts, of_files = _of_texts(params, read), has_files(data)
    return Contract(params, read, optional, features, texts, of_files, root, state_dir)


def check_custom_code(contract: Contract, commit: str) -> None:
    """Refuse to make features by other code than the version was trained with.

    Raises:
        WorkspaceError: ``custom`` is not as it was in ``commit``, or git does not know that.
    """
    if not contract.params.features:
        return
    try:
        git(contract.root, "diff", "--quiet", commit, "--", "custom")
    except ModelyardError:
        raise WorkspaceError(
            f"data.features: custom/ is not as it was when the version was made ({commit[:12]}), "
            "so its features could be others",
            f"Score in a checkout of that code: `git worktree add FOLDER {commit[:12]}`.",
        ) from None


def _of_texts(params: DataParams, read: tuple[Field, ...]) -> DataParams | None:
    """The contract of texts that are files: their paths tell nothing, so any will do."""
    if params.kind != "text" or len(read) != 1:
        return None
    schema = params.schema_.model_copy(update={"fields": read})
    return params.model_copy(update={"source": "**", "schema_": schema})


def _feeds(field: Field, data: DataParams) -> bool:
    """Whether ``data.features`` sees the field."""
    return bool(data.features) and not (field.pii and data.pii == "drop")


def _is_asked(item: Expectation, data: DataParams, known: set[str]) -> bool:
    """Whether an expectation can be met by rows without a target, each by itself.

    With ``data.features`` it may be about a column that is yet to be made.
    """
    if item.type in ACROSS_ROWS or item.type.startswith("expect_table_column"):
        return False
    names = set(columns_named(item.kwargs))
    return names <= known or (bool(data.features) and names.isdisjoint(data.targets))


def _alone(field: Field) -> Field:
    """The field without what it asks of rows together."""
    return field.model_copy(
        update={"constraints": field.constraints.model_copy(update={"unique": False})}
    )


def _type(spec: TensorSpec) -> FieldType:
    if not spec.type:
        raise SourceError(
            f"the model's input {spec.name!r} is no column of a table",
            "Register a version that was made by this version of Modelyard.",
        )
    return spec.type  # pyright: ignore[reportReturnType] - one of package.scalars.SCALARS


def _feature(spec: TensorSpec) -> dict[str, Any]:
    feature: dict[str, Any] = {"name": spec.name, "type": spec.type}
    if spec.type == "image":
        height, width, *colour = spec.shape[1:]
        feature |= {"height": height, "width": width, "channels": colour[0] if colour else 1}
    if spec.type == "audio":
        feature |= {"samples": spec.shape[1]}
    return feature
