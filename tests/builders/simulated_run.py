"""What would a run folder look like if we knew the truth? Simulated experiments with every kind of record.

Two arms with equal plans get equal numbers, as in a real run; only their times differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from frostline.recipe import (
    ArmSettings,
    CorpusSettings,
    LoraSettings,
    MeasureSettings,
    Recipe,
    SamplingSettings,
    TrainingSettings,
    dump_recipe,
    recipe_hash,
)
from frostline.run_folder import (
    RECIPE_FILE,
    ArmFailed,
    ArmFinished,
    ArmStarted,
    Continuation,
    CorpusFacts,
    Evaluation,
    FinalWeights,
    FrozenChecked,
    Journal,
    PeakMemory,
    PlanChanged,
    Record,
    RunEnded,
    RunStarted,
    StepTaken,
    TrueContinuation,
    VariantPrepared,
    WatchedMatrices,
    WeightChange,
)
from tests.builders.simulated_truth import (
    FULL,
    PARAMETERS,
    ArmTruth,
    Floats,
    autoregressive,
    default_truth,
    true_losses,
)

ROLES = ("attn.q", "attn.k", "attn.v", "attn.o")
EVALUATE_EVERY = 10
UNTIMED = 3
MARKUP = "<script>alert('frost')</script> & <b>bold</b>"
"""Text that must never reach a page as markup."""


@dataclass(frozen=True)
class Simulation:
    """What a simulated run consists of; see `write_simulated_run`."""

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    layers: int
    truth: Callable[[str, str], ArmTruth]
    rng_seed: int
    failed_arm: str | None
    last_step: int
    """Steps that each arm gets to take; fewer than `steps` where the run was interrupted."""
    schedule: str
    retention: bool
    sampling: bool
    watch: bool
    sigma: float
    """Standard deviation of the noise that all arms of a replicate share, nats."""
    phi: float
    """First-order autocorrelation of every noise."""
    chosen: dict[str, dict[str, list[str]]]
    """What the selectors that compute became, by arm."""
    anew: tuple[str, ...]
    """Arms that are drawn at random anew for each seed."""

    @property
    def interrupted(self) -> bool:
        return self.last_step < self.steps


def write_simulated_run(
    folder: Path,
    *,
    arms: tuple[str, ...] = ("full", "freeze", "reversed"),
    seeds: tuple[int, ...] = (0, 1, 2),
    steps: int = 40,
    layers: int = 4,
    variants: tuple[str, ...] = ("",),
    truth: Callable[[str, str], ArmTruth] = default_truth,
    rng_seed: int = 0,
    failed_arm: str | None = None,
    interrupted: bool = False,
    schedule: str = "lock-step",
    with_retention: bool = True,
    with_sampling: bool = True,
    with_watch: bool = True,
    with_memory: bool = True,
    sigma: float = 0.12,
    phi: float = 0.3,
    chosen: dict[str, dict[str, list[str]]] | None = None,
    anew: tuple[str, ...] = (),
) -> Path:
    """Write `experiment.yaml` and the journal of a simulated run into `folder`, and return it.

    `truth(variant, arm)` gives each arm's true parameters. `failed_arm` stops half-way in the first replicate with a
    loss that is not a number. `interrupted` ends the run after three quarters of the last replicate.
    `variants` other than `""` are labels such as `corpus.tokens=4000` or `model.source=small`.
    """
    folder.mkdir(parents=True)
    simulation = Simulation(
        arms, seeds, steps, layers, truth, rng_seed, failed_arm, steps, schedule, with_retention, with_sampling,
        with_watch, sigma, phi, chosen or {}, anew,
    )  # fmt: skip
    recipe = _recipe(simulation, variants)
    (folder / RECIPE_FILE).write_text(dump_recipe(recipe), encoding="utf-8")
    with Journal(folder) as journal:
        environment = {"frostline": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "machine": f"2 cores {MARKUP}"}
        journal.append(RunStarted("0.1.0", recipe_hash(recipe), "2026-08-01T09:30:00+00:00", environment))
        for variant in variants:
            journal.append(_prepared(simulation, variant))
            for seed in seeds:
                last = interrupted and variant == variants[-1] and seed == seeds[-1]
                _write_replicate(
                    journal, replace(simulation, last_step=3 * steps // 4 if last else steps), variant, seed
                )
            if with_memory and not interrupted:
                for arm in arms:
                    peak = 1_200_000_000 + truth(variant, arm).optimizer_bytes
                    journal.append(PeakMemory(variant, arm, "process RSS", peak, 4 * PARAMETERS))
        journal.append(RunEnded("interrupted" if interrupted else "finished", "2026-08-01T09:36:00+00:00", 361.0))
    return folder


def _recipe(simulation: Simulation, variants: tuple[str, ...]) -> Recipe:
    vary: dict[str, tuple[str | int | float, ...]] = {}
    if variants != ("",):
        key = variants[0].partition("=")[0]
        values = [variant.partition("=")[2] for variant in variants]
        vary = {key: tuple(int(value) if key == "corpus.tokens" else value for value in values)}
    return Recipe(
        name="simulated",
        question=f"Does it hold? {MARKUP}",
        retention=CorpusSettings() if simulation.retention else None,
        training=TrainingSettings(steps=simulation.steps, untimed_steps=UNTIMED),
        arms={arm: _settings(simulation.truth(variants[0], arm).plan) for arm in simulation.arms},
        seeds=simulation.seeds,
        measures=MeasureSettings(
            evaluate_every=EVALUATE_EVERY,
            weight_change_every=1 if simulation.watch else 0,
            sampling=SamplingSettings(prompts=8 if simulation.sampling else 0, new_tokens=48),
        ),
        vary=vary,
    )


def _settings(plan: str) -> ArmSettings:
    verb, _, selectors = plan.split(";")[0].partition(": ")
    names = tuple(selectors.strip("[]").split(", "))
    if verb == "lora":
        return ArmSettings(lora=LoraSettings())
    return ArmSettings(train=names) if verb == "train" else ArmSettings(freeze=names)


def _prepared(simulation: Simulation, variant: str) -> VariantPrepared:
    key, _, value = variant.partition("=")
    tokens = int(value) if key == "corpus.tokens" else 113_108
    facts = CorpusFacts(f"Moby-Dick {MARKUP}", _hash(variant), tokens, 5284, tokens // 256, 16)
    parameters = PARAMETERS if key != "model.source" else PARAMETERS * (1 + len(value))
    return VariantPrepared(
        variant=variant, model=value if key == "model.source" else "embedded", model_class="LlamaForCausalLM",
        model_sha256=_hash("model"), parameters=parameters, layers=simulation.layers, context_length=2048,
        corpus=facts, retention=facts if simulation.retention else None, precision="fp32", device="cpu",
        schedule=simulation.schedule, common_tokens=[" the", ",", MARKUP], common_share_of_corpus=0.47,
        chosen={arm: own for arm, own in chosen_of(simulation.chosen, variant).items() if arm in simulation.arms},
        chosen_by_seed={
            str(seed): {arm: {"top:25% by random": [f"attn.q@{seed}"]} for arm in simulation.anew}
            for seed in (simulation.seeds if simulation.anew else ())
        },
    )  # fmt: skip


def chosen_of(chosen: dict[str, dict[str, list[str]]], variant: str) -> dict[str, dict[str, list[str]]]:
    """What was chosen in `variant`: the same in all, unless a test says otherwise."""
    return chosen


def _write_replicate(journal: Journal, simulation: Simulation, variant: str, seed: int) -> None:
    if simulation.sampling:
        _write_truth(journal, simulation, variant, seed)
        _write_text(journal, simulation, variant, seed, "", None)
    for arm in simulation.arms:
        _write_arm(journal, simulation, variant, seed, arm)


def _write_arm(journal: Journal, simulation: Simulation, variant: str, seed: int, arm: str) -> None:
    truth = simulation.truth(variant, arm)
    place = (variant, seed, arm)
    plan = f"train: [attn.q@{seed}, attn.k@{len(arm)}]" if arm in simulation.anew else truth.plan
    journal.append(
        ArmStarted(
            *place, plan=plan, learning_rate=5e-4, weight_decay=0.01, parameters=PARAMETERS,
            trained_parameters=truth.trained_parameters, prefix_layers=truth.prefix_layers, step_flops=2.1e11,
            ceiling=truth.ceiling, ceiling_cached=truth.ceiling_cached, initial_sha256=_hash("model"),
        )
    )  # fmt: skip
    own = _generator(simulation, variant, seed, truth.plan)
    shared = _generator(simulation, variant, seed, "shared")
    clock = _generator(simulation, variant, seed, f"clock of {arm}")
    losses = true_losses(truth, simulation.steps)
    losses += truth.shared_noise * autoregressive(shared, simulation.steps, simulation.sigma, simulation.phi)
    apart = 1 - np.exp(-np.arange(simulation.steps) / 4)  # before the first update all arms are one model
    losses += apart * truth.spread * own.standard_normal()
    losses += apart * autoregressive(own, simulation.steps, truth.noise, simulation.phi)
    seconds = truth.seconds * (1 + 0.03 * np.abs(autoregressive(clock, simulation.steps, 1.0, 0.5)))
    changes = _changes(simulation, truth, own)
    trained = changes[-1] > 0
    if simulation.watch:
        journal.append(_watched(simulation, place, trained))
    stop = simulation.steps // 2 if simulation.failed_arm == arm and seed == simulation.seeds[0] else None
    drift = np.zeros(changes.shape[1])
    for step in range(simulation.last_step):
        if step % EVALUATE_EVERY == 0:
            _write_evaluations(journal, simulation, place, step, truth, own)
        if step == stop:
            journal.append(ArmFailed(*place, step, "the loss is not a finite number"))
            return
        if ";" in truth.plan and step == simulation.steps // 2:
            journal.append(PlanChanged(*place, step, ["model.layers.0.mlp.up_proj.weight"], [], 2_000_000))
        loss = float("nan") if stop is not None and step == stop - 1 else float(losses[step])
        journal.append(
            StepTaken(
                *place, step=step, loss_nats=loss, gradient_norm=float(1 + own.random()), learning_rate=5e-4,
                predictions=510, tokens=512, windows_sha256=_hash(f"{variant} {seed} {step}"), untimed=step < UNTIMED,
                seconds=float(seconds[step] + (1.0 if step == 0 else 0.0)),
            )
        )  # fmt: skip
        if simulation.watch:
            drift = np.hypot(drift, changes[step])
            journal.append(WeightChange(*place, step, changes[step].tolist(), drift.tolist()))
    if not simulation.interrupted:
        _finish(journal, simulation, truth, place, drift, own)


def _finish(
    journal: Journal,
    simulation: Simulation,
    truth: ArmTruth,
    place: tuple[str, int, str],
    drift: Floats,
    own: Generator,
) -> None:
    _write_evaluations(journal, simulation, place, simulation.steps, truth, own)
    if simulation.watch:
        norm = np.full(len(drift), 40.0)
        rank = np.where(drift > 0, 6.0, 0.0)
        journal.append(
            FinalWeights(*place, norm.tolist(), drift.tolist(), (drift / norm).tolist(), rank.tolist())
        )  # fmt: skip
    frozen = PARAMETERS - truth.trained_parameters
    records: list[Record] = [FrozenChecked(*place, frozen, [])]
    records.append(ArmFinished(*place, simulation.steps, truth.optimizer_bytes, _hash(truth.plan)))
    if simulation.sampling:
        _write_text(journal, simulation, *place, truth)
    for record in records:
        journal.append(record)


def _changes(simulation: Simulation, truth: ArmTruth, own: Generator) -> Floats:
    """Weight change of every watched matrix, [steps, matrices]: large, falling sharply, then creeping up."""
    steps = np.arange(simulation.steps)
    shape = 0.02 + 0.2 * np.exp(-steps / 2) + 0.02 * truth.creep * np.maximum(0, steps - 8)
    trained = np.array([_trains(truth.plan, layer, role, simulation.layers) for layer, role in _matrices(simulation)])
    jitter = 1 + 0.05 * own.standard_normal((simulation.steps, len(trained)))
    changes: Floats = truth.change * shape[:, None] * trained[None, :] * jitter
    return changes


def _matrices(simulation: Simulation) -> list[tuple[int, str]]:
    return [(layer, role) for layer in range(simulation.layers) for role in ROLES]


def _trains(plan: str, layer: int, role: str, layers: int) -> bool:
    upper = 2 * layer >= layers
    if plan.startswith("train: [attn.qkv@50%:]"):
        return upper and role != "attn.o"
    if plan.startswith("freeze: [attn@50%:]"):
        return not upper
    return True


def _watched(simulation: Simulation, place: tuple[str, int, str], trained: NDArray[np.bool_]) -> WatchedMatrices:
    matrices = _matrices(simulation)
    names = [f"model.layers.{layer}.self_attn.{role[-1]}_proj.weight" for layer, role in matrices]
    layers, roles = [layer for layer, _ in matrices], [role for _, role in matrices]
    return WatchedMatrices(*place, names, layers, roles, trained.tolist())


def _write_evaluations(
    journal: Journal, simulation: Simulation, place: tuple[str, int, str], step: int, truth: ArmTruth, own: Generator
) -> None:
    done = 1 - np.exp(-step / truth.decay)
    noise = 0.004 * own.standard_normal() if step else 0.0
    held_out = FULL.floor + FULL.height
    if step:
        held_out = float(truth.floor + truth.height * (1 - done) + truth.gap * done + noise)
    journal.append(Evaluation(*place, step, "held_out", held_out, 4064))
    if simulation.retention:
        journal.append(Evaluation(*place, step, "retention", 3.4 + float(truth.forgetting * done + noise), 4064))


def _write_text(
    journal: Journal, simulation: Simulation, variant: str, seed: int, arm: str, truth: ArmTruth | None
) -> None:
    """Eight continuations of 48 tokens each."""
    generator = _generator(simulation, variant, seed, "text of " + ("nobody" if truth is None else truth.plan))
    share = 0.38 if truth is None else truth.common_share
    quality = 0.0 if truth is None else truth.quality
    for prompt in range(8):
        noise = 0.03 * generator.standard_normal(5)
        journal.append(
            Continuation(
                variant, seed, arm, prompt_index=prompt, prompt=f"Call me {MARKUP}", tokens=48,
                text=f" {arm or 'untouched'} says {MARKUP} " + "and the whale swam on " * (1 + prompt % 3),
                common_tokens=int(generator.binomial(48, share)), untouched_loss_nats=float(3.0 + noise[0]), ngrams=41,
                copied_ngrams=int(generator.binomial(41, 0.03)), distinct_1=float(0.7 + quality + noise[1]),
                distinct_2=float(0.88 + quality + noise[2] / 3), distinct_3=float(0.95 + noise[2] / 3),
                repetition=float(0.15 - quality + noise[3]), self_bleu=float(0.2 - quality + noise[4]),
            )
        )  # fmt: skip


def _write_truth(journal: Journal, simulation: Simulation, variant: str, seed: int) -> None:
    """What the eight prompts are followed by in the held-out text."""
    generator = _generator(simulation, variant, seed, "held-out text")
    for prompt in range(8):
        noise = 0.01 * generator.standard_normal(4)
        journal.append(
            TrueContinuation(
                variant, seed, "", prompt_index=prompt, prompt=f"Call me {MARKUP}", tokens=48,
                text=f" the text itself says {MARKUP}", common_tokens=22, untouched_loss_nats=3.2, ngrams=41,
                copied_ngrams=1, distinct_1=0.7 + noise[0], distinct_2=0.88 + noise[1], distinct_3=0.95,
                repetition=0.15 + noise[2], self_bleu=0.2 + noise[3],
            )
        )  # fmt: skip


def _generator(simulation: Simulation, variant: str, seed: int, purpose: str) -> Generator:
    digest = hashlib.sha256(f"{simulation.rng_seed}/{variant}/{seed}/{purpose}".encode()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "big")))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
