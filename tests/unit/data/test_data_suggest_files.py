"""What is proposed for Parquet, pictures, sounds, texts, queries; and for what is no source."""

import gzip
import sqlite3
import wave
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelyard.artifacts import Layout
from modelyard.data.suggest import propose
from modelyard.errors import ModelyardError, ParamsError, SourceError
from tests.unit.data.suggest_sources import SPREAD, proposed


def test_a_parquet_file_is_read_by_its_own_types(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.table(
        {
            "x": pa.array([*SPREAD[:100], *[None] * 20]),
            "n": pa.array(range(120), pa.int32()),
            "flag": pa.array([True, False, None] * 40),
            "day": pa.array(range(120), pa.date32()),
            "at": pa.array(range(120), pa.timestamp("us")),
            "word": pa.array(["a ", "b", None] * 40),
            "list": pa.array([[1]] * 120),
            "y": pa.array(["u", "v"] * 60),
        }
    )
    pq.write_table(rows, tmp_path / "t.parquet")
    proposal, params = proposed(tmp_path, "t.parquet")
    types = {field["name"]: field["type"] for field in proposal.tree["schema"]["fields"]}
    assert types == {
        "x": "number",
        "n": "integer",
        "flag": "boolean",
        "day": "date",
        "at": "datetime",
        "word": "category",
        "y": "category",
    }
    assert params.data.schema_.rest == "drop"
    assert "list" in proposal.notes["schema.rest"]
    assert params.data.field("word").constraints.enum == ("a", "b")


def test_a_table_of_pixels_is_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 64))
    for name, columns in (
        ("last.csv", [pixels, np.arange(60)[:, None] % 3]),
        ("first.csv", [np.arange(60)[:, None] % 3, pixels]),
    ):
        np.savetxt(tmp_path / name, np.hstack(columns), "%d", ",")
        proposal, params = proposed(tmp_path, name)
        assert params.data.kind == "image"
        image = params.data.media
        assert (image.height, image.width, image.channels) == (8, 8, 1)
        assert params.data.field("label").constraints.enum == (0, 1, 2)
        assert proposal.tree["dialect"] == {"header": False}


def _pictures(folder: Path, sizes: list[tuple[int, int]], mode: str) -> None:
    folder.mkdir(parents=True)
    for index, size in enumerate(sizes):
        Image.new(mode, size).save(folder / f"{index}.png")


