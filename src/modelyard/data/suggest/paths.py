"""What folders and names of files tell: their split, their label."""

import re
from collections import Counter
from pathlib import PurePosixPath

from modelyard.errors import SourceError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders that say which split a file is of."""
_MAX_CLASSES = 100
_FEWEST = 5
_MOST = 0.95


def pattern_of(names: list[str], source: str) -> str:
    """The pattern below the source's folder that reads a label from most paths.

    Raises:
        SourceError: neither folders nor names tell a label.
    """
    parts = [PurePosixPath(name).parts for name in names]
    depth, count = Counter(len(item) - 1 for item in parts).most_common(1)[0]
    if count < _MOST * len(names):
        raise SourceError(f"{source} holds files at several depths of folders", _remedy(source))
    parts = [item for item in parts if len(item) == depth + 1]
    levels = [Counter(item[level] for item in parts) for level in range(depth)]
    written = ["{split}" if _is_split(level) else "*" for level in levels]
    choices = [
        position
        for position, level in enumerate(levels)
        if written[position] == "*" and 1 < len(level) <= _MAX_CLASSES
    ]
    if choices:
        # The lowest folder is the label as a rule; those above it collect.
        written[choices[-1]] = "{label}"
        return "/".join([*written, _ending(parts)])
    return "/".join([*written, _from_stems(parts, source)])


def _is_split(level: Counter[str]) -> bool:
    found = {SPLITS.get(name.lower()) for name in level}
    return {"train", "test"} <= found and None not in found


def _ending(parts: list[tuple[str, ...]]) -> str:
    endings = {PurePosixPath(item[-1]).suffix for item in parts}
    return f"*{endings.pop()}" if len(endings) == 1 else "*"


def _from_stems(parts: list[tuple[str, ...]], source: str) -> str:
    """``{label}_{part2}.wav``: what stands first in the names of all files."""
    stems = [PurePosixPath(item[-1]).stem for item in parts]
    for separator in ("_", "-"):
        pieces = [stem.split(separator) for stem in stems]
        width, count = Counter(map(len, pieces)).most_common(1)[0]
        labels = {item[0] for item in pieces if len(item) == width}
        if width > 1 and count >= _MOST * len(stems) and 1 < len(labels) <= _MAX_CLASSES:
            if len(labels) * _FEWEST > len(stems):
                continue
            names = ["{label}", *(f"{{part{number}}}" for number in range(2, width + 1))]
            return separator.join(names) + (_ending(parts).removeprefix("*") or ".*")
    raise SourceError(
        f"neither folders nor names of files in {source} tell a label", _remedy(source)
    )


def _remedy(source: str) -> str:
    folder = re.sub(r"/+$", "", source)
    return f"Say with placeholders where it stands, for instance {folder}/{{label}}/*."
