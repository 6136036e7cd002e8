"""What needs bitsandbytes is refused in one sentence where it is not installed, cannot be loaded or does not run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from frostline.engine import low_bit, require_low_bit
from frostline.errors import FrostlineError, MissingExtraError
from frostline.recipe import TrainingSettings
from tests.builders.experiments import run_tiny, write_experiment

CPU = torch.device("cpu")
NF4, EIGHT_BIT = TrainingSettings(frozen_weights="nf4"), TrainingSettings(optimizer="adamw-8bit")


@pytest.fixture(autouse=True)
def _not_imported_yet() -> Iterator[None]:
    low_bit.bitsandbytes.cache_clear()
    yield
    low_bit.bitsandbytes.cache_clear()


def importing(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], object]) -> None:
    plain = importlib.import_module

    def import_module(name: str, package: str | None = None) -> object:
        return answer() if name == "bitsandbytes" else plain(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)


def not_installed() -> ModuleType:
    raise ModuleNotFoundError("No module named 'bitsandbytes'", name="bitsandbytes")


def broken() -> ModuleType:
    raise ImportError("libcudart.so.12: cannot open shared object file\nand more")


def raising(*arguments: object, **settings: object) -> object:
    raise RuntimeError("this CPU has no AVX2\nand more")


def wrong(matrix: torch.Tensor, **settings: object) -> tuple[torch.Tensor, SimpleNamespace]:
    return matrix, SimpleNamespace(absmax=None)


@pytest.mark.parametrize(
    ("answer", "nf4", "eight_bit"),
    [
        (
            not_installed,
            "training.frozen_weights: 'nf4' needs the package 'bitsandbytes'. "
            'Install it: pip install "frostline[low-bit]"',
            "training.optimizer: 'adamw-8bit' needs the package 'bitsandbytes'. "
            'Install it: pip install "frostline[low-bit]"',
        ),
        (
            broken,
            "training.frozen_weights: 'nf4' needs bitsandbytes, which does not run (libcudart.so.12: cannot open "
            "shared object file) on this machine's CPU. Use 'int8'.",
            "training.optimizer: 'adamw-8bit' needs bitsandbytes, which does not run (libcudart.so.12: cannot open "
            "shared object file) on this machine's CPU. Use 'adamw'.",
        ),
        (
            lambda: SimpleNamespace(
                functional=SimpleNamespace(quantize_4bit=raising), optim=SimpleNamespace(AdamW8bit=raising)
            ),
            "training.frozen_weights: 'nf4' needs bitsandbytes, which does not run (this CPU has no AVX2) "
            "on this machine's CPU. Use 'int8'.",
            "training.optimizer: 'adamw-8bit' needs bitsandbytes, which does not run (this CPU has no AVX2) "
            "on this machine's CPU. Use 'adamw'.",
        ),
        (
            lambda: SimpleNamespace(
                functional=SimpleNamespace(quantize_4bit=wrong, dequantize_4bit=lambda matrix, state: -matrix),
                optim=SimpleNamespace(AdamW8bit=torch.optim.AdamW),
            ),
            "training.frozen_weights: 'nf4' needs bitsandbytes, which gives wrong results on this machine's "
            "CPU. Use 'int8'.",
            "training.optimizer: 'adamw-8bit' needs bitsandbytes, which gives wrong results on this machine's "
            "CPU. Use 'adamw'.",
        ),
    ],
)
def test_it_is_refused_in_a_sentence(
    answer: Callable[[], object], nf4: str, eight_bit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    importing(monkeypatch, answer)
    for training, sentence in ((NF4, nf4), (EIGHT_BIT, eight_bit)):
        with pytest.raises(FrostlineError) as caught:
            require_low_bit(training, CPU)
        assert str(caught.value) == sentence
        assert len(sentence) < 300


def test_whoever_asks_for_neither_need_not_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    importing(monkeypatch, not_installed)
    require_low_bit(TrainingSettings(frozen_weights="int8"), CPU)
    require_low_bit(TrainingSettings(frozen_weights="nf4", engine="reference"), CPU)  # which holds everything in fp32


def test_a_run_is_refused_before_it_has_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importing(monkeypatch, not_installed)
    recipe = write_experiment(tmp_path)
    with pytest.raises(MissingExtraError, match=r"key 'training\.optimizer': 'adamw-8bit' needs the package"):
        run_tiny(recipe, tmp_path / "run", ("training.optimizer=adamw-8bit",))
    assert not (tmp_path / "run").exists()


def test_where_it_runs_nothing_is_refused() -> None:
    pytest.importorskip("bitsandbytes")
    require_low_bit(NF4, CPU)
    require_low_bit(EIGHT_BIT, CPU)