def test_folders_of_pictures_tell_split_and_label(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            _pictures(tmp_path / "pets" / split / label, [(30, 20)] * 3, "L")
    proposal, params = proposed(tmp_path, "pets")
    assert proposal.tree["source"] == "pets/{split}/{label}/*.png"
    assert params.data.split.type == "fixed"
    assert params.data.split.names == {"train": ("train",), "test": ("test",)}
    image = params.data.image
    assert (image.height, image.width, image.channels, image.fit) == (20, 30, 1, "refuse")
    _pictures(tmp_path / "pets/train/cow", [(300, 200), (90, 200)], "RGB")
    proposal, params = proposed(tmp_path, "pets/train")
    assert proposal.tree["source"] == "pets/train/{label}/*.png"
    assert params.data.split.type == "stratify"
    assert (params.data.image.channels, params.data.image.fit) == (3, "pad")


def test_names_of_sounds_tell_the_label(tmp_path: Path) -> None:
    (tmp_path / "spoken").mkdir()
    for label in "01":
        for take in range(6):
            with wave.open(str(tmp_path / f"spoken/{label}_ann_{take}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(8000)
                file.writeframes(bytes(2 * (3000 + 100 * take)))
    proposal, params = proposed(tmp_path, "spoken")
    assert proposal.tree["source"] == "spoken/{label}_{part2}_{part3}.wav"
    assert (params.data.media.sample_rate, params.data.media.seconds) == (8000, 0.5)
    assert params.data.field("label").constraints.enum == ("0", "1")
    source = "spoken/{digit}_{speaker}_{take}.wav"
    with pytest.raises(ParamsError, match="which placeholder") as caught:
        propose(Layout(tmp_path), source)
    assert "digit, speaker, take" in caught.value.remedy
    assert proposed(tmp_path, source, target="digit")[1].data.target == "digit"


def test_folders_of_texts_and_the_digest_that_fetch_computes(tmp_path: Path) -> None:
    from modelyard.data.fetch import fetch

    for label in ("pos", "neg"):
        (tmp_path / "reviews" / label).mkdir(parents=True)
        for index in range(8):
            (tmp_path / "reviews" / label / f"{index}.txt").write_text(f"{label} {index}")
    (tmp_path / "reviews/readme.md").write_text("no data")
    proposal, params = proposed(tmp_path, "reviews")
    assert proposal.tree["source"] == "reviews/{label}/*.txt"
    assert params.data.kind == "text"
    assert fetch(Layout(tmp_path), params.data).sha256 == params.data.sha256


def test_a_query_is_profiled_and_not_pinned(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE t (x REAL, y TEXT)")
        rows = [(value, "ab"[index % 2]) for index, value in enumerate(SPREAD)]
        database.executemany("INSERT INTO t VALUES (?, ?)", rows)
    database.close()
    query = "SELECT x, y FROM t ORDER BY x"
    proposal, params = proposed(tmp_path, "sqlite:///shop.db", query=query)
    assert (params.data.sha256, params.data.query) == (None, query)
    assert "not pinned" in proposal.notes["sha256"]
    assert [field.type for field in params.data.schema_.fields] == ["number", "category"]
    with pytest.raises(SourceError, match="read by a query"):
        propose(Layout(tmp_path), "sqlite:///shop.db")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "there is no such file"),
        ("empty.csv", b"", "is empty"),
        ("blank.csv", b"\n\n", "holds no rows"),
        ("header.csv", b"a,b\n", "holds no rows"),
        ("one.csv", b"a\n1\n2\n", "holds no table"),
        ("twice.csv", b"a,a\n1,2\n", "2 columns named 'a'"),
        ("nameless.csv", b",a,b\n0,1,2\n1,2,2\n", "column 0 has no name"),
        ("cut.csv.gz", gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:40], "cut off"),
        ("no.parquet", b"PAR1 no", "cannot be read"),
        ("nul.csv", b"a,b\n\0,1\n", "null bytes"),
        ("open.csv", b'a,b\n1,2\n"3,4\n5,6\n', "quotation mark is opened in line 3 and not"),
        ("what.xlsx", b"PK", "holds no data that is read"),
        ("../out.csv", None, "leads out of the project"),
        ("same.csv", b"a,b\n1,1\n1,1\n", "no column can be the target"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelyardError, match=message) as caught:
        propose(Layout(tmp_path), name)
    assert caught.value.remedy


def test_columns_in_another_order_are_read_by_name_and_others_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    rows = [(f"{index}.5", "pq"[index % 2]) for index in range(60)]
    (folder / "0.csv").write_text("x,label\n" + "".join(f"{x},{y}\n" for x, y in rows))
    (folder / "1.csv").write_text("label,x\n" + "".join(f"{y},{x}\n" for x, y in rows))
    proposal, _ = proposed(tmp_path, "shards")
    types = [field["type"] for field in proposal.tree["schema"]["fields"]]
    assert (types, proposal.num_rows) == (["number", "category"], 120)
    (folder / "1.csv").write_text("label,y\np,1\n")
    with pytest.raises(SourceError, match=r"1\.csv has the columns label, y; 0\.csv has x, label"):
        propose(Layout(tmp_path), "shards")
    (folder / "1.csv").write_text('x,label\n1,"p\n2,q\n')
    with pytest.raises(SourceError, match=r"1\.csv: a quotation mark is opened in line 2"):
        propose(Layout(tmp_path), "shards")


def test_a_zip_of_files_that_are_rows_is_refused_and_one_of_a_table_is_not(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        for index in range(40):
            archive.writestr(f"{'ab'[index % 2]}/{index}.txt", f"some words {index}")
    with pytest.raises(SourceError, match=r"texts\.zip holds a file for each row"):
        propose(Layout(tmp_path), "texts.zip")
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("rows.csv", "x,y\n" + "".join(f"{n}.5,{'ab'[n % 2]}\n" for n in range(60)))
    assert proposed(tmp_path, "rows.zip")[0].tree["source"] == "rows.zip"


@pytest.mark.parametrize("name", ["people[1].csv", "people?.csv", "people*.parquet", "it's.csv"])
def test_a_file_named_like_a_pattern_is_looked_at_alone(tmp_path: Path, name: str) -> None:
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    for file, num_rows in ((name, 60), (f"people1.{name.rpartition('.')[2]}", 80)):
        rows = pa.table(
            {"x": [index % 37 for index in range(num_rows)], "y": list("ab") * (num_rows // 2)}
        )
        write = pq.write_table if name.endswith("parquet") else pa_csv.write_csv
        write(rows, tmp_path / file)
    proposal, _ = proposed(tmp_path, name)
    assert proposal.num_rows == 60


def test_decimals_of_parquet_are_numbers(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    amounts = [Decimal(index) / 4 for index in range(120)]
    rows = pa.table({"x": pa.array(amounts, pa.decimal128(9, 2)), "y": ["u", "v"] * 60})
    pq.write_table(rows, tmp_path / "t.parquet")
    proposal, _ = proposed(tmp_path, "t.parquet")
    field = proposal.tree["schema"]["fields"][0]
    assert (field["type"], field["constraints"]["maximum"]) == ("number", 45.0)
