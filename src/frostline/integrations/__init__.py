"""How does a plan train in other people's loops? Stored prefixes for any loop, an arm of a recipe for `Trainer`."""

from frostline.integrations.stored_prefixes import PrefixRows, prefix_rows
from frostline.integrations.training_arguments import TrainerArm, trainer_arm

__all__ = ["PrefixRows", "TrainerArm", "prefix_rows", "trainer_arm"]
