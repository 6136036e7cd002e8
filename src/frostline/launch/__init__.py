"""Where does it run? Here, in processes that torchrun has started, or on the machines of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frostline.launch.where import RayAddress, ray_address

if TYPE_CHECKING:
    from frostline.launch.following import follow as follow
    from frostline.launch.ray_advice import AdviceAsked as AdviceAsked
    from frostline.launch.ray_advice import advise_on_ray as advise_on_ray
    from frostline.launch.ray_run import Asked as Asked
    from frostline.launch.ray_run import run_on_ray as run_on_ray
    from frostline.launch.taking_in import forget_units as forget_units
    from frostline.launch.taking_in import take_in_units as take_in_units
    from frostline.launch.world import launched_world as launched_world
    from frostline.launch.world import require_parts as require_parts
    from frostline.launch.world import require_shardable_runs as require_shardable_runs

__all__ = [
    "AdviceAsked",
    "Asked",
    "RayAddress",
    "advise_on_ray",
    "follow",
    "forget_units",
    "launched_world",
    "ray_address",
    "require_parts",
    "require_shardable_runs",
    "run_on_ray",
    "take_in_units",
]

_HOMES = {
    "AdviceAsked": "ray_advice",
    "Asked": "ray_run",
    "advise_on_ray": "ray_advice",
    "follow": "following",
    "forget_units": "taking_in",
    "launched_world": "world",
    "require_parts": "world",
    "require_shardable_runs": "world",
    "run_on_ray": "ray_run",
    "take_in_units": "taking_in",
}
"""Modules of what loads torch: a mistake in `--on` is told before."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'frostline.launch' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"frostline.launch.{_HOMES[name]}"), name)
