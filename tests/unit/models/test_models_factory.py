"""Every network of the zoo builds, wrong arguments are named, and a user's factory is checked."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from modelyard.errors import ParamsError
from modelyard.models import build
from modelyard.params import ModelParams

ROOT = Path(__file__).parents[3]
SHAPE = (1, 28, 28)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of its own, whose ``custom`` is imported instead of this one's."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = _forget_custom()
    _write(tmp_path / "custom/__init__.py", "")
    yield tmp_path
    _forget_custom()
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    sys.modules.update(before)


def _forget_custom() -> dict[str, Any]:
    names = [name for name in sys.modules if name.partition(".")[0] == "custom"]
    return {name: sys.modules.pop(name) for name in names}


def _write(path: Path, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)


def _build(factory: str, root: Path = ROOT, init: Any = "default", **args: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(ModelParams(factory=factory, args=args, init=init), SHAPE, 10, root)


@pytest.mark.parametrize(
    ("factory", "args"),
    [
        ("mlp", {}),
        ("mlp", {"hidden": [], "batch_norm": True}),
        ("mlp", {"hidden": [8, 4], "dropout": 0.5, "batch_norm": True}),
        ("cnn", {}),
        ("cnn", {"channels": [2, 2, 2, 2], "dropout": 0.5, "batch_norm": False}),
        ("resnet", {}),
        ("resnet", {"depth": 14, "width": 2}),
        ("custom.example:patch_mlp", {"width": 8}),
    ],
)
def test_maps_images_to_logits_and_learns(factory: str, args: dict[str, Any]) -> None:
    model = _build(factory, **args)
    logits = model(torch.randn(3, *SHAPE))
    assert logits.shape == (3, 10)
    assert logits.dtype == torch.float32
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.lists(st.integers(1, 3), min_size=1, max_size=6),
)
def test_cnn_fits_the_image_or_says_how_many_stages_do(
    height: int, width: int, channels: list[int]
) -> None:
    params = ModelParams(factory="cnn", args={"channels": channels, "hidden": 2})
    most = min(height, width).bit_length() - 1
    if len(channels) > most:
        with pytest.raises(ParamsError, match="halve an image") as error:
            build(params, (1, height, width), 2, ROOT)
        assert f"nearest: {channels[:most]}" in str(error.value)
    else:
        model = build(params, (1, height, width), 2, ROOT)
        assert model(torch.zeros(2, 1, height, width)).shape == (2, 2)


@pytest.mark.parametrize(
    ("factory", "args", "words"),
    [
        ("cnn", {"chanels": [4]}, "model.args.chanels: unknown key; did you mean 'channels'?"),
        ("cnn", {"hidden": 0}, "model.args.hidden: 0 is out of range; nearest: at least 1"),
        ("mlp", {"dropout": 1.0}, "model.args.dropout: 1.0 is out of range; nearest: less than 1"),
        ("mlp", {"hidden": 64}, "for example: [256, 128]"),
        ("mlp", {"hidden": ["wide"]}, "model.args.hidden.0"),
        ("resnet", {"depth": 10}, "model.args.depth: 10 is not 6n + 2; nearest: 8"),
        ("resnet", {"depth": 500}, "nearest: 110"),
        ("custom.example:patch_mlp", {"pach": 7}, "model.args.pach: custom.example:patch_mlp has"),
        ("custom.example:patch_mlp", {"pach": 7}, "did you mean 'patch'?"),
        ("custom.example:patch_mlp", {"num_classes": 7}, "leave it out"),
        ("custom.example:patch_mpl", {}, "did you mean 'patch_mlp'?"),
        ("custom.exmaple:patch_mlp", {}, "cannot be imported: ModuleNotFoundError"),
        ("custom.example:patch_mlp", {"patch": 0}, "raised ZeroDivisionError"),
    ],
)
def test_wrong_arguments_are_named(factory: str, args: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError) as error:
        _build(factory, **args)
    assert words in str(error.value)
    assert error.value.remedy


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 5", "returned int, not an nn.Module"),
        ("raise KeyError('lost')", "raised KeyError: 'lost'"),
        ("return nn.Flatten()", "maps 2 rows to (2, 784), not to (2, 10)"),
        ("return nn.Linear(3, 10)", "fails on rows of (1, 28, 28)"),
    ],
)
def test_a_factory_that_breaks_the_contract(body: str, words: str, project: Path) -> None:
    code = f"from torch import nn\ndef make(input_shape, num_classes):\n    {body}\n"
    _write(project / "custom/broken.py", code)
    with pytest.raises(ParamsError) as error:
        _build("custom.broken:make", project)
    assert words in str(error.value)


GOOD = """from torch import nn
def make(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, num_classes))
"""


@pytest.mark.parametrize(
    ("place", "factory"),
    [
        ("loose.py", "loose:make"),
        ("networks/__init__.py", "networks:make"),
        ("networks/wide.py", "networks.wide:make"),
        ("src/modelyard_more/wide.py", "src.modelyard_more.wide:make"),
        ("customs/wide.py", "customs.wide:make"),
    ],
)
def test_a_factory_that_dvc_does_not_know_is_refused(
    place: str, factory: str, project: Path
) -> None:
    _write(project / place, GOOD)
    with pytest.raises(ParamsError) as error:
        _build(factory, project)
    assert f"{factory!r} runs code of {place}, which is not in custom/" in str(error.value)
    assert f"Move {place} into custom/" in error.value.remedy


def test_so_is_one_that_imports_such_code(project: Path) -> None:
    _write(project / "loose.py", GOOD)
    _write(project / "custom/mine.py", "from loose import make\n")
    with pytest.raises(ParamsError, match=r"'custom.mine:make' runs code of loose\.py"):
        _build("custom.mine:make", project)


def test_code_in_custom_and_installed_packages_are_free(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = project / ".venv/lib/python3.11/site-packages"
    _write(installed / "installed_networks.py", GOOD)
    monkeypatch.syspath_prepend(installed)
    _write(project / "custom/deep/mine.py", "from installed_networks import make\n")
    for factory in ("custom.deep.mine:make", "installed_networks:make"):
        assert _build(factory, project)(torch.zeros(2, *SHAPE)).shape == (2, 10)
    elsewhere = project / "project"
    elsewhere.mkdir()
    assert _build("custom.deep.mine:make", elsewhere)


def test_initialization_draws_the_spread_that_it_names() -> None:
    width = 512
    spreads = {}
    for init in ("default", "xavier", "kaiming"):
        weights = _build("mlp", init=init, hidden=[width, width]).state_dict()
        spreads[init] = float(weights["layers.3.weight"].std())
    assert spreads["xavier"] == pytest.approx((1 / width) ** 0.5, rel=0.05)
    assert spreads["kaiming"] == pytest.approx((2 / width) ** 0.5, rel=0.05)
    assert spreads["default"] == pytest.approx((1 / (3 * width)) ** 0.5, rel=0.05)


def test_same_seed_same_weights() -> None:
    first, second = _build("cnn", init="kaiming"), _build("cnn", init="kaiming")
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_mlp_takes_rows_of_any_shape_and_the_others_say_what_they_need() -> None:
    for shape in ((7,), (1, 12, 5)):
        model = build(ModelParams(factory="mlp", args={"hidden": [4]}), shape, 1, ROOT)
        assert model(torch.zeros(3, *shape)).shape == (3, 1)
    for factory in ("cnn", "resnet"):
        with pytest.raises(ParamsError, match=f"{factory} is for images and sound") as error:
            build(ModelParams(factory=factory), (7,), 2, ROOT)
        assert "model.factory: mlp" in error.value.remedy
        model = build(ModelParams(factory=factory), (1, 12, 9), 2, ROOT)
        assert model(torch.zeros(2, 1, 12, 9)).shape == (2, 2)


@pytest.mark.parametrize("factory", ["mlp", "custom.own:make"])
def test_embedded_categories_reach_any_network_as_vectors(project: Path, factory: str) -> None:
    own = "from torch import nn\ndef make(input_shape, num_classes):\n    "
    _write(project / "custom/own.py", own + "return nn.Linear(*input_shape, num_classes)\n")
    sizes = ((4, 3), (5, 2))
    model = build(ModelParams(factory=factory), (2 + len(sizes),), 2, project, sizes).eval()
    plain = torch.randn(3, 2)
    rows = torch.cat([plain, torch.tensor([[2.0, 4], [0, 1], [3, 2]])], dim=1)
    tables = [model.get_parameter(f"embeddings.{place}.weight") for place in (0, 1)]
    vectors = [tables[0][[2, 0, 3]], tables[1][[4, 1, 2]]]
    network = model.get_submodule("network")
    assert torch.equal(model(rows), network(torch.cat([plain, *vectors], dim=1)))
    # What train may never hold says nothing before it is learned.
    assert torch.equal(vectors[0][1], torch.zeros(3))
    assert torch.equal(vectors[1][1], torch.zeros(2))
    model(rows).sum().backward()
    assert tables[0].grad is not None
    assert tables[0].grad[1].count_nonzero() == 0
    assert tables[0].grad[2].count_nonzero() == 3
