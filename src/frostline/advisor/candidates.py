"""Which plans are worth racing? The usual ones, those that the signals choose, random ones of their size, adapters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from frostline.errors import PlanError
from frostline.plans import ModelMap, portions_of
from frostline.recipe import GROUP_ROLES, ArmSettings, LoraSettings, parse_selector
from frostline.signals import matrices_of

Origin = Literal["full", "usual", "signal", "random", "adapter"]
FULL = "full"
UPPER_HALF = "upper-half"
"""The rule that a choice by signals must not be worse than."""
SHARES = (5, 10, 25, 50)
"""Percent of the layers' matrices among which a budget decides: the largest that it allows."""
USUAL_SHARE = 25
"""Percent, where no budget decides."""
SMALLEST_ROLE = 0.05
"""Share of the layers' matrices: roles that hold less are not raced alone."""
CONTROLS = 2
MATCHED = CONTROLS + 1
"""Number by which the control of the plan that was picked is drawn: the random candidates have the numbers below."""
LATE_CONTROL = "random-as-"
"""Prefix of the name of that control."""
LORA_RANK = 8
QKV = ("attn.q", "attn.k", "attn.v")


@dataclass(frozen=True)
class Candidate:
    name: str
    arm: ArmSettings
    origin: Origin
    why: str
    """Why it is worth racing, in a phrase for a reader."""


def full_training() -> Candidate:
    """What all others are measured against."""
    return Candidate(FULL, ArmSettings(train=("all",)), "full", "everything trains")


def usual_candidates(model_map: ModelMap) -> list[Candidate]:
    """Plans that people use, as far as this model has what they name."""
    return [candidate for candidate in _usual(model_map) if not _missing(candidate, model_map)]


def left_out(model_map: ModelMap) -> list[str]:
    """The usual plans that this model has no weights for, each with the roles that it lacks."""
    candidates = [*_usual(model_map), *_adapters(model_map)]
    lacking = {candidate.name: _missing(candidate, model_map) for candidate in candidates}
    return [f"{name} (no {' and '.join(roles)})" for name, roles in lacking.items() if roles]


def exists(selector: str, model_map: ModelMap) -> bool:
    """Whether `selector`, of a role, matches anything in the model."""
    try:
        return bool(portions_of(parse_selector(selector), model_map))
    except PlanError:
        return False


def _missing(candidate: Candidate, model_map: ModelMap) -> list[str]:
    """The selectors of `candidate` that match nothing."""
    arm = candidate.arm
    targets = arm.lora.targets if arm.lora is not None else ()
    names = [*_names(arm.train), *_names(arm.freeze), *_names(targets)]
    return [name.removesuffix("@:") for name in names if not exists(name, model_map)]


def _names(selectors: str | Sequence[str] | None) -> Sequence[str]:
    return (selectors,) if isinstance(selectors, str) else selectors or ()


def _usual(model_map: ModelMap) -> list[Candidate]:
    layers = model_map.layers
    quarter = max(1, layers // 4)
    small = tuple(role for role in ("norm", "bias") if any(portion.role == role for portion in model_map.portions))
    found = [
        Candidate(UPPER_HALF, _train("attn@50%:", "mlp@50%:"), "usual", "the upper half of the layers"),
        Candidate("upper-half-qkv", _train("attn.qkv@50%:"), "usual", "query, key and value of the upper half"),
        Candidate(f"last-{quarter}", _train(f"all@-{quarter}:"), "usual", "the last quarter of the layers"),
        Candidate("attention", _train("attn@:"), "usual", "attention in every layer"),
        Candidate("mlp", _train("mlp@:"), "usual", "the MLP in every layer"),
        Candidate("alternating", _train("all@1::2"), "usual", "every second layer"),
        Candidate("reverse", ArmSettings(freeze=("attn@50%:",)), "usual", "all but the attention of the upper half"),
    ]
    if small:
        found.append(Candidate("norms-biases", _train(*small), "usual", f"{' and '.join(small)} weights alone"))
    return found


def role_candidates(model_map: ModelMap) -> list[Candidate]:
    """Each large role of the layers alone: what the signals, which choose among all matrices, do not come upon."""
    values: dict[str, int] = {}
    for (_, role), count in matrices_of(model_map).items():
        values[role] = values.get(role, 0) + count
    least = SMALLEST_ROLE * sum(values.values())
    return [
        Candidate(role, _train(f"{role}@:"), "usual", f"{role} alone, in every layer")
        for role, count in values.items()
        if count >= least and len(values) > 1
    ]


def signal_candidates(share: int, signals: Iterable[str]) -> list[Candidate]:
    """The `share` percent of the layers' matrices that each signal ranks highest."""
    return [
        Candidate(name, _train(f"top:{share}% by {name}"), "signal", f"the {share} % that {name} ranks highest")
        for name in signals
    ]


def random_candidates(share: int, count: int = CONTROLS) -> list[Candidate]:
    """`count` random choices of the same size: what a signal must beat."""
    return [
        Candidate(f"random-{number}", _train(f"top:{share}% by random-{number}"), "random", f"a random {share} %")
        for number in range(1, count + 1)
    ]


def spread_candidates(share: int) -> list[Candidate]:
    """Smaller random choices than one of `share` percent, drawn as the first of those: how much is enough?"""
    return [
        Candidate(f"spread-{less}", _train(f"top:{less}% by random-1"), "usual", f"a random {less} %, spread in depth")
        for less in SHARES
        if less < share
    ]


def adapter_candidates(model_map: ModelMap) -> list[Candidate]:
    """Low-rank adapters, for comparison: they freeze all of the model itself."""
    return [candidate for candidate in _adapters(model_map) if not _missing(candidate, model_map)]


def _adapters(model_map: ModelMap) -> list[Candidate]:
    targets: dict[str, tuple[str, tuple[str, ...]]] = {"lora": ("query, key and value", ("attn.qkv",))}
    if len(roles := _linear_roles(model_map)) > len(QKV):
        targets["lora-all"] = (f"all of {', '.join(roles)}", roles)
    return [
        Candidate(
            name,
            ArmSettings(lora=LoraSettings(rank=LORA_RANK, targets=own)),
            "adapter",
            f"adapters of rank {LORA_RANK} on {what}",
        )
        for name, (what, own) in targets.items()
    ]


def _linear_roles(model_map: ModelMap) -> tuple[str, ...]:
    """The roles of the layers' matrices, but those of which some carry no adapter, such as stacked experts."""
    suitable: dict[str, bool] = {}
    for portion in model_map.portions:
        if portion.layer is not None and portion.role not in ("norm", "bias", *GROUP_ROLES):
            fits = len(portion.shape) == 2 and portion.parameter.endswith(".weight")
            suitable[portion.role] = suitable.get(portion.role, True) and fits
    return tuple(role for role, fits in suitable.items() if fits)


def _train(*selectors: str) -> ArmSettings:
    return ArmSettings(train=selectors)
