"""Did a Trainer load all of its checkpoint? Not where a family's files have other names than its modules.

`save_pretrained` writes names of the files that the family was published with (GPT-NeoX's `embed_out`, single experts),
`from_pretrained` knows them, and the Trainer's own loading does not: it warns, and goes on with the weights of before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import nn
from transformers import PreTrainedModel

from frostline.errors import FrostlineError
from frostline.plans import AppliedPlan

_AT_WORK = "_frostline_at_work"
"""Attribute of a model: whoever makes a second Trainer of it, or another callback, goes on with what is there."""


@dataclass
class Loading:
    """What is being loaded into a model, as the model sees it."""

    folder: Path | None = None
    """The checkpoint."""
    not_loaded: frozenset[str] | None = None
    """Names for which no file had anything; None where nothing was loaded."""

    def begin(self, folder: Path | None) -> None:
        """What is loaded from now on comes from `folder`."""
        self.folder, self.not_loaded = folder, None

    def note(self, model: nn.Module, keys: NamedTuple) -> None:
        """A hook of torch: a state dict was loaded, or one of several."""
        own = {name for name, _ in model.named_parameters()}
        tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - own
        missing: list[str] = getattr(keys, "missing_keys", [])
        now = frozenset(missing) - tied
        self.not_loaded = now if self.not_loaded is None else self.not_loaded & now

    def complete(self, model: PreTrainedModel) -> None:
        """Load what the Trainer did not know by name. Raises `FrostlineError` where there is no telling from where."""
        if not self.not_loaded:
            return
        if self.folder is None:
            raise FrostlineError(
                f"the Trainer did not load '{min(self.not_loaded)}', whose name in the file is another.",
                "Pass the plan's callback in Trainer(callbacks=[...]).",
            )
        saved = type(model).from_pretrained(self.folder, dtype=model.dtype)
        model.load_state_dict(saved.state_dict())
        self.begin(None)


class AtWork(NamedTuple):
    """A plan at work on a model."""

    applied: AppliedPlan
    loading: Loading


def put_to_work(applied: AppliedPlan) -> AtWork:
    """Let `applied` be the plan at work on its model."""
    at_work = AtWork(applied, Loading())
    vars(applied.model)[_AT_WORK] = at_work
    applied.model.register_load_state_dict_post_hook(at_work.loading.note)
    return at_work


def at_work_on(model: nn.Module) -> AtWork | None:
    """The plan at work on `model`; None where there is none, or it was released."""
    found: object = vars(model).get(_AT_WORK)
    if not isinstance(found, AtWork) or found.applied.released or found.applied.model is not model:
        return None
    return found
