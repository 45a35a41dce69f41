"""Folders of pictures, sounds or texts: what their paths tell, and one size for all."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from modelyard.data.audio import read_header
from modelyard.data.decoded import Undecodable
from modelyard.data.placeholders import Placeholders
from modelyard.data.suggest.fields import MAX_CLASSES
from modelyard.data.suggest.gathered import Gathered
from modelyard.data.suggest.paths import SPLITS, pattern_of
from modelyard.data.suggest.proposal import Proposal, bounds_of, stratified
from modelyard.errors import ParamsError, SourceError

_ENDINGS = {
    "image": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"),
    "audio": (".wav",),
    "text": (".txt",),
}
_LABELS = ("label", "class", "target", "category")
_PROBED = 300
_LARGEST = 64
_LONGEST_S = 60.0


def are_texts(files: Gathered) -> bool:
    """Whether the source is several texts, and not one table."""
    return len(files.paths) > 1 and all(name.lower().endswith(".txt") for name in files.paths)


def propose_files(files: Gathered, kind: str | None, asked: str | None) -> Proposal:
    """The contract of a folder or pattern of files.

    Raises:
        SourceError: they are of no kind that is read, or their paths tell no label.
        ParamsError: the target that is asked for is no placeholder.
    """
    kind, names = _kind_of(files, kind)
    if not files.placeholders:
        pattern = f"{files.source.rstrip('/')}/{pattern_of(names, files.source)}"
        files = files.narrowed(pattern)
    pattern = Placeholders.parse(files.source)
    values = [found for name in names if (found := pattern.match(name)) is not None]
    if not values:
        raise SourceError(f"no file matches {files.source}", "Correct the pattern.")
    target = _target(pattern.names, asked)
    content, said = _CONTENT[kind]([files.paths[name] for name in names if pattern.match(name)])
    notes = {f"schema.fields.{kind}": said, "source": f"{len(values)} files fit, of {len(names)}"}
    labels = Counter(item[target] for item in values)
    fields = [{"name": kind, "type": kind, **content}]
    for name in pattern.names:
        distinct = {item[name] for item in values}
        if name == target:
            enum = {"enum": sorted(distinct)} if len(distinct) <= MAX_CLASSES else {}
            fields.append(
                {"name": name, "type": "category", "constraints": {"required": True} | enum}
            )
            shown = ", ".join(f"{label} {count}" for label, count in labels.most_common(4))
            notes[f"schema.fields.{name}"] = f"{len(distinct)} classes: {shown}"
        else:
            fields.append({"name": name, "type": "string", "use": False})
            notes[f"schema.fields.{name}"] = f"{len(distinct)} values" + (
                "; rows of one stay together with split: {type: group, column: " + name + "}"
                if 2 < len(distinct) < len(values) // 10 and name != "split"
                else ""
            )
    tree: dict[str, Any] = {
        "kind": kind,
        "source": files.source,
        "sha256": files.sha256,
        "schema": {"fields": fields, "rest": "refuse"},
        "target": target,
        "task": "classification",
        "max_rejected": 0.01,
        "split": _split(values, target),
        "quality": bounds_of(len(values)),
    }
    notes["target"] = "as asked" if asked else "the part of the path that tells kinds apart"
    return Proposal(tree, notes, len(values), max(labels.values()) / len(values))


def _kind_of(files: Gathered, asked: str | None) -> tuple[str, list[str]]:
    """The kind of most files, and the paths of those."""
    found = {
        kind: [name for name in files.paths if name.lower().endswith(endings)]
        for kind, endings in _ENDINGS.items()
    }
    kind = asked if asked in found else max(found, key=lambda name: len(found[name]))
    if not found[kind]:
        endings = sorted({Path(name).suffix for name in files.paths})[:8]
        raise SourceError(
            f"{files.source} holds no {asked or 'data'} that is read: its files end in "
            f"{', '.join(endings) or 'nothing'}",
            "Read are tables (.csv, .tsv, .parquet, also .gz), pictures "
            "(.png, .jpg, .bmp, .gif, .webp), sounds (.wav) and texts (.txt).",
        )
    return kind, sorted(found[kind])


def _target(names: tuple[str, ...], asked: str | None) -> str:
    if asked is not None and asked not in names:
        raise ParamsError(
            f"the source has no placeholder {{{asked}}}", f"Its placeholders: {', '.join(names)}."
        )
    known = [name for name in _LABELS if name in names]
    left = [name for name in names if name != "split"]
    if asked is None and not known and len(left) != 1:
        raise ParamsError(
            "nothing in the source says which placeholder is the target",
            f"Name it with --target. Possible: {', '.join(left)}.",
        )
    return asked or (known or left)[0]


def _split(values: list[dict[str, str]], target: str) -> dict[str, Any]:
    """The one that the folders give, if they do."""
    given = sorted({item["split"] for item in values if "split" in item})
    names = {part: [name for name in given if SPLITS.get(name.lower()) == part] for part in _PARTS}
    if sum(map(len, names.values())) < len(given) or not (names["train"] and names["test"]):
        return stratified(target)
    return {
        "type": "fixed",
        "column": "split",
        "names": {part: found for part, found in names.items() if found},
    }


_PARTS = ("train", "validation", "test")


def _pictures(paths: list[Path]) -> tuple[dict[str, Any], str]:
    """Height, width and channels for all, and how others are made to fit."""
    from PIL import Image

    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    for path in _some(paths):
        try:
            with Image.open(path) as image:
                sizes[image.height, image.width] += 1
                modes[image.mode] += 1
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # ingest says what is wrong with it
    if not sizes:
        raise SourceError(f"{paths[0].name} and others are no pictures", "Look at the files.")
    channels = 1 if set(modes) <= {"1", "L", "LA", "I;16"} else 3
    heights = sorted(height for (height, _), count in sizes.items() for _ in range(count))
    widths = sorted(width for (_, width), count in sizes.items() for _ in range(count))
    height, width = heights[len(heights) // 2], widths[len(widths) // 2]
    said = f"{sizes.total()} looked at: {width} x {height} pixels, {', '.join(sorted(modes))}"
    if len(sizes) == 1 and max(height, width) <= 4 * _LARGEST:
        return {"height": height, "width": width, "channels": channels}, said
    shrink = max(height, width, _LARGEST) / _LARGEST
    alike = all(abs(h * width - w * height) < 0.05 * h * width for h, w in sizes)
    size = {"height": _eight(height / shrink), "width": _eight(width / shrink)}
    said += f" in the middle of {len(sizes)} sizes: all are scaled"
    return {**size, "channels": channels, "fit": "stretch" if alike else "pad"}, said


def _sounds(paths: list[Path]) -> tuple[dict[str, Any], str]:
    """The commonest rate, and a length that few sounds are longer than."""
    rates: Counter[int] = Counter()
    lengths: list[float] = []
    for path in _some(paths):
        try:
            with path.open("rb") as file:
                header = read_header(file, path.stat().st_size)
        except Undecodable:
            continue  # ingest says what is wrong with it
        rates[header.rate] += 1
        lengths.append(header.num_frames / header.rate)
    if not lengths:
        raise SourceError(f"{paths[0].name} and others are no WAV files", "Look at the files.")
    lengths.sort()
    seconds = lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]
    seconds = min(_LONGEST_S, max(0.1, math.ceil(seconds * 10) / 10))
    rate = min(96_000, max(4000, rates.most_common(1)[0][0]))
    said = f"{len(lengths)} looked at: {lengths[0]:.2f} to {lengths[-1]:.2f} s"
    said += f", {', '.join(f'{count} at {rate} Hz' for rate, count in rates.most_common(3))}"
    return {"sample_rate": rate, "seconds": seconds}, said


def _texts(paths: list[Path]) -> tuple[dict[str, Any], str]:
    sizes = sorted(path.stat().st_size for path in paths)
    return {"constraints": {"required": True}}, f"{sizes[0]} to {sizes[-1]} bytes"


_CONTENT = {"image": _pictures, "audio": _sounds, "text": _texts}


def _some(paths: list[Path]) -> list[Path]:
    return paths[:: max(1, len(paths) // _PROBED)]


def _eight(size: float) -> int:
    return max(8, round(size / 8) * 8)
