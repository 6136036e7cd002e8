"""Model folders with one thing wrong: a tiny model as `save_pretrained` writes it, changed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from frostline.errors import ModelError
from frostline.loading import load_model
from frostline.recipe import ModelSettings
from tests.builders.models import tiny_model
from tests.builders.tokenizers import word_tokenizer

WEIGHTS = "model.safetensors"
Tensors = dict[str, Tensor]


def saved(folder: Path, model: PreTrainedModel | None = None, *, shard: str | None = None) -> Path:
    """`folder` with a model and its tokenizer; in several files of at most `shard` where that is given."""
    model = model or tiny_model("llama", layers=2)
    model.save_pretrained(folder, max_shard_size=shard or "1GB")
    word_tokenizer(93).save_pretrained(folder)
    return folder


def change_weights(folder: Path, change: Callable[[Tensors], Mapping[str, Tensor]], name: str = WEIGHTS) -> None:
    """Write the weights anew, as `change` gives them."""
    changed = change(load_file(folder / name))
    save_file(
        {key: value.clone().contiguous() for key, value in changed.items()}, folder / name, metadata={"format": "pt"}
    )


def change_json(file: Path, **changed: object) -> None:
    """Set values of the JSON object in `file`; None takes one out."""
    content = json.loads(file.read_text(encoding="utf-8")) | changed
    kept = {key: value for key, value in content.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")


def refusal(folder: Path) -> str:
    """What is said of the model in `folder` by whatever loads it; "" where it is loaded."""
    found: list[ModelError] = []
    try:
        load_model(ModelSettings(source=str(folder)), folder)
    except ModelError as error:
        found.append(error)
    if not found:
        return ""
    assert found[0].keys == ("model", "source")
    told = str(found[0])
    assert len(told.replace(str(folder), "model")) <= 300, told
    return told.replace(str(folder), "FOLDER")
