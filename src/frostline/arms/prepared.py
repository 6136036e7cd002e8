"""Is everything there that the experiment needs? Model, corpus and plans of one variant, loaded and checked.

All that can be wrong with a recipe is found here, before a run folder exists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frostline.arms.own_text import OwnText, write_own_text
from frostline.arms.rates import start_rate
from frostline.arms.trained import trained_values
from frostline.corpus import Corpus, beginning_of, open_corpus, remarks_on
from frostline.engine import SharedParts, on_device, require_compiler, resolve_device, resolve_precision
from frostline.errors import PlanError, RecipeError, at
from frostline.loading import (
    commit_of,
    context_length,
    load_model,
    load_tokenizer,
    needs_conversion,
    require_embedded_ids,
    require_model_files,
    require_step,
)
from frostline.measures import Judge, ModelIdentity, identify, judge_of, require_going_on
from frostline.plans import (
    Plan,
    PlanCost,
    ResolvedPlan,
    adapter_modules,
    ceiling_sentence,
    map_untouched,
    places_of,
    plan_cost,
    require_peft,
    select,
)
from frostline.recipe import BEST, ArmSettings, CorpusSettings, Recipe, Variant, loading_judge
from frostline.signals import Chosen, RecipeChoices, asks_for_signals, resolve_recipe_choices, signal_inputs_of

ADAM_BYTES_PER_WEIGHT = 12
"""Gradient and two moments in fp32 of each trained weight."""


@dataclass(frozen=True)
class PlannedArm:
    """What is known of an arm before it is made."""

    name: str
    plan: Plan
    resolved: ResolvedPlan
    """What the plan means for the untouched model."""
    cost: PlanCost
    """Arithmetic of one step, as the plan begins."""
    learning_rate: float
    """Peak learning rate; where a race is to find it, the rate at which the race begins."""
    weight_decay: float
    steps: int
    """Optimizer steps; 0 while a budget of time waits to be settled (see `arms.budget`)."""
    raced: bool = False
    """Whether the learning rate comes of a race before the run (`learning_rate: best`)."""


@dataclass(frozen=True)
class Prepared:
    """One variant, ready to train: the untouched model on its device, its corpora, and its arms as planned."""

    variant: str
    recipe: Recipe
    model: PreTrainedModel
    identity: ModelIdentity
    """What decides the bits of the model's forward pass, hashed once for all arms."""
    tokenizer: PreTrainedTokenizerBase
    corpus: Corpus
    retention: Corpus | OwnText | None
    arms: dict[str, PlannedArm]
    """Arms by name, in the recipe's order."""
    device: torch.device
    precision: str
    schedule: str
    samples_by_cache: bool | None = None
    """Whether text is sampled by the model's cache of keys and values; None where none is sampled."""
    judge: Judge | None = None
    """What judges the generated text, beside the arms."""
    chosen: Chosen = field(default_factory=dict)
    """What the selectors of the recipe that compute became; `recipe` here has them settled."""
    chosen_by_seed: dict[int, Chosen] = field(default_factory=dict)
    """What was drawn anew for each seed."""
    settled_by_seed: dict[int, dict[str, ArmSettings]] = field(default_factory=dict)
    """Arms that are drawn anew for each seed; `recipe` and `arms` have them as the first seed does."""
    planned_by_seed: dict[int, dict[str, PlannedArm]] = field(default_factory=dict)
    """The same as planned."""
    shared: SharedParts | None = None
    """What the arms have in common while they train; see `arms.make`."""

    def arms_of(self, seed: int) -> dict[str, PlannedArm]:
        """The arms of one replicate, in the recipe's order."""
        return {name: self.planned_by_seed.get(seed, {}).get(name, planned) for name, planned in self.arms.items()}

    def settings_of(self, arm: str, seed: int) -> ArmSettings:
        """The settings of `arm` in one replicate, nothing in them left to compute."""
        return self.settled_by_seed.get(seed, {}).get(arm, self.recipe.arms[arm])

    @property
    def every_arm(self) -> list[PlannedArm]:
        """Every arm of every replicate."""
        return [*self.arms.values(), *(arm for arms in self.planned_by_seed.values() for arm in arms.values())]


