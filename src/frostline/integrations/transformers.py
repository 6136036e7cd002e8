"""How does a plan work in `transformers.Trainer`, and in what is built on it, such as TRL's `SFTTrainer`?

    Trainer(model=model, args=arguments, train_dataset=windows, callbacks=[plan.trainer_callback()]).train()

The Trainer makes its optimizer once, of what has `requires_grad` then. So the plan is applied when the Trainer has been
made, with all phases open; each step trains what its phase says, since an optimizer skips what has no gradient, and
keeps no state of what is frozen. What was frozen, and with which bytes, stands in every checkpoint's
`trainer_state.json`; the weights beside it are those of a plain model.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Optimizer
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import get_last_checkpoint

from frostline.errors import FrostlineError, PlanError
from frostline.integrations.graph import keep_prefix_out_of_graph
from frostline.integrations.loading import AtWork, at_work_on, put_to_work
from frostline.integrations.refusals import (
    let_weights_rest,
    refuse_adapters,
    refuse_changes_that_never_come,
    refuse_model,
    refuse_model_init,
    refuse_optimizer,
    refuse_sharding,
)
from frostline.integrations.saved import SavedPlan, require_same_plan, saved_in, saved_in_folder
from frostline.plans import AppliedPlan, Plan

if TYPE_CHECKING:
    from transformers import Trainer


class PlanCallback(TrainerCallback, ExportableState):
    """Makes a Trainer train by `plan` (a `Plan`, or its text), and proves at the end that nothing frozen moved.

    Give it to the Trainer as one of its `callbacks`; each Trainer wants one of its own. Raises `PlanError` where the
    plan does not fit the Trainer or its model, `FrostlineError` where a checkpoint is of another plan or something
    frozen moved.
    """

    def __init__(self, plan: Plan | str) -> None:
        self.plan = Plan.parse(plan) if isinstance(plan, str) else plan
        refuse_adapters(self.plan)
        self._at_work: AtWork | None = None

    @property
    def applied(self) -> AppliedPlan:
        """The plan at work on the Trainer's model. Raises `PlanError` before there is one."""
        return self._here.applied

    @property
    def _here(self) -> AtWork:
        if self._at_work is None:
            raise PlanError(
                "the plan has not been applied: the Trainer was made without it.",
                "Pass the callback in Trainer(callbacks=[...]), or call its apply(model) before the Trainer is made.",
            )
        return self._at_work

    def apply(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase | None = None) -> AppliedPlan:
        """Apply the plan to `model`, with all phases open. The Trainer does so itself, at the end of its making.

        Call it before where an optimizer of your own is made of the model's parameters. A plan that names tokens
        (`embed[added]`) wants the `tokenizer`; the Trainer gives its `processing_class`.
        """
        suitable = refuse_model(model)
        there = at_work_on(suitable)
        if there is None:
            there = put_to_work(self.plan.apply(suitable, tokenizer=tokenizer))
        elif there.applied.plan.text != self.plan.text:
            raise PlanError(
                f"another plan is at work on this model: '{there.applied.plan.text}'.",
                "Call applied.release() of its callback, or begin with a fresh copy of the model.",
            )
        there.applied.open_all_phases()
        self._at_work = there
        return there.applied

    def check_checkpoint(self, folder: str | Path) -> None:
        """Raise `FrostlineError` unless the Trainer's checkpoint in `folder` was written under this plan."""
        require_same_plan(self.plan, saved_in_folder(Path(folder), type(self).__name__), str(folder))

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps of this callback: the Trainer writes it into `trainer_state.json`."""
        frozen = {} if self._at_work is None else self._at_work.applied.frozen_sha256()
        saved: SavedPlan = {"plan": self.plan.text, "frozen_sha256": frozen}
        return {"args": {"plan": self.plan.text}, "attributes": {"saved": saved}}

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        model = kwargs["model"]
        assert isinstance(model, nn.Module)
        trainer = _trainer_being_made(args)
        if trainer is not None:
            refuse_sharding(trainer, model)
            refuse_model_init(trainer)
            let_weights_rest(self.plan, trainer)
            self._check_checkpoints_of(trainer)
        reads = kwargs.get("processing_class")
        self.apply(model, reads if isinstance(reads, PreTrainedTokenizerBase) else None)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        assert isinstance(model, PreTrainedModel)
        there = at_work_on(model)
        # A Trainer that restores its callbacks has made this one anew, after the plan was applied.
        self._at_work = there if there is not None and there.applied.plan.text == self.plan.text else None
        applied = self.applied
        refuse_optimizer(applied, optimizer)
        refuse_changes_that_never_come(self.plan, state.max_steps)
        if state.global_step == 0:
            applied.set_step(0)
        else:
            self._stand_after(state.global_step, state.stateful_callbacks, f"step {state.global_step}")
        _forget_frozen(applied, optimizer)
        keep_prefix_out_of_graph(model)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if self.applied.advance(state.global_step) is None:
            return
        _forget_frozen(self.applied, kwargs["optimizer"])
        if self.applied.moved:
            raise _moved(self.applied.moved, f"before step {state.global_step}")

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        logs = kwargs["logs"]
        assert isinstance(logs, dict)
        if args.load_best_model_at_end and "train_runtime" in logs:
            self._prove("in training")  # the last word before the best checkpoint takes the place of these weights
            if state.best_model_checkpoint is not None:
                self._here.loading.begin(Path(state.best_model_checkpoint))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        best = state.best_model_checkpoint if args.load_best_model_at_end else None
        if best is None:
            self._prove("in training")
            return
        saved = TrainerState.load_from_json(str(Path(best) / "trainer_state.json"))
        self._stand_after(saved.global_step, saved.stateful_callbacks, best)

    def _stand_after(self, steps: int, states: object, where: str) -> None:
        """Stand where the checkpoint `where` was written, whose weights were loaded just now, and prove them."""
        saved = require_same_plan(self.plan, saved_in(states, type(self).__name__), where)
        self._here.loading.complete(self.applied.model)
        self.applied.set_step(steps - 1)
        found, kept = self.applied.frozen_sha256(), saved["frozen_sha256"]
        moved = [name for name in {**found, **kept} if found.get(name) != kept.get(name)]
        if moved:
            raise _moved(moved, f"in the checkpoint of {where}")

    def _prove(self, when: str) -> None:
        moved = self.applied.verify().moved
        if moved:
            raise _moved(moved, when)

    def _check_checkpoints_of(self, trainer: Trainer) -> None:
        """Let `trainer.train` look at the plan of a checkpoint, and remember it, before anything of it is loaded.

        No event comes in between, and an optimizer of other parameters would refuse its state in words of its own.
        """
        train: Callable[..., object] = trainer.train

        @functools.wraps(train)
        def train_by_plan(resume_from_checkpoint: str | bool | None = None, *others: object, **named: object) -> object:
            folder = resume_from_checkpoint
            if folder is True:
                folder = get_last_checkpoint(str(trainer.args.output_dir))
            if folder and (Path(folder) / "trainer_state.json").is_file():
                self.check_checkpoint(folder)
            self._here.loading.begin(Path(folder) if folder else None)
            return train(resume_from_checkpoint, *others, **named)

        vars(trainer)["train"] = train_by_plan


def _forget_frozen(applied: AppliedPlan, optimizer: object) -> None:
    """Drop the state of what is frozen: what thaws begins anew, as in an experiment."""
    assert isinstance(optimizer, Optimizer)
    trained = {id(parameter) for _, parameter in applied.trainable_parameters()}
    for held in [held for held in optimizer.state if isinstance(held, nn.Parameter) and id(held) not in trained]:
        del optimizer.state[held]


def _trainer_being_made(args: TrainingArguments) -> Trainer | None:
    """The Trainer whose constructor tells of its end: events do not name their sender."""
    from transformers import Trainer

    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Trainer) and getattr(owner, "args", None) is args:
            return owner
        frame = frame.f_back
    return None


def _moved(names: list[str] | tuple[str, ...], when: str) -> FrostlineError:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return FrostlineError(
        f"frozen weights moved {when}: '{names[0]}'{more}.",
        "Something other than the plan's optimizer writes into them: another callback, or a change of their type.",
    )
