"""What must stay in step.

dvc.yaml with the code, docs with the code, files with their limits, layers.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from modelyard.stages import STAGES

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("src", "flows", "tasks", "custom", "tests", "benchmarks", "scripts")
    for path in (ROOT / folder).rglob("*.py")
]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def definition() -> dict:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_dvc_yaml_defines_just_the_stages_in_their_order() -> None:
    assert list(definition()) == list(STAGES)
    for name, stage in definition().items():
        assert stage["cmd"] == f"modelyard stage {name}"


def test_deps_are_the_code_that_each_stage_imports() -> None:
    done = run(sys.executable, "scripts/sync_deps.py", "--check")
    assert done.returncode == 0, f"`make deps` mends it:\n{done.stdout}{done.stderr}"


def test_a_changed_import_is_noticed(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT))
    import grimp

    from scripts.sync_deps import closure

    graph = grimp.build_graph("modelyard", cache_dir=None)
    assert "src/modelyard/training/loop.py" in closure("train", graph)
    assert "src/modelyard/training/loop.py" not in closure("ingest", graph)
    assert "custom" in closure("train", graph)
    graph.add_import(importer="modelyard.data.ingest", imported="modelyard.training.loop")
    assert "src/modelyard/training/loop.py" in closure("ingest", graph)


def test_stage_params_exist_in_params_yaml() -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in definition().values():
        for path in stage["params"]:
            node = tree
            for key in path.split("."):
                node = node[key]


def test_the_reference_is_what_the_code_says() -> None:
    done = run(sys.executable, "scripts/reference.py", "--check")
    assert done.returncode == 0, f"`make reference` mends it:\n{done.stdout}{done.stderr}"


def test_every_command_shows_an_example() -> None:
    from modelyard.cli import app

    for command in app.registered_commands:
        assert command.callback is not None
        assert re.search(r"Example: `modelyard ", command.callback.__doc__ or ""), command.callback


def test_no_file_outgrows_its_limit() -> None:
    limits = {"flows": 100, "tasks": 60}
    too_long = {
        str(path.relative_to(ROOT)): length
        for path in SOURCES
        if (length := len(path.read_text().splitlines()))
        > limits.get(path.relative_to(ROOT).parts[0], 400)
    }
    assert too_long == {}


def test_no_result_of_a_run_is_committed() -> None:
    assert run("git", "ls-files", "dvc.lock", "metrics", "data", "models", "reports").stdout == ""


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_layers_hold() -> None:
    done = run(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout


def test_nothing_happens_on_import() -> None:
    modules = [
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "src").rglob("*.py")
        if path.name != "__main__.py"
    ]
    code = (
        "import sys, importlib, threading, os\n"
        f"before = set(os.listdir('.')); [importlib.import_module(m) for m in {modules!r}]\n"
        "heavy = {'great_expectations', 'dvc', 'prefect', 'mlflow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(os.listdir('.')) == before\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
