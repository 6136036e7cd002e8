"""What does the model say of itself?"""

from frostline.signals.choose import Draw, as_selectors, choose_places, matrices_of
from frostline.signals.chosen import (
    Chosen,
    RecipeChoices,
    asks_for_signals,
    resolve_arm_choices,
    resolve_recipe_choices,
)
from frostline.signals.general import own_text
from frostline.signals.hidden import begin_at, logits_with, look_inside, loss_of, states_of
from frostline.signals.kept import signal_inputs_of, signals_of
from frostline.signals.measure import ADVISING, KINDS, SignalInputs
from frostline.signals.sample import Sample, counted, joined
from frostline.signals.signal import Place, Signal, as_frame

__all__ = [
    "ADVISING",
    "KINDS",
    "Chosen",
    "Draw",
    "Place",
    "RecipeChoices",
    "Sample",
    "Signal",
    "SignalInputs",
    "as_frame",
    "as_selectors",
    "asks_for_signals",
    "begin_at",
    "choose_places",
    "counted",
    "joined",
    "logits_with",
    "look_inside",
    "loss_of",
    "matrices_of",
    "own_text",
    "resolve_arm_choices",
    "resolve_recipe_choices",
    "signal_inputs_of",
    "signals_of",
    "states_of",
]
