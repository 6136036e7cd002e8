"""How much of what the model reads is padding, where windows are pairs of many lengths? And what does it cost?

    python -m bench.pairs [STEPS]

Pairs of prompt and answer of drawn lengths (log-normal, mean about 96, the longest about 250), eight a step, read by
the shipped model. In turns, step by step, on copies of one model: every step as wide as the longest pair of the corpus,
with a mask (as Frostline 0.1.0 had it); and as it is read now. Padding is counted over many more steps than are timed.
"""

from __future__ import annotations

import json
import platform
import random
import statistics
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from frostline.arms.padding import without_needless_mask
from frostline.corpus import NOT_COUNTED, Batch, Corpus, open_corpus
from frostline.engine import Arm, split_batch
from frostline.loading import load_model, load_tokenizer
from frostline.plans import Plan
from frostline.recipe import CorpusSettings, ModelSettings, TrainingSettings, WindowSettings

PAIRS, WINDOWS, LONGEST = 2000, 8, 512
COUNTED_STEPS = 200
PLAN = "train: [attn.qkv@50%:]"
CPU = torch.device("cpu")


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    machine = platform.processor() or platform.machine()
    print(
        f"{machine}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {version('torch')}, "
        f"{steps} steps, {PAIRS} pairs, {WINDOWS} a step, {PLAN}"
    )
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        tokenizer, model = load_tokenizer(ModelSettings(), cache), load_model(ModelSettings(), cache, dropout=0.0)
        corpus = open_corpus(
            CorpusSettings(source=str(_pairs(cache / "pairs.jsonl")), prompt="question", response="answer"),
            WindowSettings(length=LONGEST, held_out=16),
            tokenizer,
            cache=cache,
        )
        now = without_needless_mask(corpus, model, device=CPU, precision="fp32")
        _count(now)
        settings = TrainingSettings(steps=max(steps + 1, 2), batch=WINDOWS, learning_rate=1e-4)
        arms = {
            way: Arm(
                way, load_model(ModelSettings(), cache, dropout=0.0), Plan.parse(PLAN), settings, learning_rate=1e-4,
                weight_decay=0.0, seed=0, device=CPU, precision="fp32",
            )
            for way in ("before", "now")
        }  # fmt: skip
    seconds: dict[str, list[float]] = {way: [] for way in arms}
    difference = 0.0
    for step in range(steps + 1):  # the first is a warm-up
        losses = []
        for way in list(arms) if step % 2 == 0 else list(arms)[::-1]:
            batch = now.batch(0, step, WINDOWS) if way == "now" else _as_before(corpus, step)
            outcome = arms[way].take_step(batch, step)
            losses.append(outcome.loss_nats)
            if step:
                seconds[way].append(outcome.seconds)
        difference = max(difference, abs(losses[0] - losses[1]))
    for way, own in seconds.items():
        print(f"{way}: {statistics.median(own):.2f} s a step [{min(own):.2f}, {max(own):.2f}]")
    ratios = [before / after for before, after in zip(seconds["before"], seconds["now"], strict=True)]
    print(f"before / now: {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")
    print(f"largest difference of a step's loss: {difference:.1e} nats")


def _pairs(path: Path) -> Path:
    draw = random.Random(0)
    words = ("the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not")
    with path.open("w", encoding="utf-8") as file:
        for _ in range(PAIRS):
            total = min(230, max(12, round(draw.lognormvariate(4.0, 0.6))))
            given = max(4, round(total * draw.uniform(0.2, 0.6)))
            texts = [" ".join(draw.choices(words, k=count)) for count in (given, max(4, total - given))]
            file.write(json.dumps({"question": texts[0], "answer": texts[1]}) + "\n")
    return path


def _count(corpus: Corpus) -> None:
    """Print how much is padding, before and now."""
    tokens = before = rounded = now = parts_of_steps = 0
    for step in range(COUNTED_STEPS):
        batch = corpus.batch(0, step, WINDOWS)
        lengths = batch.lengths or (batch.input_ids.shape[1],) * WINDOWS
        parts = split_batch(batch, 1)
        tokens += sum(lengths)
        rounded += sum(batch.widths or lengths)
        before += WINDOWS * corpus.window_length
        now += sum(part.input_ids.size for part in parts)
        parts_of_steps += len(parts)
    print(f"pairs of {tokens / COUNTED_STEPS / WINDOWS:.0f} tokens, the longest {corpus.window_length}; padding:")
    print(
        f"  to the longest pair of the corpus {1 - tokens / before:.1%}, of each width alone {1 - tokens / rounded:.1%}"
    )
    print(f"  now {1 - tokens / now:.1%}, in {parts_of_steps / COUNTED_STEPS:.1f} parts a step")


def _as_before(corpus: Corpus, step: int) -> Batch:
    """The step's windows, all as wide as the longest of the corpus."""
    batch = corpus.batch(0, step, WINDOWS)
    longest = corpus.window_length
    more = ((0, 0), (0, max(0, longest - batch.input_ids.shape[1])))
    read = np.ones_like(batch.input_ids) if batch.is_token is None else batch.is_token.astype(np.int64)
    return replace(
        batch,
        input_ids=np.pad(batch.input_ids, more, constant_values=corpus.padding_id or 0)[:, :longest],
        labels=np.pad(batch.labels, more, constant_values=NOT_COUNTED)[:, :longest],
        attention_mask=np.pad(read, more)[:, :longest],
        lengths=None,
        widths=None,
    )


if __name__ == "__main__":
    main()
