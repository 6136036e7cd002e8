"""How far are the units? A board on which each writes its state, and reads whether it is to save and stop.

It is a process of its own in the cluster, which loads nothing heavy.
"""

from __future__ import annotations

from frostline.progress import UnitState


class Board:
    """How far the units are: each writes its own state, and reads whether it is to save and stop."""

    def __init__(self) -> None:
        self._states: dict[str, UnitState] = {}
        self._stops = False

    def write(self, name: str, state: UnitState) -> bool:
        """Unit `name` is as far as `state` says; whether it is to save and stop."""
        self._states[name] = state
        return self._stops

    def read(self, *, stop: bool = False) -> dict[str, UnitState]:
        """The newest state of each unit; with `stop`, whoever writes from now on is told to save and stop."""
        self._stops = self._stops or stop
        return self._states

    def forget(self, name: str) -> None:
        """The unit is done, or was lost."""
        self._states.pop(name, None)
