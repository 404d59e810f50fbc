"""The house: imports go down the floors, and the light rooms stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import boxpromptiml

ROOT = Path(boxpromptiml.__file__).parent
FLOORS: dict[str, int] = {
    **dict.fromkeys(["errors", "files", "machine", "progress", "metrics", "copymove", "scaling"], 0),
    **dict.fromkeys(["regions", "rle", "images", "preprocessing", "settings_file", "perturbations", "opencv"], 1),
    **dict.fromkeys(["dataset", "teachers", "synthesis", "model_config", "models", "storage"], 2),
    **dict.fromkeys(["formats", "pseudolabels", "shards", "student", "runtime", "http"], 3),
    **dict.fromkeys(["training", "bulk", "web", "serve"], 4),
    **dict.fromkeys(["evaluation", "export", "integrations", "protocols", "cli", "demo", "bench", "packaging"], 5),
}
# `boxpromptiml localize` must work, and start fast, where only the core dependencies are installed.
HEAVY = {"torch", "torchvision", "timm", "lightning", "transformers", "cv2", "scipy", "sklearn", "matplotlib"}
HEAVY |= {"fastapi", "starlette", "uvicorn"}


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Every module that a file names in an import, at any depth, except in `if TYPE_CHECKING` blocks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped.update(child for statement in node.body for child in ast.walk(statement))
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


FILES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_the_floors(path: Path) -> None:
    room = _room(path)
    assert room in FLOORS, f"{room} has no floor: put it on one, here and in docs/architecture.md"
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] != "boxpromptiml" or len(parts) < 2 or parts[1] not in FLOORS or parts[1] == room:
            continue
        assert FLOORS[parts[1]] < FLOORS[room] or FLOORS[room] == 5, f"{path}: {room} must not import {parts[1]}"


def test_relative_imports_are_not_used() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "statement",
    [
        "import boxpromptiml; boxpromptiml.Localizer; boxpromptiml.Dataset",
        "import boxpromptiml.cli.main",
        "import boxpromptiml.bulk",
    ],
)
def test_the_light_rooms_import_nothing_heavy(statement: str) -> None:
    code = f"{statement}\nimport sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_unused_room() -> None:
    rooms = {_room(p) for p in FILES}
    assert set(FLOORS) <= rooms, f"floors without a room: {set(FLOORS) - rooms}"
