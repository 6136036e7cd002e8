"""How long does the ordered exchange of gradients take between processes of this machine? Measured, over gloo.

    python -m bench.exchange                      # 1, 16, 64 and 256 MB between two processes
    python -m bench.exchange --megabytes 50 3500 --processes 4 --rounds 5

What is exchanged is what several devices exchange in a step: every process sends each other one its piece of the
gradient (all-to-all), adds up the pieces that it gets in the order of the processes, and gives the sum to all
(all-gather). The sum is compared with that of one process, bit for bit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from frostline.machine import describe_machine

MEGABYTE = 1_000_000
SMALL_VALUES = 256
"""fp32 values of an exchange whose time is all latency."""


def part_of(rank: int, values: int) -> Tensor:
    """[values] the gradient of the part that process `rank` computes."""
    return torch.randn(values, generator=torch.Generator().manual_seed(rank))


def exchanged(part: Tensor, processes: int) -> Tensor:
    """[values] the sum of the parts of all processes in the order of their ranks, on each of them."""
    piece = -(-len(part) // processes)
    sent = torch.nn.functional.pad(part, (0, piece * processes - len(part)))
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent)
    own = received[:piece].clone()
    for rank in range(1, processes):
        own += received[rank * piece : (rank + 1) * piece]
    whole = torch.empty_like(sent)
    dist.all_gather(list(whole.split(piece)), own)
    return whole[: len(part)]


def travelling_bytes(values: int, processes: int) -> float:
    """Bytes that leave each process in one exchange of fp32 values: all-to-all and all-gather."""
    return 2 * 4 * values * (processes - 1) / processes


def _measure(rank: int, processes: int, sizes: list[int], rounds: int, folder: str) -> None:
    """One of the processes: rank 0 writes the median seconds of each size."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes)
    lines = []
    for values in sizes:
        part = part_of(rank, values)
        found = exchanged(part, processes)
        expected = part_of(0, values)
        for other in range(1, processes):
            expected += part_of(other, values)
        if not torch.equal(found, expected):
            raise SystemExit(f"the sum of {values:,} values is not that of one process")
        seconds = []
        for _ in range(rounds):
            dist.barrier()
            started = time.perf_counter()
            exchanged(part, processes)
            seconds.append(time.perf_counter() - started)
        lines.append(f"{values} {statistics.median(seconds)} {min(seconds)} {max(seconds)}")
    if rank == 0:
        (Path(folder) / "seconds").write_text("\n".join(lines))
    dist.destroy_process_group()


def measured(processes: int, sizes: list[int], rounds: int) -> dict[int, tuple[float, float, float]]:
    """Median, least and most seconds of an exchange of each of `sizes` (fp32 values), by real processes."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=_measure, args=(rank, processes, sizes, rounds, folder)) for rank in range(processes)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if any(worker.exitcode for worker in workers):
            raise SystemExit("a process has failed: see above")
        lines = (Path(folder) / "seconds").read_text().splitlines()
    found = {}
    for line in lines:
        values, *seconds = line.split()
        median, least, most = map(float, seconds)
        found[int(values)] = (median, least, most)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1, 16, 64, 256], help="gradients in fp32")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    sizes = [SMALL_VALUES, *(int(own * MEGABYTE / 4) for own in options.megabytes)]
    facts = describe_machine()
    print(f"{options.processes} processes on one machine, gloo, fp32, one thread each, {options.rounds} rounds")
    print("; ".join(f"{name}: {facts[name]}" for name in ("processor", "cores", "memory", "system", "torch")))
    print("\n| gradients, MB | bytes out of each process, MB | median, ms | least - most, ms | MB/s out of each |")
    print("| --- | --- | --- | --- | --- |")
    for values, (median, least, most) in measured(options.processes, sizes, options.rounds).items():
        travelled = travelling_bytes(values, options.processes) / MEGABYTE
        spread = f"{1e3 * least:.2f} - {1e3 * most:.2f}"
        rate = "-" if values == SMALL_VALUES else f"{travelled / median:,.0f}"
        print(f"| {4 * values / MEGABYTE:,.3g} | {travelled:,.3g} | {1e3 * median:.2f} | {spread} | {rate} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
