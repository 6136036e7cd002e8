"""Is everything there that the experiment needs? Model, corpus and plans of one variant, loaded and checked.

All that can be wrong with a recipe is found here, before a run folder exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frostline.arms.excerpt import Excerpt
from frostline.arms.fits import free_bytes
from frostline.arms.memory_facts import MemoryFacts
from frostline.arms.own_text import OwnText
from frostline.arms.rates import start_rate
from frostline.arms.trained import trained_values
from frostline.arms.untouched import Reading, Say, load_judge, load_untouched, open_retention, open_text
from frostline.corpus import Corpus
from frostline.engine import ALONE, Fit, SharedParts, World, is_same_device, moments_bytes
from frostline.errors import PlanError, at
from frostline.loading import commit_of, files_of, in_place_bytes, require_step
from frostline.measures import Judge, ModelIdentity
from frostline.plans import (
    ModelMap,
    Plan,
    PlanCost,
    ResolvedPlan,
    adapter_modules,
    ceiling_sentence,
    few_layers,
    map_untouched,
    places_of,
    plan_cost,
    require_peft,
    select_from,
    with_rows,
    without_rows,
)
from frostline.recipe import BEST, ArmSettings, Recipe, Variant, parse_selectors
from frostline.signals import Chosen, RecipeChoices, asks_for_signals, resolve_recipe_choices, signal_inputs_of


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
    prefix_streamed: bool = False
    """Whether the model has no room in memory, so that its frozen layers are only there while they are filled."""
    fits: dict[str, Fit] | None = None
    """What was found out about the model before the run, where that was needed."""
    shared: SharedParts | None = None
    """What the arms have in common while they train; see `arms.make`."""
    world: World = ALONE
    """The processes that compute its arms together."""

    def arms_of(self, seed: int) -> dict[str, PlannedArm]:
        """The arms of one replicate, in the recipe's order."""
        return {name: self.planned_by_seed.get(seed, {}).get(name, planned) for name, planned in self.arms.items()}

    def settings_of(self, arm: str, seed: int) -> ArmSettings:
        """The settings of `arm` in one replicate, nothing in them left to compute."""
        return self.settled_by_seed.get(seed, {}).get(arm, self.recipe.arms[arm])

    def require_unchanged(self) -> None:
        """Raise `ModelChangedError` where a file that weights are read from was changed since it was loaded."""
        for model in (self.model, *([] if self.judge is None else [self.judge.model])):
            if model.device.type == "cpu":  # elsewhere it is a copy
                files_of(model).require_unchanged()

    @property
    def is_sharded(self) -> bool:
        """Whether the processes that compute an arm hold its weights together, each some rows."""
        return self.recipe.training.sharding == "full" and not self.world.alone

    @property
    def fills_rows(self) -> bool:
        """Whether stored rows are made before training, layer by layer."""
        training = self.recipe.training
        wanted = training.prefix_cache.fill
        by_itself = self.prefix_streamed and training.sharding != "full"
        asked = wanted == "always" or (wanted == "auto" and by_itself)
        return asked and training.engine == "fast" and training.prefix_cache.use != "never"

    @property
    def memory_facts(self) -> MemoryFacts:
        """What the memory of the run depends on."""
        return MemoryFacts(
            recipe=self.recipe,
            model=self.model,
            arms={name: arm.resolved for name, arm in self.arms.items()},
            device=self.device,
            precision=self.precision,
            schedule=self.schedule,
            fills_rows=self.fills_rows,
            held_out_windows=self.corpus.held_out_windows,
            judge=None if self.judge is None else self.judge.model,
        )

    @property
    def every_arm(self) -> list[PlannedArm]:
        """Every arm of every replicate."""
        return [*self.arms.values(), *(arm for arms in self.planned_by_seed.values() for arm in arms.values())]


def prepare(variant: Variant, cache: Path, *, say: Say, reading: Reading | None = None) -> Prepared:
    """Load and check everything of `variant`. Raises `FrostlineError` with the place in the recipe that is at fault."""
    with variant.recipe.locating_errors():
        return _prepare(variant, cache, say, reading)


def foresee(variant: Variant, cache: Path, *, say: Say) -> Prepared:
    """As `prepare`, without reading the model: a few layers stand for it (`arms.excerpt`), and it is not proved.

    Its weights are pages of its files that nothing has asked for. All of it is read where a plan is chosen by a signal,
    or where its layers have nothing in common.
    """
    with variant.recipe.locating_errors():
        return _prepare(variant, cache, say, None, unread=not asks_for_signals(variant.recipe))


