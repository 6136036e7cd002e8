"""Does a plan that changes over time train the same in two processes as in one?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from frostline import FrostlineError
from frostline.integrations.refusals import let_weights_rest
from frostline.integrations.transformers import PlanCallback
from frostline.plans import Plan
from tests.builders.models import tiny_model
from tests.builders.processes import Processes
from tests.builders.trainers import raw, trainer_of
from tests.integrations.two_processes import PLAN, STEPS


def test_two_processes_train_as_one_does_on_their_windows_together(processes: Processes, tmp_path: Path) -> None:
    done = processes.python("-m", "tests.integrations.two_processes", str(tmp_path))
    assert done.returncode == 0, done.stderr
    model = tiny_model("gpt2")
    start = raw(model.state_dict())
    trainer = trainer_of(model, tmp_path / "alone", [PlanCallback(PLAN)], max_steps=STEPS, lr_scheduler_type="constant")
    trainer.train()
    assert isinstance(trainer.model, PreTrainedModel)
    alone = trainer.model.state_dict()
    del alone["lm_head.weight"]  # tied
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert raw(first) == raw(second)
    kept = {name for name, value in raw(alone).items() if value == start[name]}
    assert {name for name, value in raw(first).items() if value == start[name]} == kept
    for name in alone.keys() & first.keys():
        torch.testing.assert_close(first[name], alone[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wrong", ["ddp_find_unused_parameters=False", "ddp_static_graph=True"])
def test_what_promises_a_gradient_to_every_weight_is_refused(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, value = wrong.partition("=")
    trainer = trainer_of(tiny_model("gpt2"), tmp_path)
    setattr(trainer.args, name, value == "True")
    monkeypatch.setattr(type(trainer.args), "world_size", 2)
    with pytest.raises(FrostlineError, match=f"does not go with {wrong}"):
        let_weights_rest(Plan.parse(PLAN), trainer)
    let_weights_rest(Plan.parse("train: [attn.q]"), trainer)
