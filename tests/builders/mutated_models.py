"""What may come of a model folder that is damaged? The original weights and finite logits, or one sentence.

`damaged_model` copies a small whole folder and damages the copy; `outcome_of` does what a run does before it has a
folder of its own. `bench/mutations.py` counts what came of thousands.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import struct
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import yaml
from torch import Tensor

from frostline.arms.prepared import prepare
from frostline.errors import FrostlineError
from frostline.recipe import load_recipe, variants_of
from tests.builders import damage
from tests.builders.models import tiny_model
from tests.builders.tokenizers import word_tokenizer, words

LONGEST_SENTENCE = 300
FAMILIES = ("llama", "gpt2", "phi3", "mixtral", "gemma3_text", "in shards")
FINE, REFUSED = "the original", "one sentence"
ACCEPTED = frozenset({FINE, REFUSED})
TEXT = words([(index * index + index // 3) % 61 for index in range(600)])
ADDED: tuple[dict[str, object], ...] = (
    {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    {"quantization_config": {"quant_method": "unheard-of"}},
    {"quantization_config": {}},
    {"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}},
    {"_attn_implementation": "flash_attention_2"},
    {"attn_implementation": "flash_attention_2"},
    {"attn_implementation": "unheard-of"},
    {"is_encoder_decoder": True},
    {"architectures": ["LlamaForSequenceClassification"]},
    {"architectures": ["BartForConditionalGeneration"]},
    {"architectures": "LlamaForCausalLM"},
    {"model_type": "bart"},
    {"model_type": "mistral"},
    {"model_type": "unheard-of"},
    {"rope_scaling": {"type": "unheard-of", "factor": 2.0}},
    {"rope_scaling": {"rope_type": "yarn"}},
    {"rope_parameters": {"rope_type": "unheard-of"}},
    {"dtype": "banana"},
    {"torch_dtype": "float16"},
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False},
    {"num_hidden_layers": 1, "n_layer": 1},
    {"pad_token_id": 10_000},
    {"layer_types": ["unheard-of", "full_attention"]},
    {"hidden_act": "unheard-of", "activation_function": "unheard-of"},
    {"text_config": {"vocab_size": 5}},
)


@dataclass(frozen=True)
class Outcome:
    """What came of a damaged folder."""

    kind: str
    """One of `ACCEPTED`, or what must not be."""
    told: str
    """The sentence, the names of other weights, or the end of a traceback."""


def damaged_model(target: Path, seed: int) -> str:
    """Write a model folder to `target` and damage it in one way, seldom in two; returns what was done, in words."""
    draw = Random(seed)
    family = draw.choice(FAMILIES)
    shutil.copytree(whole_model(family), target)
    done = [_damage(target, draw)]
    if draw.random() < 0.15:
        # What the first has left may be past damaging.
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error):
            done.append(_damage(target, draw))
    return f"{family}: {'; '.join(done)}"


@functools.cache
def whole_model(family: str) -> Path:
    """A folder with a small model and its tokenizer, written once a process."""
    folder = Path(tempfile.mkdtemp(prefix="frostline-whole-model-")) / "model"
    model = tiny_model("llama" if family == "in shards" else family, layers=2)
    model.save_pretrained(folder, max_shard_size="20KB" if family == "in shards" else "1GB")
    word_tokenizer(93).save_pretrained(folder)
    return folder


@functools.cache
def whole_weights(family: str) -> dict[str, Tensor]:
    """The weights of that model."""
    return tiny_model("llama" if family == "in shards" else family, layers=2).state_dict()


def outcome_of(folder: Path, family: str, cache: Path) -> Outcome:
    """Prepare a run of the model in `folder`, which is one of `family` damaged, and see what is there."""
    recipe = _write_recipe(folder)
    try:
        loaded = load_recipe(recipe)
        prepared = prepare(variants_of(loaded)[0], cache, say=lambda line: None)
    except FrostlineError as error:
        text = str(error)
        # Paths of the test run, whole or shortened, are longer than those of users.
        one = "\n" not in text and len(re.sub(r"/tmp/[^\s':]*", "model", text)) < LONGEST_SENTENCE
        return Outcome(REFUSED if one else "A LONG SENTENCE", text)
    except Exception as error:  # noqa: BLE001  # what must not be, whatever it is
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(str(error).split())[:200]
        return Outcome("A TRACEBACK", f"{type(error).__name__}: {reason} ({Path(last.filename).name}:{last.lineno})")
    found, expected = prepared.model.state_dict(), whole_weights(family)
    other = [name for name in expected if name not in found or not torch.equal(found[name], expected[name])]
    other += sorted(found.keys() - expected.keys())
    if other:
        return Outcome("OTHER WEIGHTS", ", ".join(other))
    with torch.no_grad():
        prepared.model.train(False)
        logits = prepared.model(input_ids=torch.tensor([[3, 4, 5, 6]]), use_cache=False).logits
    return Outcome(FINE if bool(logits.isfinite().all()) else "NOT FINITE", "")


def _write_recipe(folder: Path) -> Path:
    (folder.parent / "text.txt").write_text(TEXT, encoding="utf-8")
    recipe = {
        "model": {"source": str(folder)},
        "corpus": {"source": "text.txt"},
        "windows": {"length": 16, "held_out": 4},
        "training": {"steps": 2, "batch": 2, "precision": "fp32", "untimed_steps": 0},
        "arms": {"full": {"train": "all"}},
        "measures": {"memory": False, "sampling": {"prompts": 2, "prompt_tokens": 4, "new_tokens": 4}},
    }
    path = folder.parent / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def _damage(folder: Path, draw: Random) -> str:
    kind = draw.choices(("weights", "config", "tokenizer", "index", "other"), (50, 25, 15, 15, 5))[0]
    weights = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if kind == "index" and index.exists():
        return _damage_index(index, draw)
    if kind == "config":
        return _damage_config(folder / "config.json", draw)
    if kind == "tokenizer":
        path = draw.choice([folder / "tokenizer.json", folder / "tokenizer_config.json"])
        return _any_of(draw, (damage.replace_file, damage.break_text, damage.change_value))(path, draw)
    if kind == "other":
        return _damage_other(folder, draw)
    change = _any_of(draw, _WEIGHTS)
    path = draw.choice(weights)
    return f"{change.__name__}: {change(path, draw)}"


_Damage = Callable[[Path, Random], str]
_WEIGHTS: tuple[_Damage, ...] = (
    damage.rename_tensors,
    damage.drop_tensors,
    damage.reshape_tensor,
    damage.duplicate_tensors,
    damage.call_another_type,
    damage.spoil_values,
    damage.cut_weights,
    damage.flip_header,
    damage.replace_file,
)


def _any_of(draw: Random, choices: tuple[_Damage, ...]) -> _Damage:
    return draw.choice(choices)


def _damage_config(path: Path, draw: Random) -> str:
    if draw.random() < 0.35:
        added = draw.choice(ADDED)
        whole = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(whole | added), encoding="utf-8")
        return f"config.json with {json.dumps(added)}"
    return _any_of(draw, (damage.change_value, damage.change_value, damage.break_text, damage.replace_file))(path, draw)


def _damage_index(path: Path, draw: Random) -> str:
    whole = json.loads(path.read_text(encoding="utf-8"))
    places: dict[str, str] = whole["weight_map"]
    name = draw.choice(sorted(places))
    kind = draw.choice(("gone", "elsewhere", "nowhere", "outside", "more", "none", "not text", "text", "shard"))
    match kind:
        case "gone":
            del places[name]
        case "elsewhere":
            places[name] = draw.choice(sorted(set(places.values()) - {places[name]}))
        case "nowhere":
            places[name] = "model-00099-of-00099.safetensors"
        case "outside":
            places[name] = "../../" + places[name]
        case "more":
            places["model.layers.9.mlp.up_proj.weight"] = places[name]
        case "none":
            places.clear()
        case "not text":
            whole["weight_map"] = draw.choice(([], None, 7, {name: 7}))
        case "shard":
            (path.parent / places[name]).unlink()
            return f"without the shard {places[name]}"
        case _:
            return damage.break_text(path, draw)
    path.write_text(json.dumps(whole), encoding="utf-8")
    return f"the index: {name} {kind}"


def _damage_other(folder: Path, draw: Random) -> str:
    path = draw.choice(sorted(path for path in folder.iterdir() if path.suffix == ".json"))
    kind = draw.choice(("generation", "adapter", "pickled", "any"))
    if kind == "adapter":
        (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "x", "peft_type": "LORA"}', "utf-8")
        return "with adapter_config.json"
    if kind == "pickled":
        torch.save({"x": torch.zeros(2)}, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink(missing_ok=True)
        return "pickled weights"
    if kind == "generation":
        path = folder / "generation_config.json"
    return _any_of(draw, (damage.break_text, damage.replace_file, damage.change_value))(path, draw)
