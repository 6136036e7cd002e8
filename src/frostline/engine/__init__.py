"""How is an arm trained, exactly? The reference step, the loop over arms, the first weights, precision."""

from frostline.engine.arm import Arm, StepOutcome
from frostline.engine.loop import ArmStopped, train_in_lock_step

__all__ = ["Arm", "ArmStopped", "StepOutcome", "train_in_lock_step"]
