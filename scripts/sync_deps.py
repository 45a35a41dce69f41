"""Write into dvc.yaml the code that each stage really imports; `--check` only compares.

The closure of a stage is every file of the project reached by imports from the module of its
function (late imports too), the templates that they name, stages.py itself, the lock file, and
`custom/` where users' code is called.
"""

import sys
from pathlib import Path

import grimp
from ruamel.yaml import YAML

from modelyard.stages import STAGES

ROOT = Path(__file__).parents[1]
ALWAYS = ("requirements.lock", "src/modelyard/stages.py")
USER_CODE = {"ingest", "train", "cross_validate", "evaluate", "compress"}


def closure(stage: str, graph: grimp.ImportGraph) -> list[str]:
    """The project's files that the function of ``stage`` imports, directly or not, sorted."""
    module = STAGES[stage].partition(":")[0]
    modules = {module, "modelyard.stages"} | graph.find_upstream_modules(module)
    modules |= {"modelyard.params", "modelyard.settings"}
    modules |= set().union(*(graph.find_upstream_modules(name) for name in ("modelyard.params",)))
    modules |= {parent for name in modules for parent in _parents(name)}
    files = {_file(name) for name in modules if name.startswith("modelyard")}
    files |= _templates(files)
    return sorted(files | set(ALWAYS) | ({"custom"} if stage in USER_CODE else set()))


def expected(current: list[str], stage: str, graph: grimp.ImportGraph) -> list[str]:
    """The whole ``deps`` list of a stage: outputs of other stages as they stand, then its code."""
    data = [dep for dep in current if dep.startswith(("data/", "models/", "metrics/"))]
    return data + closure(stage, graph)


def main() -> int:
    """Rewrite dvc.yaml, or with ``--check`` say what differs."""
    editor = YAML()
    editor.width = 120
    path = ROOT / "dvc.yaml"
    document = editor.load(path.read_text(encoding="utf-8"))
    graph = grimp.build_graph("modelyard", cache_dir=None)
    differs = False
    for name, stage in document["stages"].items():
        wanted = expected(list(stage["deps"]), name, graph)
        if list(stage["deps"]) != wanted:
            differs = True
            print(f"{name}: missing {sorted(set(wanted) - set(stage['deps']))}")
            print(f"{name}: superfluous {sorted(set(stage['deps']) - set(wanted))}")
            stage["deps"] = wanted
    if differs and "--check" not in sys.argv:
        with path.open("w", encoding="utf-8") as file:
            editor.dump(document, file)
        print("dvc.yaml written")
    return 1 if differs and "--check" in sys.argv else 0


def _templates(files: set[str]) -> set[str]:
    """The templates whose names these files hold, and those that the templates extend."""
    found: set[str] = set()
    while True:
        texts = [(ROOT / name).read_text(encoding="utf-8") for name in files | found]
        named = {
            str(path.relative_to(ROOT))
            for path in ROOT.glob("src/modelyard/templates/*.j2")
            if any(f'"{path.name}"' in text for text in texts)
        }
        if named <= found:
            return found
        found |= named


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _file(module: str) -> str:
    base = Path("src", *module.split("."))
    package = base / "__init__.py"
    return str(package if (ROOT / package).exists() else base.with_suffix(".py"))


if __name__ == "__main__":
    sys.exit(main())
