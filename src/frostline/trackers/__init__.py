"""How does a run get into a tracker? A follower of the journal tells it, while the run goes on or after."""

from frostline.trackers.beside import Tracked, track_run, trackers_beside
from frostline.trackers.kinds import TRACKERS, usable_tracker

__all__ = ["TRACKERS", "Tracked", "track_run", "trackers_beside", "usable_tracker"]
