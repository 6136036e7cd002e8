"""Does every conversation give exactly its answers to learn, or one sentence? Generated ones, by a seed.

`FROSTLINE_CONVERSATIONS=5000` makes as many of them as that.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from frostline.errors import CorpusError
from tests.builders.chat_families import FAMILIES
from tests.builders.chats import Family, Turns, chat_tokenizer, tokens_by_hand, windows_of, write_conversations
from tests.builders.corpora import open_small

COUNT = int(os.environ.get("FROSTLINE_CONVERSATIONS", "96"))
WITH_REASONING = ("qwen3", "chatml", "phi", "r1")
PIECES = (
    "river", "stone.", "a", "user", "assistant", "system", "model", "[INST]", "[/INST]", "<s>", "</s>", "<|im_end|>",
    "<|im_start|>assistant", "<bos>", "<end_of_turn>", "<|eot_id|>", "<|END_OF_TURN_TOKEN|>", "<end_of_utterance>",
    "🌊", "e\u0301", "שלום", "\0", "\t", "\n\n", "  ", "{{ m }}", "{% if %}", "\\n", '"', "'", "&amp;", "<<SYS>>", "|>",
)  # fmt: skip


def text(draw: random.Random) -> str:
    """Something that somebody may have written; it neither begins nor ends with a blank, which templates take away."""
    joined = draw.choice(("", " ")).join(draw.choices(PIECES, k=draw.randint(1, 8)))
    return joined.strip() or "lamp"


def conversation(draw: random.Random, family: Family) -> Turns:
    turns: Turns = []
    if family.system and draw.random() < 0.3:
        turns.append({"role": "system", "content": text(draw)})
    for _ in range(draw.randint(1, 4)):
        turns.append({"role": "user", "content": text(draw) if draw.random() < 0.9 else ""})
        answer = text(draw) if draw.random() < 0.9 else ""
        if answer and family.name in WITH_REASONING and draw.random() < 0.3:
            answer = f"<think>\n{text(draw)}\n</think>\n\n{answer}"
        turns.append({"role": "assistant", "content": answer})
    return turns


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_what_is_learnt_is_what_was_answered_or_one_sentence(family: Family, tmp_path: Path) -> None:
    draw = random.Random(family.name)
    tokenizer = chat_tokenizer(family)
    refused = 0
    for number in range(max(1, COUNT // len(FAMILIES))):
        row = conversation(draw, family)
        # The other row is there to be held out, or trained on.
        other: Turns = [{"role": "user", "content": "and this?"}, {"role": "assistant", "content": f"w {number}"}]
        path = write_conversations(tmp_path / f"{number}.jsonl", [row, other])
        expected = [tokens_by_hand(joined, tokenizer) for joined in family.join(row)]
        has_answer = any(turn["role"] == "assistant" and str(turn["content"]).strip() for turn in row)
        sentence = ""
        try:
            corpus = open_small(path, tmp_path / "cache", length=4000, held_out=1, tokenizer=tokenizer)
        except CorpusError as error:
            sentence = str(error)
        if sentence:
            assert len(sentence) < 300 + len(str(tmp_path)), sentence
            assert not has_answer or "<think>" in str(row), (sentence, row)
            refused += 1
            continue
        assert windows_of(corpus)[:-1] == (expected if has_answer else []), row
    assert refused < COUNT / len(FAMILIES) / 2 + 1 or family.name == "r1"
