"""What takes seconds and is looked at by few tests? Figures, new processes to measure memory, the machine's speed."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def make_quick(patch: pytest.MonkeyPatch, run: Run) -> None:
    """Reports without figures, memory measured in processes that `run` begins, speed measured on small matrices."""
    from frostline.arms import empty_process, peak_memory
    from frostline.engine import peak
    from frostline.report import gallery

    patch.setattr(gallery, "FIGURES", ())
    for module in (empty_process, peak_memory):
        patch.setattr(module, "subprocess", _Subprocess(run))
    patch.setitem(peak.SIZES, "cpu", 128)
    patch.setattr(gc, "unfreeze", lambda: None)  # what is frozen here are modules and tests, which stay


@dataclass(frozen=True)
class _Subprocess:
    """Stands in for the module `subprocess`."""

    command: Run

    def run(
        self,
        command: Sequence[str],
        *,
        capture_output: bool,
        text: bool,
        encoding: str,
        errors: str,
        check: bool,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        done = self.command(command)
        if check:
            done.check_returncode()
        return done
