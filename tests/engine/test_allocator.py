"""Memory that was freed stays with the process, large blocks only where there is room for what lies between them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from frostline.engine.allocator import LARGE_BLOCK_BYTES

FREE_A_BLOCK = f"""
import re
from pathlib import Path
import torch
from frostline.engine import keep_freed_memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

assert keep_freed_memory(large_blocks=LARGE)
before = resident()
first, second = torch.ones({4 * LARGE_BLOCK_BYTES}, dtype=torch.uint8), torch.ones(1 << 20, dtype=torch.uint8)
held = resident()
del first  # below the second, which stays: the heap cannot shrink
print(held - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
@pytest.mark.parametrize("large", [True, False])
def test_a_large_block_is_kept_only_where_it_is_wanted(large: bool) -> None:
    code = FREE_A_BLOCK.replace("LARGE)", f"{large})")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    held, after = (int(number) for number in re.findall(r"-?\d+", done.stdout))
    assert held > 3 * LARGE_BLOCK_BYTES
    assert (after > 3 * LARGE_BLOCK_BYTES) == large
