"""The archive: the same network and gradients, equal bytes, and nothing in it that can run."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from modelyard.compression.export import export_program
from modelyard.errors import PackageError
from modelyard.models import archive
from modelyard.models.factory import build
from modelyard.params import ModelParams

ROOT = Path(__file__).parents[3]
GRAPH = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
Members = dict[str, bytes]


def network(factory: str, shape: tuple[int, ...], embeddings: tuple = ()) -> nn.Module:
    torch.manual_seed(0)
    params = ModelParams(factory=factory, args={})
    return build(params, shape, 4, ROOT, embeddings).eval()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / archive.ARCHIVE
    archive.write(export_program(network("mlp", (5,)), (5,)), path)
    return path


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as file:
        return {name.partition("/")[2]: file.read(name) for name in file.namelist()}


@pytest.mark.parametrize(
    ("factory", "shape", "embeddings"),
    [
        ("mlp", (5,), ()),
        ("mlp", (5,), ((4, 3), (6, 2))),
        ("cnn", (1, 12, 12), ()),
        ("resnet", (3, 16, 16), ()),
    ],
)
def test_the_network_comes_back_with_its_gradients(
    tmp_path: Path, factory: str, shape: tuple[int, ...], embeddings: tuple
) -> None:
    module = network(factory, shape, embeddings)
    archive.write(export_program(module, shape), tmp_path / "a.pt2")
    again = archive.read(tmp_path / "a.pt2")
    assert not any(parameter.requires_grad for parameter in again.parameters())
    for rows in (1, 3):
        batch = torch.rand(rows, *shape, requires_grad=True)
        expected = module(batch)
        assert torch.equal(again(batch), expected)
        (gradient,) = torch.autograd.grad(again(batch)[:, 1].sum(), batch)
        (wanted,) = torch.autograd.grad(expected[:, 1].sum(), batch)
        assert torch.allclose(gradient, wanted, atol=1e-7)
        assert gradient.abs().sum() > 0


def test_everybodys_torch_reads_it(written: Path) -> None:
    program = torch.export.load(written)
    assert torch.equal(program.module()(torch.ones(2, 5)), network("mlp", (5,))(torch.ones(2, 5)))


def test_it_is_the_same_bytes_again_and_names_no_place(written: Path, tmp_path: Path) -> None:
    archive.write(export_program(network("mlp", (5,)), (5,)), tmp_path / "other.pt2")
    assert (tmp_path / "other.pt2").read_bytes() == written.read_bytes()
    content = written.read_bytes()
    for trace in (str(ROOT), "site-packages", "stack_trace", ".py", "+cpu", "serialization_id"):
        assert trace.encode() not in content, trace


def graph(change: Callable[[dict], object]) -> Callable[[Members], None]:
    def changed(files: Members) -> None:
        tree = json.loads(files[GRAPH])
        change(tree)
        files[GRAPH] = json.dumps(tree).encode()

    return changed


def weights(files: Members) -> None:
    tree = json.loads(files[WEIGHTS])
    next(iter(tree["config"].values()))["use_pickle"] = True
    files[WEIGHTS] = json.dumps(tree).encode()


def first_node(tree: dict) -> dict:
    return tree["graph_module"]["graph"]["nodes"][0]


def size(tree: dict) -> dict:
    values = tree["graph_module"]["graph"]["tensor_values"]
    return next(value["sizes"][0] for value in values.values() if "as_expr" in value["sizes"][0])


CODE = "__import__('os').system('touch ran')"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.update({"data/sample_inputs/model.pt": pickle.dumps(1)}), "sample"),
        (lambda files: files.update({"data/constants/opaque_0": b""}), "opaque"),
        (lambda files: files.update({"data/aotinductor/m/m.so": b""}), "aotinductor"),
        (lambda files: files.update({"extra/../../x": b""}), "extra"),
        (lambda files: files.update({"models/other.json": b"{}"}), "other"),
        (lambda files: files.pop(GRAPH), "not whole"),
        (lambda files: files.update({GRAPH: b"{"}), "not JSON"),
        (weights, "pickle"),
        (graph(lambda tree: tree.update(guards_code=[CODE])), "guards_code"),
        (graph(lambda tree: tree.update(guards_code=["L"])), "code"),
        (graph(lambda tree: first_node(tree).update(target="torch.hub.load")), "torch.hub.load"),
        (graph(lambda tree: first_node(tree).update(target="_operator.call")), "_operator.call"),
        (graph(lambda tree: first_node(tree).update(name="a\nimport os")), "import os"),
        (graph(lambda tree: first_node(tree)["metadata"].update(custom="{}")), "metadata"),
        (graph(lambda tree: size(tree)["as_expr"].update(expr_str=CODE)), "expr_str"),
        (graph(lambda tree: size(tree)["as_expr"].update(expr_str="Integer(9)**9")), "expr_str"),
        (graph(lambda tree: tree["graph_module"].update(custom_obj={"a": 1})), "custom_obj"),
        (
            graph(
                lambda tree: tree["graph_module"]["module_call_graph"][0]["signature"].update(
                    in_spec="[1, {}]"
                )
            ),
            "in_spec",
        ),
    ],
)
def test_what_could_run_or_mislead_is_refused_unread(
    written: Path, tmp_path: Path, change: Callable[[Members], object], message: str
) -> None:
    files = members(written)
    change(files)
    path = tmp_path / "network.pt2"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(f"network/{name}", content)
    with pytest.raises(PackageError, match=message):
        archive.read(path)


def test_a_member_twice_or_packed_or_none_is_refused(written: Path, tmp_path: Path) -> None:
    files = members(written)
    for number, (again, kind) in enumerate(
        ((GRAPH, zipfile.ZIP_STORED), ("byteorder", zipfile.ZIP_DEFLATED))
    ):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as file:
            for name in files:
                file.writestr(f"network/{name}", files[name], zipfile.ZIP_STORED)
            file.writestr(f"other/{again}", files[again], kind)
        (tmp_path / f"{number}.pt2").write_bytes(content.getvalue())
        with pytest.raises(PackageError, match="twice or packed"):
            archive.read(tmp_path / f"{number}.pt2")
    (tmp_path / "empty.pt2").write_bytes(b"")
    with pytest.raises(PackageError, match="not an archive"):
        archive.read(tmp_path / "empty.pt2")
    with pytest.raises(PackageError, match="no absent"):
        archive.read(tmp_path / "absent.pt2")


def test_control_flow_is_kept_out(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return torch.cond(
                features.sum() > 0, lambda rows: rows * 2, lambda rows: rows + 1, (features,)
            )

    with pytest.raises(PackageError, match=r"cond|as_graph"):
        archive.write(export_program(Branching(), (5,)), tmp_path / "a.pt2")
    assert not (tmp_path / "a.pt2").exists()
