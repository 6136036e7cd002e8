"""A run whose chat template writes today's date is stopped, and goes on on another day: nothing of it is another."""

from __future__ import annotations

from pathlib import Path

from frostline.run_folder import read_journal
from tests.builders.chat_families import CHATML
from tests.builders.chats import WORDS, chat_tokenizer, write_conversations
from tests.builders.experiments import journal_without_clock, write_experiment
from tests.builders.models import tiny_model
from tests.builders.processes import Processes

DATED = "<|im_start|>{{ strftime_now('%d %b %Y') }}\n" + CHATML.template
FIRST_DAY, LATER_DAY = "2030-01-02", "2030-03-14"


def write_dated_experiment(folder: Path, **changes: object) -> Path:
    """An experiment on conversations whose template writes the date."""
    tokenizer = chat_tokenizer(CHATML)
    tokenizer.chat_template = DATED
    tokenizer.save_pretrained(folder / "model")
    tiny_model("llama", layers=2, vocab_size=len(tokenizer), max_position_embeddings=128).save_pretrained(
        folder / "model"
    )
    rows = [
        [{"role": "user", "content": f"{one} {two}?"}, {"role": "assistant", "content": f"{two} {one}"}]
        for one in WORDS
        for two in WORDS[:3]
    ]
    write_conversations(folder / "chat.jsonl", rows)
    settings: dict[str, object] = {
        "corpus": {"source": "chat.jsonl"},
        "windows": {"length": 120, "held_out": 2},
        "arms": {"full": {"train": "all"}, "freeze": {"train": ["attn@-1"]}},
        "seeds": [0],
    }
    return write_experiment(folder, layers=2, **(settings | changes))  # type: ignore[arg-type]  # of any type


def test_a_run_that_goes_on_on_another_day_gives_what_it_would_have_given(tmp_path: Path, processes: Processes) -> None:
    # The second value has not begun when the run is stopped.
    changes: dict[str, object] = {
        "vary": {"corpus.tokens": [800, 1300]},
        "retention": {"source": "chat.jsonl", "tokens": 900},
        "measures": {"memory": True, "evaluate_every": 3},
    }
    recipe, output = write_dated_experiment(tmp_path / "project", **changes), tmp_path / "output.txt"

    def run(arguments: list[str], cache: str, hook: str) -> int:
        return processes.run([*arguments], tmp_path / cache, output, hook=hook)

    straight, stopped = tmp_path / "project/straight", tmp_path / "project/stopped"
    assert run(["run", str(recipe), "--out", str(straight)], "one", f"today:{FIRST_DAY}") == 0, output.read_text()
    hook = f"today:{FIRST_DAY} SIGINT:full:2"
    assert run(["run", str(recipe), "--out", str(stopped)], "two", hook) == 130, output.read_text()
    assert run(["resume", str(stopped)], "two", f"today:{LATER_DAY}") == 0, output.read_text()
    assert journal_without_clock(stopped) == journal_without_clock(straight)
    days = {
        corpus["template_date"]
        for line in read_journal(stopped)
        for corpus in (line.get("corpus"), line.get("retention"))
        if isinstance(corpus, dict)
    }
    assert days - {None} == {FIRST_DAY}  # text of the model's own has no template
    other = tmp_path / "project/other"
    assert run(["run", str(recipe), "--out", str(other), "--fresh"], "two", f"today:{LATER_DAY}") == 0
    assert journal_without_clock(other) != journal_without_clock(straight)
