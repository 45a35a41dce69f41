"""What each network of the zoo can be told in ``model.args``, and how a wrong key is refused."""

import difflib
from typing import Annotated, Any, TypeVar

from pydantic import Field as Key
from pydantic import ValidationError, model_validator

from modelyard.errors import ParamsError
from modelyard.params.base import Section

Width = Annotated[int, Key(ge=1, le=65536)]
Dropout = Annotated[float, Key(ge=0, lt=1)]
DEPTHS = tuple(range(8, 111, 6))
_REMEDY = "Correct model.args in params.yaml (or the value given with --set)."


class MlpArguments(Section):
    """``hidden``: the widths of the hidden layers."""

    hidden: Annotated[tuple[Width, ...], Key(strict=False)] = (256, 128)
    dropout: Dropout = 0.0
    batch_norm: bool = False


class CnnArguments(Section):
    """``channels``: one stage of convolution and halving each; ``hidden``: width of the head."""

    channels: Annotated[tuple[Width, ...], Key(strict=False, min_length=1)] = (16, 32)
    hidden: Width = 64
    dropout: Dropout = 0.0
    batch_norm: bool = True


class ResnetArguments(Section):
    """``depth``: weighted layers, 6n + 2; ``width``: channels of the first of three stages."""

    depth: Annotated[int, Key(ge=DEPTHS[0], le=DEPTHS[-1])] = 8
    width: Width = 16

    @model_validator(mode="before")
    @classmethod
    def _depth_is_a_sum_of_blocks(cls, tree: Any) -> Any:
        depth = tree.get("depth") if isinstance(tree, dict) else None
        if isinstance(depth, int) and depth not in DEPTHS:
            nearest = min(DEPTHS, key=lambda known: abs(known - depth))
            raise ValueError(f"depth: {depth} is not 6n + 2; nearest: {nearest}")
        return tree


Arguments = TypeVar("Arguments", MlpArguments, CnnArguments, ResnetArguments)


def parse(section: type[Arguments], args: dict[str, Any]) -> Arguments:
    """Check ``model.args`` against a zoo network's section.

    Raises:
        ParamsError: with one line for each offending key.
    """
    try:
        return section.model_validate(args)
    except ValidationError as error:
        lines = [_explain(section, dict(item)) for item in error.errors()]
        raise ParamsError("\n".join(lines), _REMEDY) from None


def refuse(key: str, problem: str) -> ParamsError:
    """The error for a value of ``model.args`` that does not fit the data."""
    return ParamsError(f"model.args.{key}: {problem}", _REMEDY)


def nearest(key: str, known: list[str]) -> str:
    """Say which of ``known`` an unknown ``key`` was meant to be."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known keys: {', '.join(known)}" if known else "it takes none"


def _explain(section: type[Section], item: dict[str, Any]) -> str:
    path = ".".join(["model.args", *(str(part) for part in item["loc"])])
    context = item.get("ctx") or {}
    if item["type"] == "extra_forbidden":
        return f"{path}: unknown key; {nearest(str(item['loc'][-1]), list(section.model_fields))}"
    if item["type"] == "value_error":
        return f"model.args.{context['error']}"
    for bound, words in (("ge", "at least"), ("le", "at most"), ("lt", "less than")):
        if bound in context:
            return f"{path}: {item['input']!r} is out of range; nearest: {words} {context[bound]:g}"
    message = item["msg"][0].lower() + item["msg"][1:]
    default = section.model_fields[str(item["loc"][0])].default if item["loc"] else None
    example = list(default) if isinstance(default, tuple) else default
    return f"{path}: {item['input']!r}: {message}; for example: {example}"
