"""The trained network as a ``torch.export`` archive that holds no pickle and cannot run code.

``torch.export.save`` writes example inputs as pickle, absolute paths of sources and a random id;
``torch.export.load`` obeys an archive that asks for pickle and evaluates text in it. What is
written here is an archive that ``torch.export.load`` reads everywhere, without those parts, equal
bytes for equal networks; and of an archive that is read everything is checked before torch sees it
(docs/decisions/0005).
"""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.errors import PackageError

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

ARCHIVE = "network.pt2"
"""Its name in a package."""

_GRAPH = "models/model.json"
_EMPTIED = "data/sample_inputs/model.pt"
_DROPPED = ".data/serialization_id"
_ROOT = "network/"
_MEMBER = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|models/model\.json|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|byteorder|\.data/version"
)
_PLAIN = re.compile(r"[A-Za-z0-9_.:+-]*")
# Text that torch evaluates: sizes as expressions over the number of rows.
_EXPRESSION = re.compile(
    r"(?:Symbol\('s\d+'(?:, (?:positive|nonnegative|integer)=True)*\)|Integer\(-?\d+\)"
    r"|Add|Mul|FloorDiv|Max|Min|Mod|PythonMod|CeilDiv|[-\d, ()])+"
)
# Names that torch looks up and calls.
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+\.\w+"
    r"|_operator\.(?:add|sub|mul|floordiv|mod|neg|getitem|eq|ne|lt|le|gt|ge)"
    r"|torch\.sym_(?:int|float|max|min|not)"
)
_LEAF = '{"type": null, "context": null, "children_spec": []}'
_ONE = f'{{"type": "builtins.tuple", "context": "null", "children_spec": [{_LEAF}]}}'
_NONE = '{"type": "builtins.dict", "context": "[]", "children_spec": []}'
_SPECS = {
    "in_spec": f'[1, {{"type": "builtins.tuple", "context": "null", "children_spec": '
    f"[{_ONE}, {_NONE}]}}]",
    "out_spec": f"[1, {_LEAF}]",
}
_REFUSED = ("as_operator", "as_custom_obj", "custom_obj", "as_graph")
_REMEDY = "Build the package again with `modelyard run`."


def write(program: "ExportedProgram", path: Path) -> None:
    """Write an archive; equal programs are equal bytes.

    Args:
        program: Of one positional argument, a tensor, and one output, a tensor.
        path: Where to.

    Raises:
        PackageError: the program needs something that no archive may hold, as an operator of its
            own or control flow.
    """
    import torch

    saved = io.BytesIO()
    try:
        torch.export.save(program, saved)
    except Exception as error:  # each operator that it cannot write has an exception of its own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise PackageError(f"{path.name} cannot be written: {reason[0]}") from error
    members = _members(saved.getvalue())
    members.pop(_DROPPED, None)
    members[_EMPTIED] = b""
    members[_GRAPH] = _stripped(members[_GRAPH])
    _check(members, path.name)
    path.write_bytes(_zipped(members))


def read(path: Path) -> "nn.Module":
    """The network of an archive: fp32, on the CPU, its weights fixed; gradients reach its input.

    Raises:
        PackageError: it is missing, or holds anything but tensors and a graph of plain operators.
    """
    import torch

    try:
        members = _members(path.read_bytes())
    except FileNotFoundError:
        raise PackageError(f"there is no {path.name} in {path.parent}", _REMEDY) from None
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise PackageError(f"{path} is not an archive: {error}", _REMEDY) from None
    _check(members, path.name)
    # What was checked is written anew: two readers of one zip file may see different things.
    program = torch.export.load(io.BytesIO(_zipped(members)))
    network = program.module(check_guards=False)
    return network.requires_grad_(False)


def _members(content: bytes) -> dict[str, bytes]:
    """The archive's members without the folder that all are in."""
    members: dict[str, bytes] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            name = info.filename.partition("/")[2]
            if name in members or info.compress_type != zipfile.ZIP_STORED:
                raise PackageError(f"the archive holds {name[:60]!r} twice or packed", _REMEDY)
            members[name] = archive.read(info)
    return members


def _zipped(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in sorted(members):
            # ZipInfo's own date is 1980, so that no archive says when it was made.
            archive.writestr(zipfile.ZipInfo(_ROOT + name), members[name])
    return content.getvalue()


def _stripped(content: bytes) -> bytes:
    """The graph without stack traces, guards and the modules that it came of."""
    tree = json.loads(content)
    tree["guards_code"] = []
    # Builds for other devices have other names.
    tree["torch_version"] = tree["torch_version"].partition("+")[0]
    module = tree["graph_module"]
    module["metadata"] = {}
    module["module_call_graph"] = module["module_call_graph"][:1]
    for item in module["graph"]["nodes"]:
        item["metadata"] = {}
    return json.dumps(tree, sort_keys=True).encode()


def _check(members: dict[str, bytes], place: str) -> None:
    for name, content in members.items():
        if not _MEMBER.fullmatch(name) or (name == _EMPTIED and content):
            raise PackageError(f"{place} holds {name[:60]!r}, which no archive may", _REMEDY)
        if name.endswith(".json"):
            try:
                tree = json.loads(content)
            except ValueError:
                raise PackageError(f"{name} in {place} is not JSON", _REMEDY) from None
            _check_tree(tree, "", f"{name} in {place}")
    if not {_GRAPH, _EMPTIED, "archive_version"} <= members.keys():
        raise PackageError(f"{place} is not whole", _REMEDY)
    if json.loads(members[_GRAPH]).get("guards_code") != []:
        raise PackageError(f"{place} holds code", _REMEDY)


def _check_tree(value: Any, key: str, place: str) -> None:
    """Refuse text that torch would evaluate, call or write into code, and what asks for pickle."""
    if isinstance(value, dict):
        if value.get("use_pickle"):
            raise PackageError(f"{place} asks for pickle", _REMEDY)
        if key == "metadata" and value:
            raise PackageError(f"{place} has metadata in it", _REMEDY)
        for name, inner in value.items():
            if name in _REFUSED or not _PLAIN.fullmatch(name):
                raise PackageError(f"{place} has {name[:60]!r} in it", _REMEDY)
            _check_tree(inner, name, place)
    elif isinstance(value, list):
        for inner in value:
            _check_tree(inner, key, place)
    elif isinstance(value, str) and not _is_harmless(value, key):
        raise PackageError(f"{place} has {key} {value[:60]!r}", _REMEDY)


def _is_harmless(text: str, key: str) -> bool:
    if key in _SPECS:
        return text == _SPECS[key]
    if key in ("as_string", "as_strings"):
        return True  # an argument of an operator, which takes it as the text it is
    pattern = {"target": _OPERATOR, "expr_str": _EXPRESSION}.get(key, _PLAIN)
    return pattern.fullmatch(text) is not None
