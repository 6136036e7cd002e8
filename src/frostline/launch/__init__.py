"""Where does it run? Here, or in the processes that torchrun has started."""

from frostline.launch.follow import follow
from frostline.launch.world import launched_world, require_parts

__all__ = ["follow", "launched_world", "require_parts"]
