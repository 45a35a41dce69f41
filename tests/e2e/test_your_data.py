"""docs/your-data.md, as somebody new would do it: a file never seen, one edit, a live model."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import copy_project
from tests.project import environment

pytestmark = [pytest.mark.slow, pytest.mark.server]

ROOT = Path(__file__).parents[2]
EFFECT = {"full-time": 1.5, "part-time": 0.2, "self-employed": 0.0, "none": -2.0}


def loans(num_rows: int = 800) -> str:
    """Loans with a BOM to come, semicolons, dates of our own, marks and gaps; repaid or not."""
    draw = random.Random(7)
    lines = [
        "Customer ID;Age;Income;Employment;Customer since;Home owner;City;E-Mail;Remarks;Repaid"
    ]
    for row in range(num_rows):
        income = draw.gauss(40000, 12000)
        work, owner = draw.choice(list(EFFECT)), draw.choice(["yes", "no", ""])
        merit = (income - 38000) / 6000 + EFFECT[work] + (owner == "yes") + draw.gauss(0, 0.7)
        cells = [
            f"C{row:05d}",
            draw.randint(18, 79),
            "?" if draw.random() < 0.07 else f"{income:.2f}",
            work,
            f"{draw.randint(1, 28):02d}.{draw.randint(1, 12):02d}.{draw.randint(1990, 2023)}",
            owner,
            draw.choice(["Bern", "Zürich", "Genève", "Basel"]),
            f"u{row}@example.org",
            draw.choice(["paid on time always", "called twice about the rate", ""]),
            "yes" if merit > 0 else "no",
        ]
        lines.append(";".join(map(str, cells)))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    copy_project(home / "project")
    (home / "bin").mkdir()
    program = home / "bin/modelyard"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m modelyard.cli "$@"\n')
    program.chmod(0o755)
    (home / "loans.csv").write_text(loans(), encoding="utf-8-sig")
    try:
        yield home
    finally:
        shell(home, "modelyard down", check=False)


def shell(home: Path, command: str, check: bool = True) -> str:
    root = home / "project"
    env = environment(root, HOME=str(home))
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
        env=env | {"PATH": f"{home / 'bin'}:{env['PATH']}"},
    )
    if check:
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_a_file_never_seen_becomes_a_live_model(home: Path) -> None:
    text = (ROOT / "docs/your-data.md").read_text()
    block = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[0]
    commands = [line.partition("  #")[0].strip() for line in block.splitlines()]
    made, _, ran, asked = [shell(home, command) for command in commands]
    assert "target Repaid, task classification, split stratify" in made
    assert "personal, tokenized and not learned from: e_mail" in made
    assert re.search(r"rows +800 accepted, 0 rejected", ran), ran
    assert re.search(r"version +loans 1: .*champion.*live", ran), ran
    assert re.search(r"→ '(yes|no)' with probability 0\.\d+, by loans version 1", asked)
    assert "@example.org" not in ran + asked


def test_the_live_model_takes_rows_by_their_names(home: Path) -> None:
    rows = home / "project/rows.csv"
    header = "Age,Income,Employment,customer_since,home_owner,City,Remarks\n"
    rows.write_text(
        f"{header}31,70000,full-time,2019-05-01,true,Bern,\n60,9000,none,2001-01-01,,Basel,\n"
    )
    answer = json.loads(shell(home, "modelyard predict rows.csv --name loans"))
    assert [row["label"] for row in answer["predictions"]] == ["yes", "no"]
    rows.write_text("Age,Incom\n31,52000\n")
    refused = shell(home, "modelyard predict rows.csv --name loans", check=False)
    assert "rows[0] has 'Incom'; the model's inputs are ['Income'" in refused
