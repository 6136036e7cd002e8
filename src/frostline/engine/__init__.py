"""How is an arm trained, exactly? The reference step, the fast engine, the loop over arms, the first weights."""

from frostline.engine.arm import Arm, StepOutcome
from frostline.engine.fast import FastForward, SharedParts
from frostline.engine.loop import ArmStopped, train_in_lock_step

__all__ = ["Arm", "ArmStopped", "FastForward", "SharedParts", "StepOutcome", "train_in_lock_step"]
