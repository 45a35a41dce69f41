"""What of ``custom`` counts as code: an edit of its prose trains nothing anew."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_dvc_hashes_the_code_of_custom_and_not_its_prose() -> None:
    files = ["custom/README.md", "custom/example.py", "custom/__init__.py"]
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "check-ignore", *files],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["custom/README.md"], done.stderr
