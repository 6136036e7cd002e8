"""What does the model say of itself?"""

from frostline.signals.choose import as_selectors, choose_places, matrices_of
from frostline.signals.hidden import begin_at, logits_with, look_inside, loss_of, states_of
from frostline.signals.measure import ADVISING, KINDS, Looked
from frostline.signals.sample import counted, joined
from frostline.signals.settle import Chosen, asks_for_signals, look_at, settle_arm, settle_recipe, signals_of
from frostline.signals.signal import Signal, as_frame

__all__ = [
    "ADVISING",
    "KINDS",
    "Chosen",
    "Looked",
    "Signal",
    "as_frame",
    "as_selectors",
    "asks_for_signals",
    "begin_at",
    "choose_places",
    "counted",
    "joined",
    "logits_with",
    "look_at",
    "look_inside",
    "loss_of",
    "matrices_of",
    "settle_arm",
    "settle_recipe",
    "signals_of",
    "states_of",
]
