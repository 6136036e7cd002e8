"""How do other processes come to have the same variant and the same arms? By orders, as JSON, that say all of them.

Races and advice train arms that no recipe names, so an order says an arm's plan and settings, and not only its name.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

from frostline.arms.own_text import OwnText
from frostline.arms.prepared import PlannedArm, Prepared, map_for_plans, prepare
from frostline.corpus import tokenizer_sha256
from frostline.engine import Arm, Values, World
from frostline.errors import ProcessesDifferError
from frostline.machine import describe_machine
from frostline.measures import sorted_weights_sha256, weights_sha256
from frostline.plans import Plan, PlanCost
from frostline.recipe import Recipe, TrainingSettings, Variant, trusting, with_absolute_paths
from frostline.run_folder import DECIDING_FACTS


def prepared_by_all(prepared: Prepared, world: World) -> Prepared:
    """`prepared`, its arms to be computed by all processes of `world`, which prepare the same variant now.

    Raises `ProcessesDifferError` where one of them has another machine, other versions, another model or corpus.
    """
    if world.alone:
        return prepared
    recipe = prepared.recipe
    retention = recipe.retention_corpus
    order: Values = {
        "do": "prepare",
        "variant": prepared.variant,
        "recipe": with_absolute_paths(recipe).model_dump(mode="json"),
        "trusted_code": recipe.model.trusted_code,
        "dates": [_iso(recipe.corpus.template_date), None if retention is None else _iso(retention.template_date)],
        "own_text": prepared.retention.windows if isinstance(prepared.retention, OwnText) else (),
    }
    with world.doing(order, patient=True) as together:  # it may read a corpus
        together.own = {"facts": _facts(prepared)}
    first, *others = (answer["facts"] for answer in together.all)
    for rank, facts in enumerate(others, start=1):
        assert isinstance(first, dict)
        assert isinstance(facts, dict)
        differing = next((name for name in first if facts.get(name) != first[name]), None)
        if differing is not None:
            raise ProcessesDifferError(
                f"{differing} is '{facts.get(differing)}' in process {rank}, and '{first[differing]}' in process 0: "
                "they cannot compute arms together.",
                "Give all of them machines of one kind, the same versions and the same files.",
            )
    return replace(prepared, world=world)


def prepare_ordered(order: Values, world: World, cache: Path) -> tuple[Prepared, Values]:
    """The variant of `order`, and what it must have in common with that of rank 0."""
    dates = [None if day is None else date.fromisoformat(day) for day in order["dates"]]  # type: ignore[attr-defined]
    recipe = Recipe.model_validate(order["recipe"])
    retention = recipe.retention_corpus
    recipe = recipe.model_copy(
        update={
            "corpus": recipe.corpus.dated(dates[0]),
            "retention": recipe.retention if retention is None else retention.dated(dates[1]),
            "measures": recipe.measures.model_copy(update={"judge": None}),
        }
    )
    own_text = tuple(tuple(window) for window in order["own_text"])  # type: ignore[attr-defined]
    pin = order["trusted_code"]
    variant = Variant(str(order["variant"]), trusting(recipe, None if pin is None else str(pin)), own_text=own_text)
    prepared = prepare(variant, cache, say=lambda sentence: None)
    return replace(prepared, world=world), {"facts": _facts(prepared)}


def require_same_weights(arm: Arm, trained_sha256: str) -> None:
    """Raise `ProcessesDifferError` unless what `arm` has trained has this hash in all processes that compute it."""
    with arm.world.doing({"do": "compare", "arm": arm.number}) as together:
        together.own = {"weights": trained_sha256, "moved": []}
    for rank, answer in enumerate(together.all):
        if answer["weights"] != trained_sha256 or answer["moved"]:
            raise ProcessesDifferError(
                f"arm {arm.name}: process {rank} ended with other weights than process 0.",
                "They must run on machines of one kind, with the same versions.",
            )


def compared(arm: Arm) -> Values:
    """What a process tells of `arm` at its end; where several hold it together, each has read all of it."""
    if arm.shards is not None:
        trained = sorted(arm.applied.trainable_parameters(), key=lambda pair: pair[0])
        whole = arm.shards.weights(trained)
        return {"weights": sorted_weights_sha256(whole), "moved": [], "optimizer_bytes": arm.optimizer_bytes()}
    return {"weights": weights_sha256(arm.applied.trainable_parameters()), "moved": list(arm.applied.verify().moved)}


def order_of(prepared: Prepared, planned: PlannedArm, seed: int, number: int) -> Values:
    """The order to make `planned`, which all will know by `number`."""
    return {
        "do": "make",
        "arm": number,
        "name": planned.name,
        "plan": planned.plan.text,
        "learning_rate": planned.learning_rate,
        "weight_decay": planned.weight_decay,
        "steps": planned.steps,
        "cost": asdict(planned.cost),
        "training": prepared.recipe.training.model_dump(mode="json"),
        "seed": seed,
        "alone": prepared.shared is not None and prepared.shared.alone,
    }


def as_ordered(prepared: Prepared, order: Values) -> tuple[Prepared, PlannedArm]:
    """The arm of `order`, and `prepared` with the settings by which it is made."""
    training = TrainingSettings.model_validate(order["training"])
    prepared = replace(prepared, recipe=prepared.recipe.model_copy(update={"training": training}))
    plan = Plan.parse(str(order["plan"]))
    model_map = map_for_plans(prepared.recipe, prepared.model, tokenizer=prepared.tokenizer)
    planned = PlannedArm(
        name=str(order["name"]),
        plan=plan,
        resolved=plan.resolve(prepared.model, model_map),
        cost=PlanCost(**order["cost"]),  # type: ignore[arg-type]  # what `asdict` made of one
        learning_rate=float(order["learning_rate"]),  # type: ignore[arg-type]
        weight_decay=float(order["weight_decay"]),  # type: ignore[arg-type]
        steps=int(order["steps"]),  # type: ignore[call-overload]
    )
    return prepared, planned


def _facts(prepared: Prepared) -> dict[str, str]:
    """All that may decide a bit of an arm, by name."""
    machine = describe_machine()
    return {
        **{name: machine[name] for name in DECIDING_FACTS},
        "the device": prepared.device.type,
        "the precision": prepared.precision,
        "the SHA-256 of the model's weights": prepared.identity.sha256,
        "the SHA-256 of the model's configuration": prepared.identity.configuration_sha256,
        "the SHA-256 of the tokenizer": tokenizer_sha256(prepared.tokenizer),
        "the SHA-256 of the corpus's tokens": prepared.corpus.tokens_sha256,
    }


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
