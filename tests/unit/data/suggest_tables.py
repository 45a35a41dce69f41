"""Small tables that nobody has seen, drawn by a seed: types, marks of missing values, dialects."""

import csv
import io
from collections.abc import Callable
from random import Random

Cells = Callable[[int], str]
WORDS = ["Bern", "Zürich", "Genève", "new york", "NA", "none", "x;y", 'say "so"', "a,b", "?", "Ж"]


def draw(random: Random) -> tuple[str, bytes]:
    """A file's name and content: a table with at least one column to learn from, and a target."""
    num_rows = random.choice([40, 90, 150, 260])
    kinds = [random.choice(list(_COLUMNS)) for _ in range(random.randint(1, 5))]
    columns = {f"{kind}_{index}": _COLUMNS[kind](random) for index, kind in enumerate(kinds)}
    columns |= {"amount": _COLUMNS["number"](random)}
    goal = random.choice(["label", "y", "price", "Class"])
    columns[goal] = _COLUMNS["number" if goal == "price" else "classes"](random)
    missing = random.choice(["", "?", "NA", "null"])
    share = random.choice([0, 0.02, 0.3])
    rows = [
        [
            missing if random.random() < share and name != goal else cells(row)
            for name, cells in columns.items()
        ]
        for row in range(num_rows)
    ]
    rows += [random.choice(rows) for _ in range(random.choice([0, 0, 5]))]
    return _written(random, list(columns), rows)


def _written(random: Random, header: list[str], rows: list[list[str]]) -> tuple[str, bytes]:
    file = io.StringIO()
    delimiter = random.choice([",", ";", "\t", "|"])
    end = random.choice(["\n", "\r\n"])
    csv.writer(file, delimiter=delimiter, lineterminator=end).writerows([header, *rows])
    encoding = random.choice(["utf-8", "utf-8-sig", "utf-16"])
    if encoding == "utf-16":
        return "t.csv", b"\xff\xfe" + file.getvalue().encode("utf-16-le")
    return random.choice(["t.csv", "t.tsv", "t.txt"]), file.getvalue().encode(encoding)


def _number(random: Random) -> Cells:
    scale, shift = random.choice([1e-4, 1, 300]), random.choice([-50, 0, 1e6])
    return lambda _: f"{shift + scale * random.gauss(0, 10):.10g}"


def _integer(random: Random) -> Cells:
    high = random.choice([1, 9, 500, 10**9])
    return lambda _: f"{random.choice(['', ' '])}{random.randint(0, high)}"


def _category(random: Random) -> Cells:
    words = random.sample(WORDS, random.randint(2, 6))
    return lambda _: random.choice(words)


def _boolean(random: Random) -> Cells:
    words = random.choice([("yes", "no"), ("True", "False"), ("Y", "N"), ("t", "f")])
    return lambda _: random.choice(words)


def _date(random: Random) -> Cells:
    forms = [
        "{2:04d}-{1:02d}-{0:02d}",
        "{0:02d}.{1:02d}.{2}",
        "{1}/{0}/{2}",
        "{2}-{1:02d}-{0:02d}T10:20:30Z",
    ]
    form = random.choice(forms)
    return lambda _: form.format(
        random.randint(1, 28), random.randint(1, 12), random.randint(1980, 2030)
    )


def _key(random: Random) -> Cells:
    start, prefix = random.randint(0, 50), random.choice(["", "K-"])
    return lambda row: f"{prefix}{start + row}"


def _text(random: Random) -> Cells:
    words = ["good", "bad", "very", "long", "short", "film", "song", "I", "saw", "heard", "it"]
    return lambda _: " ".join(random.choices(words, k=random.randint(3, 9)))


def _classes(random: Random) -> Cells:
    words = random.choice(
        [["a", "b"], ["yes", "no"], ["0", "1"], ["1", "2", "3"], ["lo w", "hi gh"]]
    )
    return lambda row: words[row % len(words)] if random.random() < 0.7 else random.choice(words)


_COLUMNS: dict[str, Callable[[Random], Cells]] = {
    "number": _number,
    "integer": _integer,
    "category": _category,
    "boolean": _boolean,
    "date": _date,
    "key": _key,
    "text": _text,
    "classes": _classes,
    "same": lambda _: lambda _: "same",
    "empty": lambda _: lambda _: "",
    "mail": lambda _: lambda row: f"u{row}@example.org",
}
