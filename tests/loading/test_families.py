"""Does every causal family of the installed `transformers` load as it was saved, write text, and take a plan?

What cannot be made tiny is skipped in words. What sees the future may be refused; nothing else may.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import frostline
from frostline.errors import FrostlineError
from frostline.measures import require_going_on, sample_continuations
from frostline.plans import Plan
from frostline.recipe import SamplingSettings
from tests.builders.families import ALL_FAMILIES, tiny_of_any_family
from tests.builders.models import VOCABULARY

CPU = torch.device("cpu")
Found = TypeVar("Found")
LONGEST_SENTENCE = 300


def raw(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def is_sentence(error: FrostlineError, folder: Path) -> bool:
    """Whether it is one line and short, whatever the folder's own path is."""
    text = str(error).replace(str(folder), "")
    return 0 < len(text) < LONGEST_SENTENCE and "\n" not in text and "Traceback" not in text


def or_refusal(found: Callable[[], Found]) -> Found | FrostlineError:
    """What `found` gives, or what it raises for a user to read."""
    try:
        return found()
    except FrostlineError as error:
        return error


def sees_the_future(model: PreTrainedModel) -> bool:
    """Whether another last token changes what the model says before it."""
    tokens = torch.tensor([[5, 9, 14, 3, 21, 8]])
    other = tokens.clone()
    other[0, -1] = 30
    with torch.no_grad():
        before, after = (model(input_ids=ids, use_cache=False).logits[:, :-1] for ids in (tokens, other))
    return not torch.allclose(before, after, atol=1e-4)


def transformers_loads(folder: Path) -> bool:
    """Whether plain `from_pretrained` takes the folder; the text part of some models has no name of its own there."""
    try:
        AutoModelForCausalLM.from_pretrained(folder)
    except ValueError:
        return False
    return True


def in_file(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it cannot be iterated
    return found


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_family_loads_as_it_was_saved_writes_text_and_takes_a_plan_or_says_why_not(
    family: str, tmp_path: Path
) -> None:
    model = tiny_of_any_family(family)
    if isinstance(model, str):
        pytest.skip(model)
    bidirectional = sees_the_future(model)
    model.save_pretrained(tmp_path)
    expected, file = model.state_dict(), in_file(tmp_path)
    loaded = or_refusal(lambda: frostline.load_model(str(tmp_path)))
    if isinstance(loaded, FrostlineError):
        assert is_sentence(loaded, tmp_path), str(loaded)
        assert bidirectional or not transformers_loads(tmp_path), str(loaded)
        return
    found = loaded.state_dict()
    assert found.keys() == expected.keys()
    other = [name for name in found if raw(found[name]) != raw(expected[name])]
    assert other == []
    # What stands in the file under another name, or in several pieces, was compared with the model that was saved.
    under_its_name = [name for name in found if name in file and file[name].shape == found[name].shape]
    assert [name for name in under_its_name if raw(file[name].to(found[name].dtype)) != raw(found[name])] == []
    assert file

    by_cache = require_going_on(loaded, device=CPU, precision="fp32")
    prompts = np.random.default_rng(0).integers(3, VOCABULARY, (2, 4))
    settings = SamplingSettings(new_tokens=3)
    written = sample_continuations(loaded, prompts, settings, 0, (), device=CPU, precision="fp32", by_cache=by_cache)
    assert [len(text) for text in written] == [3, 3]
    assert {name: raw(value) for name, value in loaded.state_dict().items()} == {
        name: raw(value) for name, value in expected.items()
    }

    resolved = or_refusal(lambda: Plan.parse("train: [all@50%:]").resolve(loaded))
    if isinstance(resolved, FrostlineError):
        assert is_sentence(resolved, tmp_path), str(resolved)
    else:
        assert 0 < resolved.trained_values < sum(parameter.numel() for parameter in loaded.parameters())


@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "gemma3", "qwen3_5", "mamba", "jamba", "recurrent_gemma", "mixtral"]
)
def test_the_families_that_people_have_are_not_among_those_left_out(family: str) -> None:
    assert isinstance(tiny_of_any_family(family), PreTrainedModel)
