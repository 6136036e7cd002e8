"""Does the hash of the code change with whatever decides a bit, and with nothing else?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import frostline
from frostline.storage import DECIDING_PARTS, code_sha256

ROOT = Path(frostline.__file__).parent


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of Frostline's code."""
    copied = tmp_path_factory.mktemp("code") / "frostline"
    shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


def test_a_copy_elsewhere_has_the_same_hash(code: Path) -> None:
    assert code_sha256(root=code) == code_sha256()


def into_a_folder(code: Path) -> None:
    (code / "engine" / "parts").mkdir()
    (code / "engine" / "arm.py").rename(code / "engine" / "parts" / "arm.py")


def to_another_name(code: Path) -> None:
    (code / "engine" / "arm.py").rename(code / "engine" / "step.py")


def within_a_folder(code: Path) -> None:
    (code / "plans" / "parts" / "more").mkdir(parents=True)
    (code / "plans" / "parts" / "more" / "new.py").write_text("")


def of_the_plan_language(code: Path) -> None:
    (code / "recipe" / "selectors.py").write_text("pass\n")


def of_a_byte(code: Path) -> None:
    path = code / "measures" / "spectrum.py"
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("change", [into_a_folder, to_another_name, within_a_folder, of_the_plan_language, of_a_byte])
def test_a_change_of_deciding_code_changes_it(code: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    changed = tmp_path / "frostline"
    shutil.copytree(code, changed)
    change(changed)
    assert code_sha256(root=changed) != code_sha256(root=code)


def test_a_file_that_moves_changes_it_where_the_order_stays(tmp_path: Path) -> None:
    places = ("room/one.py", "room/below/one.py", "room/below/deeper/one.py", "room/other.py")
    for number, place in enumerate(places):
        (tmp_path / str(number) / place).parent.mkdir(parents=True)
        (tmp_path / str(number) / place).write_text("pass\n")
    assert len({code_sha256(["room"], tmp_path / str(number)) for number in range(len(places))}) == len(places)


def test_two_files_that_change_names_change_it(tmp_path: Path) -> None:
    for folder, names in (("before", "ab"), ("after", "ba")):
        (tmp_path / folder / "room").mkdir(parents=True)
        for name, content in zip(names, ("one", "two"), strict=True):
            (tmp_path / folder / "room" / f"{name}.py").write_text(content)
    assert code_sha256(["room"], tmp_path / "before") != code_sha256(["room"], tmp_path / "after")


@pytest.mark.parametrize("room", ["cli", "terminal", "report", "advisor", "forecast", "signals", "stats"])
def test_what_decides_no_bit_of_an_arm_is_left_out(code: Path, tmp_path: Path, room: str) -> None:
    changed = tmp_path / "frostline"
    shutil.copytree(code, changed)
    shutil.rmtree(changed / room)
    assert code_sha256(root=changed) == code_sha256(root=code)


def test_a_part_that_is_not_there_is_an_error(code: Path, tmp_path: Path) -> None:
    assert len({*DECIDING_PARTS}) == len(DECIDING_PARTS)
    with pytest.raises(FileNotFoundError, match="no code is there"):
        code_sha256(["engines"], code)
