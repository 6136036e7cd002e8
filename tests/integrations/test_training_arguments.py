"""Does `Trainer`, given an arm of a recipe, take the steps that a run takes?"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from transformers import Trainer, TrainerCallback

import frostline
from frostline.arms import make_arm, prepare
from frostline.errors import RecipeError
from frostline.integrations import TrainerArm
from frostline.integrations.transformers import PlanCallback
from frostline.plans import AppliedPlan
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import write_experiment

STEPS = 20
TRAINING = {
    "steps": STEPS, "batch": 2, "accumulation": 2, "learning_rate": 0.01, "weight_decay": 0.3, "warmup": 4,
    "decay": "cosine", "betas": [0.8, 0.95], "epsilon": 1e-6, "gradient_clipping": 0.5, "precision": "fp32",
}  # fmt: skip
ARMS = {
    "full": {"train": "all"},
    "upper": {"train": ["attn.q@50%:", "norm", 'embed["w5", 7:20]'], "learning_rate": 0.02},
    "changing": {
        "train": ["attn.q@50%:"],
        "learning_rate": 0.05,
        "changes": [{"at": 7, "thaw": ["mlp.up@-1:", "embed[3]"]}],
    },
}


def recipe_of(folder: Path, family: str, **training: object) -> Path:
    return write_experiment(folder, family, training=TRAINING | training, arms=ARMS, baseline="full")


def losses_of_a_run(recipe: Path, arm: str, seed: int) -> list[float]:
    """By the fast engine, as `frostline run` trains the arm."""
    (variant,) = variants_of(load_recipe(recipe))
    prepared = prepare(variant, recipe.parent / "cache", say=lambda sentence: None)
    made = make_arm(prepared, prepared.arms[arm], seed)
    return [made.take_step(prepared.corpus.batch(seed, step, 4), step).loss_nats for step in range(STEPS)]


def trained(arm: TrainerArm) -> tuple[AppliedPlan, list[float]]:
    """By `apply`; a plan that changes by its callback, whose optimizer holds all that ever trains."""
    callback = PlanCallback(arm.plan) if arm.plan.changes else None
    applied = arm.apply() if callback is None else callback.apply(arm.model, arm.tokenizer)
    arm.arguments.disable_tqdm = True
    optimizers = arm.optimizers(applied)
    callbacks: list[TrainerCallback] = [] if callback is None else [callback]
    trainer = Trainer(
        arm.model, arm.arguments, train_dataset=arm.train_dataset, optimizers=optimizers, callbacks=callbacks
    )
    trainer.train()
    return applied, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    ("family", "arm", "seed"),
    [("llama", "full", 0), ("gpt2", "full", 1), ("gpt2", "upper", 0), ("llama", "changing", 0)],
)
def test_trainer_has_the_losses_of_a_run(family: str, arm: str, seed: int, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, family)
    (tmp_path / "cache").mkdir()
    found = frostline.training_arguments(
        recipe, arm, seed=seed, output_dir=tmp_path / "trainer", cache=tmp_path / "cache"
    )
    applied, losses = trained(found)
    expected = losses_of_a_run(recipe, arm, seed)
    assert losses == pytest.approx(expected, rel=0, abs=1e-5)
    assert expected[-1] < expected[0] - 0.05
    assert applied.verify().moved == ()


def test_the_lines_of_the_page_work_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path("docs/other-loops.md").read_text(encoding="utf-8").split("## An arm in `Trainer`")[1]
    lines = page.split("```python\n")[1].split("```")[0]
    shipped = yaml.safe_load(Path("src/frostline/recipe/library/own-text.yaml").read_text(encoding="utf-8"))
    training = shipped["training"] | {"steps": 2, "warmup": 1}
    recipe = write_experiment(tmp_path, training=training, arms=shipped["arms"], baseline=shipped["baseline"])
    recipe.rename(tmp_path / "own-text.yaml")
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    exec(lines, {"frostline": frostline})  # our own page


@pytest.mark.parametrize(
    ("arm", "changed", "message"),
    [
        ("ful", {}, "the recipe has no arm 'ful'. Did you mean 'full'?"),
        ("full", {"training.learning_rate": "best"}, "its learning rate is 'best', which a race finds"),
        ("full", {"training.steps": None, "training.seconds": 3}, "follow from timing it"),
        ("full", {"vary": {"training.learning_rate": [0.1, 0.2]}}, "the recipe varies: it is 2 experiments"),
    ],
)
def test_what_a_run_would_find_out_first_is_asked_for(
    arm: str, changed: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    with pytest.raises(RecipeError) as caught:
        frostline.training_arguments(recipe_of(tmp_path, "llama"), arm, set=changed, cache=tmp_path / "cache")
    assert message in str(caught.value)
