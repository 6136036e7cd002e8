"""When are the rows made that arms start from? Once for a variant, before the first arm that is to be trained.

Where every arm is taken from an earlier run, nothing is filled. What a fill takes is journalled layer by layer, so that
a run that was killed in it accounts for what it did before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from frostline.arms import Prepared, fill, filled_layers
from frostline.experiment.time_left import TimeLeft, Work, of_the_fill
from frostline.progress import RunProgress
from frostline.run_folder import Journal, LayerFilled


@dataclass
class Filling:
    """The fill of one variant, whose parts are shared."""

    prepared: Prepared
    journal: Journal
    progress: RunProgress
    time_left: TimeLeft
    journalled: dict[int, float] = field(default_factory=dict)
    """Layers that the journal holds already, and what each took in seconds."""
    done: bool = False

    def ensure(self) -> None:
        """Fill what is missing, unless this process has done so. Raises `CacheError` where there is no room."""
        if self.done or not filled_layers(self.prepared):
            return
        layers, place = fill(self.prepared, tell=self._tell), of_the_fill(self.prepared.variant)
        while True:
            with self.time_left.doing(place, Work("fill")):
                layer = next(layers, None)
            if layer is None:
                break
            if layer.layer not in self.journalled:
                self.journal.append(
                    LayerFilled(
                        self.prepared.variant,
                        layer.layer,
                        layer.windows,
                        layer.computed,
                        layer.written_bytes,
                        layer.seconds,
                    )
                )
                self.journalled[layer.layer] = layer.seconds
        with self.prepared.world.doing({"do": "fill"}, patient=True):
            self.done = True  # the others find on the disk what they share it with, and make the rest
        self.time_left.forget(place)

    def seconds_below(self, layers: int) -> float:
        """What filling the lowest `layers` took, shared by the replicates: it goes with an arm that is kept."""
        filled = sum(seconds for layer, seconds in self.journalled.items() if layer < layers)
        return filled / len(self.prepared.recipe.seeds)

    def _tell(self, done: int, total: int) -> None:
        self.progress.filling(done, total)