def prepare(
    variant: Variant,
    cache: Path,
    *,
    say: Callable[[str], None],
    reading: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Load and check everything of `variant`. Raises `FrostlineError` with the place in the recipe that is at fault."""
    with variant.recipe.locating_errors():
        return _prepare(variant, cache, say, reading)


def _prepare(
    variant: Variant, cache: Path, say: Callable[[str], None], reading: Callable[[int, int], None] | None
) -> Prepared:
    recipe = _at_commit(variant.recipe, cache)
    device = resolve_device(recipe.training.device)
    precision = resolve_precision(recipe.training.precision, device)
    if recipe.training.compile and recipe.training.engine == "fast":
        require_compiler(device.type)
    say(f"Model: {recipe.model.source}")
    if needs_conversion(recipe.model, cache):
        say("Converting the embedded model to safetensors, once")
    require_model_files(recipe.model, cache)
    tokenizer = load_tokenizer(recipe.model, cache)
    model = load_model(recipe.model, cache, dropout=recipe.training.dropout)
    identity = identify(model, recipe.model.trusted_code)
    before = len(beginning_of(tokenizer)) if recipe.windows.beginning == "auto" else 0
    _check_window_length(recipe, model, before)
    by_cache, sampling = None, recipe.measures.sampling
    if sampling.prompts:
        longest = before + sampling.prompt_tokens + sampling.new_tokens
        by_cache = require_going_on(on_device(model, device), device=device, precision=precision, longest=longest)
    corpus: Corpus | None = None
    choices = RecipeChoices(recipe, {}, {}, {})
    if asks_for_signals(recipe):
        corpus = _open_corpus(recipe, model, tokenizer, cache, say, reading)
        inputs = signal_inputs_of(
            on_device(model, device), corpus, device=device, precision=precision, identity=identity
        )
        choices = resolve_recipe_choices(recipe, inputs, cache, corpus.tokens_sha256, say=say)
        recipe = choices.recipe
    arms = plan_arms(recipe, model)
    planned_by_seed = {
        seed: plan_arms(recipe.model_copy(update={"arms": drawn}), model)
        for seed, drawn in choices.arms_by_seed.items()
    }
    with at("measures", "watch"):
        select(model, recipe.measures.watch)
    if len(arms) > 1 or any(arm.cost.ceiling > 0 for arm in arms.values()):
        for arm in arms.values():
            say(f"Arm {arm.name} {ceiling_sentence(arm.cost, arm.resolved)}")
    if corpus is None:
        corpus = _open_corpus(recipe, model, tokenizer, cache, say, reading)
    retention: Corpus | OwnText | None = None
    if recipe.retention_corpus is not None:
        say(f"Retention corpus: {recipe.retention_corpus.source}")
        retention = _open(recipe.retention_corpus, recipe, model, tokenizer, cache, say, reading)
    elif recipe.samples_retention:
        given = beginning_of(tokenizer) if recipe.windows.beginning == "auto" else ()
        retention = OwnText(variant.own_text, given)
        if not variant.own_text:
            say("Retention: text that the untouched model writes itself")
            retention = write_own_text(
                on_device(model, device),
                recipe.windows.length,
                cache,
                identity=identity,
                device=device,
                precision=precision,
                beginning=given,
                by_cache=by_cache,
            )
    return Prepared(
        variant=variant.label,
        recipe=at_commits(
            recipe, recipe.model.revision, corpus.revision, None if retention is None else retention.revision
        ),
        model=on_device(model, device),
        identity=identity,
        tokenizer=tokenizer,
        corpus=corpus,
        retention=retention,
        arms=arms,
        device=device,
        precision=precision,
        schedule=_resolve_schedule(recipe, model, arms, device),
        samples_by_cache=by_cache,
        judge=_judge(recipe, model, device, cache, say),
        chosen=choices.chosen,
        chosen_by_seed=choices.chosen_by_seed,
        settled_by_seed=choices.arms_by_seed,
        planned_by_seed=planned_by_seed,
    )


def require_first_step(prepared: Prepared) -> None:
    """Raise `ModelError` where what the arms train first cannot be trained in this model; nothing is changed."""
    trained = {
        portion.parameter for arm in prepared.arms.values() for portion in arm.resolved.trained_at(0).values()
    } | {portion.parameter for arm in prepared.arms.values() for portion in arm.resolved.targets}
    batch = prepared.corpus.batch(prepared.recipe.seeds[0], 0, 1)
    with prepared.recipe.locating_errors():
        require_step(prepared.model, prepared.recipe.model, batch, trained, prepared.precision)


def _judge(
    recipe: Recipe, model: PreTrainedModel, device: torch.device, cache: Path, say: Callable[[str], None]
) -> Judge | None:
    """The model that judges generated text, where the recipe names one and text is sampled."""
    settings = recipe.measures.judge
    if settings is None or recipe.measures.sampling.prompts == 0:
        return None
    say(f"Judge of generated text: {settings.source}")
    with loading_judge():
        require_model_files(settings, cache)
        tokenizer, judge = load_tokenizer(settings, cache), load_model(settings, cache, dropout=0.0)
    found = judge_of(identify(judge, settings.trusted_code), tokenizer, context_length(judge), of=model)
    return replace(found, model=on_device(judge, device))


def at_commits(recipe: Recipe, model: str | None, corpus: str | None, retention: str | None) -> Recipe:
    """`recipe` with what it takes from the hub at these commits; None leaves a revision as it is."""
    commits = {"model": model, "corpus": corpus, "retention": retention}
    changed = {
        key: getattr(recipe, key).model_copy(update={"revision": commit})
        for key, commit in commits.items()
        if commit is not None
    }
    return recipe.model_copy(update=changed) if changed else recipe


def _at_commit(recipe: Recipe, cache: Path) -> Recipe:
    """`recipe` with its model at the commit that the revision stands for, so that all of it comes from one."""
    model = recipe.model.model_copy(update={"revision": commit_of(recipe.model, cache)})
    return recipe.model_copy(update={"model": model})


def plan_arms(recipe: Recipe, model: PreTrainedModel) -> dict[str, PlannedArm]:
    """Each arm of `recipe` as planned for `model`. Raises `PlanError` naming the arm at fault."""
    plans: dict[str, tuple[Plan, ResolvedPlan]] = {}
    model_map = map_untouched(model)
    for name, arm in recipe.arms.items():
        with at("arms", name):
            plan = Plan.from_settings(arm)
            resolved = plan.resolve(model, model_map)
            if plan.lora is not None:
                require_peft()
                adapter_modules(model, resolved.targets)
        if recipe.training.seconds is None:
            require_changes_in_time(recipe, name, recipe.training.steps)
        plans[name] = (plan, resolved)
    tokens, length = tokens_of_a_step(recipe), recipe.windows.length
    places = places_of(model, next(iter(plans.values()))[1]) if plans else {}
    return {
        name: PlannedArm(
            name=name,
            plan=plan,
            resolved=resolved,
            cost=plan_cost(model, resolved, tokens, sequence_length=length, places=places),
            learning_rate=start_rate(resolved) if (rate := recipe.learning_rate_of(name)) == BEST else rate,
            weight_decay=recipe.weight_decay_of(name),
            steps=recipe.training.steps if recipe.training.seconds is None else 0,
            raced=rate == BEST,
        )
        for name, (plan, resolved) in plans.items()
    }


def require_changes_in_time(recipe: Recipe, name: str, steps: int) -> None:
    """Raise `PlanError` where a change of the plan of the arm `name` would come after its last step."""
    late = [change.at for change in recipe.arms[name].changes if change.at >= steps]
    if late:
        raise PlanError(
            f"a change at step {late[0]} never happens in {steps} steps.",
            f"Steps are counted from 0: the last one is {steps - 1}.",
        ).at("arms", name, "changes")


def _embeddings(model: PreTrainedModel) -> int | None:
    """How many token ids the model can look up; None where it keeps them in a way of its own."""
    weight = getattr(model.get_input_embeddings(), "weight", None)
    return int(weight.shape[0]) if isinstance(weight, torch.Tensor) else None


def tokens_of_a_step(recipe: Recipe) -> int:
    """Tokens that one step of an arm reads."""
    return recipe.training.batch * recipe.training.accumulation * recipe.windows.length


def _check_window_length(recipe: Recipe, model: PreTrainedModel, before: int) -> None:
    """`before`: how many tokens stand before the text of a window."""
    sampling, text = recipe.measures.sampling, recipe.windows.length - before
    if sampling.prompts and sampling.prompt_tokens > text > 0:
        raise RecipeError(
            f"{sampling.prompt_tokens} tokens are more than a window of {text}, from which prompts are taken.",
            f"Use {text} or less.",
        ).at("measures", "sampling", "prompt_tokens")
    limit = context_length(model)
    if limit is None:
        return
    if recipe.windows.length > limit:
        raise RecipeError(
            f"{recipe.windows.length} tokens are more than the {limit} that the model '{recipe.model.source}' can "
            "read at once.",
            f"Use {limit} or less.",
        ).at("windows", "length")
    if sampling.prompts and before + sampling.prompt_tokens + sampling.new_tokens > limit:
        raise RecipeError(
            f"{sampling.prompt_tokens} prompt tokens and {sampling.new_tokens} new ones are more than the {limit} that "
            "the model can read at once.",
            "Use fewer.",
        ).at("measures", "sampling")


def _open_corpus(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cache: Path,
    say: Callable[[str], None],
    reading: Callable[[int, int], None] | None,
) -> Corpus:
    say(f"Corpus: {recipe.corpus.source}")
    return _open(recipe.corpus, recipe, model, tokenizer, cache, say, reading)


def _open(
    corpus: CorpusSettings,
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cache: Path,
    say: Callable[[str], None],
    reading: Callable[[int, int], None] | None,
) -> Corpus:
    with at("retention" if corpus is recipe.retention_corpus else "corpus"):
        opened = open_corpus(
            corpus,
            recipe.windows,
            tokenizer,
            cache=cache,
            progress=reading,
            embeddings=_embeddings(model),
            race=0 if corpus is recipe.retention else recipe.race_windows,
        )
    require_embedded_ids(model, tokenizer, opened)
    for sentence in remarks_on(opened, tokenizer):
        say(sentence)
    return opened


def _resolve_schedule(recipe: Recipe, model: PreTrainedModel, arms: dict[str, PlannedArm], device: torch.device) -> str:
    """`lock-step` where all arms fit into two thirds of the free memory at once, else `one-by-one`."""
    if recipe.training.schedule != "auto":
        return recipe.training.schedule
    weights = sum(parameter.numel() for parameter in model.parameters())
    fast = recipe.training.engine == "fast"
    # The fast engine holds the base twice, in fp32 and in the precision in which it is used, and all arms share it.
    needed = 6 * weights if fast else 4 * weights
    for plan in (arm.resolved for arm in arms.values()):
        trained = trained_values(plan)
        needed += 4 * (trained if fast else weights) + ADAM_BYTES_PER_WEIGHT * trained
    # Activations and the logits of one step, which the arms use in turn.
    config = model.config.get_text_config()
    tokens = recipe.training.batch * recipe.windows.length
    needed += tokens * (config.num_hidden_layers * config.hidden_size * 80 + config.vocab_size * 16)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return "lock-step" if needed < free * 2 / 3 else "one-by-one"
