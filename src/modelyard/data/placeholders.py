"""Patterns of paths whose placeholders give fields: ``data/raw/{split}/{label}/*.png``.

``*`` stands for any characters within one name, ``**`` for any folders, ``?`` for one character,
``{field}`` for at least one character within one name, which is the value of that field. A path
that can be read in two ways has no value: it is refused, not guessed.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Self

from modelyard.errors import ParamsError

_ORIGIN = re.compile(r"package:[^/]+/|[A-Za-z][A-Za-z0-9+.-]+://[^/]+/")
_TOKEN = re.compile(r"\{(?P<name>[^{}/]*)\}|(?P<many>\*+)|(?P<one>\?)|(?P<text>[^{}*?]+|[{}])")
_EXAMPLE = "Write for instance data/{split}/{label}/*.png or sounds/{label}_{speaker}_{take}.wav."


@dataclass(frozen=True)
class Placeholders:
    """A pattern, taken apart: ``folder`` is its longest fixed prefix, ``tail`` what follows it."""

    folder: str
    tail: str

    @classmethod
    def parse(cls, pattern: str) -> Self:
        """Take a pattern apart; the package or bucket before the path is left out.

        Raises:
            ParamsError: a placeholder has no name, stands twice, or touches another one or a ``*``,
                so that nothing says where it ends.
        """
        path = _ORIGIN.sub("", pattern, count=1)
        parts = [part for part in path.split("/") if part not in ("", ".")]
        fixed = 0
        while fixed < len(parts) - 1 and not set(parts[fixed]) & set("{}*?"):
            fixed += 1
        found = cls("/".join(parts[:fixed]), "/".join(parts[fixed:]))
        for part in parts[fixed:]:
            _refuse_unclear(part, pattern)
        if found.names and parts.count("**") > 1:
            raise ParamsError(
                f"data.source {pattern!r} has ** twice, so that a placeholder has no fixed place",
                "Leave one ** in it.",
            )
        for name in found.names:
            if found.names.count(name) > 1:
                raise ParamsError(
                    f"data.source {pattern!r}: the placeholder {{{name}}} stands in it twice",
                    f"Put * in place of one {{{name}}}.",
                )
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The placeholders, in their order."""
        return tuple(item["name"] for item in _TOKEN.finditer(self.tail) if item["name"])

    @property
    def tail_glob(self) -> str:
        """The pattern below ``folder``, each placeholder as ``*``."""
        return re.sub(r"\{[^{}/]*\}", "*", self.tail)

    @property
    def glob(self) -> str:
        """The whole pattern, each placeholder as ``*``."""
        return f"{self.folder}/{self.tail_glob}" if self.folder else self.tail_glob

    def match(self, relative: str | PurePosixPath) -> dict[str, str] | None:
        """The value of each placeholder in a path below ``folder``; None where it has none.

        Values are in the composed form of Unicode (NFC), so that equal names are equal classes,
        whichever system wrote them.
        """
        greedy, lazy = self._readings(str(relative))
        if greedy is None or lazy is None or greedy.groups() != lazy.groups():
            return None
        return _named(greedy)

    def refusal(self, relative: str | PurePosixPath) -> str:
        """Why ``match`` gives nothing for a path, as a reason for the row."""
        greedy, lazy = self._readings(str(relative))
        if greedy is None or lazy is None:
            return f"does not match {self.tail}"
        longest, shortest = _named(greedy), _named(lazy)
        for name in self.names:
            if longest[name] != shortest[name]:
                two = f"{name} {shortest[name]!r} or {longest[name]!r}"
                return f"can be read in two ways by {self.tail}: {two}"
        return f"can be read in two ways by {self.tail}"

    def _readings(self, path: str) -> tuple[re.Match[str] | None, re.Match[str] | None]:
        """The reading that takes as much as it can from the left, and the one that takes least.

        Every other reading lies between the two, so there is only one where they are equal.
        """
        greedy, lazy = self._patterns
        return greedy.fullmatch(path), lazy.fullmatch(path)

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        greedy, lazy = (re.compile(_expression(self.tail, more), re.DOTALL) for more in ("", "?"))
        return greedy, lazy


def _expression(tail: str, more: str) -> str:
    """A regular expression for ``tail``; ``more`` is ``?`` for the shortest reading.

    A ``*`` beside a placeholder in one name is a group, because it moves the placeholder's bounds.
    """
    parts = tail.split("/")
    written = ""
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == "**":
            written += r"(?:[^/]+/)*" + (r"[^/]+" if last else "")
            continue
        group = "(" if "{" in part else "(?:"
        for token in _TOKEN.finditer(part):
            if token["name"]:
                written += f"(?P<{token['name']}>[^/]+{more})"
            elif token["many"]:
                written += f"{group}[^/]*{more})"
            else:
                written += "[^/]" if token["one"] else re.escape(token["text"])
        written += "" if last else "/"
    return written


def _named(match: re.Match[str]) -> dict[str, str]:
    return {name: unicodedata.normalize("NFC", text) for name, text in match.groupdict().items()}


def _refuse_unclear(part: str, pattern: str) -> None:
    """Refuse a name of the pattern in which nothing says where a placeholder ends."""
    before: str | None = None
    for token in _TOKEN.finditer(part):
        kind = "placeholder" if token["name"] is not None else "star" if token["many"] else "text"
        if token["text"] in ("{", "}") or token["name"] == "":
            raise ParamsError(
                f"data.source {pattern!r}: {part!r} has a brace that is no {{placeholder}}",
                _EXAMPLE,
            )
        if token["name"] is not None and not re.fullmatch(r"[^\W\d]\w*", token["name"]):
            raise ParamsError(
                f"data.source {pattern!r}: {{{token['name']}}} is no name of a field",
                "A placeholder is a word of letters, digits and _.",
            )
        if before and kind != "text" and "placeholder" in (before, kind):
            raise ParamsError(
                f"data.source {pattern!r}: in {part!r} nothing stands between two placeholders, "
                "or between one and *",
                f"Put what separates them in between. {_EXAMPLE}",
            )
        before = kind if kind != "text" else None