def _prepare(variant: Variant, cache: Path, say: Say, reading: Reading | None, *, unread: bool = False) -> Prepared:
    recipe = _at_commit(variant.recipe, cache)
    untouched = load_untouched(recipe, cache, say, unread=unread)
    model, device, precision = untouched.model, untouched.device, untouched.precision
    corpus: Corpus | None = None
    choices = RecipeChoices(recipe, {}, {}, {})
    if asks_for_signals(recipe):
        corpus = open_text(recipe.corpus, recipe, untouched, cache, say, reading)
        inputs = signal_inputs_of(model, corpus, device=device, precision=precision, identity=untouched.identity)
        choices = resolve_recipe_choices(recipe, inputs, cache, corpus.tokens_sha256, say=say)
        recipe = choices.recipe
    arms = plan_arms(recipe, model, untouched.excerpt, untouched.tokenizer)
    planned_by_seed = {
        seed: plan_arms(recipe.model_copy(update={"arms": drawn}), model, untouched.excerpt, untouched.tokenizer)
        for seed, drawn in choices.arms_by_seed.items()
    }
    with at("measures", "watch"):
        select_from(next(iter(arms.values())).resolved.map, recipe.measures.watch)
    if len(arms) > 1 or any(arm.cost.ceiling > 0 for arm in arms.values()):
        for arm in arms.values():
            say(f"Arm {arm.name} {ceiling_sentence(arm.cost, arm.resolved)}")
    if corpus is None:
        corpus = open_text(recipe.corpus, recipe, untouched, cache, say, reading)
    retention = open_retention(variant, recipe, untouched, cache, say, reading)
    return Prepared(
        variant=variant.label,
        recipe=at_commits(
            recipe, recipe.model.revision, corpus.revision, None if retention is None else retention.revision
        ),
        model=model,
        identity=untouched.identity,
        tokenizer=untouched.tokenizer,
        corpus=corpus,
        retention=retention,
        arms=arms,
        device=device,
        precision=precision,
        schedule=_resolve_schedule(recipe, model, arms, device),
        prefix_streamed=untouched.streamed,
        samples_by_cache=untouched.by_cache,
        judge=load_judge(recipe, untouched, cache, say),
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
    layers = {layer for arm in prepared.arms.values() for layer in arm.resolved.trained_layers}
    batch = prepared.corpus.batch(prepared.recipe.seeds[0], 0, 1)
    few = few_layers(prepared.model, layers, wanted=prepared.prefix_streamed)
    with prepared.recipe.locating_errors(), few:
        require_step(prepared.model, prepared.recipe.model, batch, trained, prepared.precision)


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


def plan_arms(
    recipe: Recipe,
    model: PreTrainedModel,
    excerpt: Excerpt | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> dict[str, PlannedArm]:
    """Each arm of `recipe` as planned for `model`, in whose stead an `excerpt` may be looked into.

    `tokenizer` tells selectors of rows which tokens there are. Raises `PlanError` naming the arm at fault.
    """
    plans: dict[str, tuple[Plan, ResolvedPlan]] = {}
    model_map = map_for_plans(recipe, model, excerpt, tokenizer)
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
    tried = model if excerpt is None else excerpt.model
    places = {}
    if plans:
        _, first = next(iter(plans.values()))
        places = places_of(model, replace(first, map=without_rows(first.map)), tried)
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


def map_for_plans(
    recipe: Recipe,
    model: PreTrainedModel,
    excerpt: Excerpt | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> ModelMap:
    """What the plans of `recipe` are resolved by; the parameters are as in `plan_arms`."""
    model_map = replace(map_untouched(model) if excerpt is None else excerpt.map, tokenizer=tokenizer)
    # What is watched is the same in every arm, whether its plan speaks of these rows or not.
    return with_rows(model_map, parse_selectors(recipe.measures.watch, "measures", "watch"))


def require_changes_in_time(recipe: Recipe, name: str, steps: int) -> None:
    """Raise `PlanError` where a change of the plan of the arm `name` would come after its last step."""
    late = [change.at for change in recipe.arms[name].changes if change.at >= steps]
    if late:
        raise PlanError(
            f"a change at step {late[0]} never happens in {steps} steps.",
            f"Steps are counted from 0: the last one is {steps - 1}.",
        ).at("arms", name, "changes")


def tokens_of_a_step(recipe: Recipe) -> int:
    """Tokens that one step of an arm reads."""
    return recipe.training.batch * recipe.training.accumulation * recipe.windows.length


def _resolve_schedule(recipe: Recipe, model: PreTrainedModel, arms: dict[str, PlannedArm], device: torch.device) -> str:
    """`lock-step` where all arms fit into two thirds of the free memory at once, else `one-by-one`."""
    if recipe.training.schedule != "auto":
        return recipe.training.schedule
    weights = sum(parameter.numel() for parameter in model.parameters())
    fast = recipe.training.engine == "fast"
    # The fast engine may hold the base twice, as it was loaded and in the precision in which it is used; arms share it.
    needed = (1.5 if fast else 1) * in_place_bytes(model)
    for plan in (arm.resolved for arm in arms.values()):
        trained = trained_values(plan)
        needed += 4 * (trained if fast else weights) + 4 * trained + moments_bytes(recipe.training, trained)
    # Activations and the logits of one step, which the arms use in turn.
    config = model.config.get_text_config()
    tokens = recipe.training.batch * recipe.windows.length
    needed += tokens * (config.num_hidden_layers * config.hidden_size * 80 + config.vocab_size * 16)
    free = free_bytes(device)
    if device.type == "cuda":  # the base is there already, and on the CPU mapped from its file
        free += _bytes_on(device, model)
    return "lock-step" if needed < free * 2 / 3 else "one-by-one"


def _bytes_on(device: torch.device, model: PreTrainedModel) -> int:
    """Bytes of the parameters of `model` that lie on `device`."""
    return sum(parameter.nbytes for parameter in model.parameters() if is_same_device(parameter.device, device))
