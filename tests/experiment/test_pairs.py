"""Does a whole run on pairs of differing lengths come to its report, the same with stored rows as in the plain loop?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment
from tests.builders.models import tiny_model
from tests.builders.tokenizers import CHAT_TEMPLATE, words

LENGTHS = [(3, 2), (9, 30), (4, 4), (12, 7), (2, 20), (6, 14)]


def write_pairs_experiment(folder: Path, training: dict[str, object]) -> Path:
    folder.mkdir(parents=True)
    with (folder / "pairs.jsonl").open("w") as file:
        for number in range(30):
            given, wanted = LENGTHS[number % len(LENGTHS)]
            texts = [words([(number * 7 + place * 3) % 61 for place in range(count)]) for count in (given, wanted)]
            file.write(json.dumps({"question": texts[0], "answer": texts[1]}) + "\n")
    recipe = write_experiment(
        folder,
        corpus={"source": "pairs.jsonl", "prompt": "question", "response": "answer"},
        windows={"length": 48, "held_out": 5},
        training=training,
        seeds=[0],
    )
    (folder / "model" / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return recipe


def losses(run: Path) -> dict[str, list[float]]:
    """Losses of the steps and of the held-out pairs, by journal."""
    return {
        name: [float(str(record["loss_nats"])) for record in records if record["kind"] in ("StepTaken", "Evaluation")]
        for name, records in journal_without_clock(run).items()
        if name.startswith("variant")
    }


TURNED_BY_THE_LONGEST: dict[str, object] = {
    "original_max_position_embeddings": 24,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [1.0, 2.0, 4.0, 8.0],
        "original_max_position_embeddings": 24,
    },
}
"""A model that turns every window of a batch by other angles once one of them has more than 24 tokens."""


@pytest.mark.parametrize(
    ("family", "changes"), [("llama", {}), ("phi3", TURNED_BY_THE_LONGEST)], ids=["llama", "longrope"]
)
def test_the_fast_engine_and_the_plain_loop_train_alike_on_pairs(
    family: str, changes: dict[str, object], tmp_path: Path
) -> None:
    runs = {}
    for engine in ("fast", "reference"):
        training: dict[str, object] = {
            "steps": 4, "batch": 4, "learning_rate": 0.01, "precision": "fp32", "untimed_steps": 1, "engine": engine,
        }  # fmt: skip
        recipe = write_pairs_experiment(tmp_path / engine, training)
        model = tiny_model(family, layers=4, initializer_range=0.4, **changes)  # type: ignore[arg-type]  # of any type
        model.save_pretrained(tmp_path / engine / "model")
        assert run_tiny(recipe, tmp_path / engine / "run").exit_code == 0
        runs[engine] = losses(tmp_path / engine / "run")
    assert sorted(map(len, runs["fast"].values())) == [0, 10, 10, 10]
    for place, own in runs["reference"].items():
        assert runs["fast"][place] == pytest.approx(own, rel=1e-4)
