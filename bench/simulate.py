"""How often does a verdict err, and how often does it find what is there?

    python -m bench.simulate --write docs/simulation.md       # some minutes on one core; prints as it goes

Each claim's own judge gets simulated experiments whose truth is known: one in which no verdict is right (its null, or
the very margin), and one with an effect. For n replicates, steps with a first-order autocorrelation phi, and noise that
is normal, heavy-tailed or skewed, it prints the worst share of false verdicts over the kinds of noise, and the power
under normal noise. A claim is a `Scenario` in `SCENARIOS`: add one there, and it is simulated with the others.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import signal

from bench.engine import machine_lines
from bench.scenarios import SCENARIOS, Cell, Scenario
