"""The order of the rooms, as CONTRIBUTING states it, and that rooms are entered through their doors."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

SOURCE = Path("src/frostline")
MODULES = {
    ".".join(("frostline", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
ROOMS = re.findall(r"^\| `(\w+)` \|", Path("CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
"""From the command line down: what a room imports stands below it."""
SIDE_BY_SIDE = {"experiment", "advisor", "forecast"}


def _imports(name: str) -> set[str]:
    """Modules and doors that a module imports, lazily or not, by full name."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "frostline":
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in MODULES else str(node.module) for full in whole}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
    return found


def _room(name: str) -> str | None:
    part = name.split(".")[1:2]
    return part[0] if part and part[0] in ROOMS else None


CROSSINGS = [
    (importer, imported, _room(importer), _room(imported))
    for importer in MODULES
    for imported in _imports(importer)
    if _room(imported) and _room(importer) and _room(importer) != _room(imported)
]


def test_every_package_is_a_room_that_contributing_names() -> None:
    assert {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()} == set(ROOMS)


def test_no_module_imports_from_a_room_above_or_beside_its_own() -> None:
    wrong = [
        f"{importer} imports {imported}"
        for importer, imported, upper, lower in CROSSINGS
        if ROOMS.index(str(lower)) < ROOMS.index(str(upper)) or {upper, lower} <= SIDE_BY_SIDE
    ]
    assert not wrong


def test_rooms_are_entered_through_their_doors() -> None:
    doors = {room: getattr(import_module(f"frostline.{room}"), "__all__", None) for room in ROOMS}
    wrong = [
        f"{importer} imports {imported}"
        for importer, imported, _, lower in CROSSINGS
        if (door := doors[str(lower)]) is not None
        if imported != f"frostline.{lower}" and imported.split(".")[2] not in door
    ]
    assert not wrong


def test_modules_import_one_another_in_no_circle() -> None:
    # `frostline` itself imports on first use alone.
    TopologicalSorter({name: _imports(name) - {"frostline"} for name in MODULES if name != "frostline"}).prepare()


def test_every_file_that_contributing_names_is_there() -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|md))`", Path("CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert named
    missing = [
        name for name in named if "NAME" not in name and not (SOURCE / name).exists() and not Path(name).exists()
    ]
    assert not missing
