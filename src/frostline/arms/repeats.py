"""Does a step from one state give the same bits twice, here? What every promise stands on, tried before a run.

On a CPU the tests have shown it. On a GPU it is settled as far as anyone knows how (`engine.device`), but a driver, a
kernel of a family or another process's libraries may bring back what was ruled out.
"""

from __future__ import annotations

from frostline.arms.make import alone, make_arm
from frostline.arms.prepared import PlannedArm, Prepared
from frostline.arms.trained import trained_values
from frostline.engine import cause_of, give_back_device_memory
from frostline.measures import weights_sha256

DEVICES = {"cuda"}
"""Types of devices on which it is tried."""


def doubt_of_repeats(prepared: Prepared) -> str | None:
    """What must be said before a run of `prepared` begins, in a sentence; None where two steps gave the same bits."""
    if prepared.device.type not in DEVICES or not prepared.arms:
        return None
    planned = max(prepared.arms.values(), key=lambda own: trained_values(own.resolved))
    try:
        first, second = _step(prepared, planned), _step(prepared, planned)
    except Exception as error:  # noqa: BLE001  # an arm may fail where it trains, which is told there
        return f"Whether a step gives the same bits twice could not be tried: {cause_of(error)}"
    finally:
        give_back_device_memory(prepared.device)
    if first == second:
        return None
    return (
        f"Two steps from one state did not give the same bits on this device (arm {planned.name}): no result of this "
        "run will come out the same again, and differences between arms hold that noise."
    )


def _step(prepared: Prepared, planned: PlannedArm) -> tuple[str, float, float]:
    """Trained weights, loss and norm of the gradient after the first step."""
    recipe = prepared.recipe
    seed, windows = recipe.seeds[0], recipe.training.batch * recipe.training.accumulation
    arm = make_arm(alone(prepared, planned), planned, seed)
    outcome = arm.take_step(prepared.corpus.batch(seed, 0, windows), 0)
    return weights_sha256(arm.applied.trainable_parameters()), outcome.loss_nats, outcome.gradient_norm
