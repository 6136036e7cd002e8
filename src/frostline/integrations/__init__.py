"""How does a plan train in other people's loops? A callback for `Trainer`, an arm of a recipe there, stored prefixes.

`transformers` is imported by those who want it: the library takes seconds.
"""

from frostline.integrations.stored_prefixes import PrefixRows, prefix_rows
from frostline.integrations.training_arguments import TrainerArm, trainer_arm

__all__ = ["PrefixRows", "TrainerArm", "prefix_rows", "trainer_arm", "transformers"]
