"""How large is a model of 1, 3 or 8 billion weights to Frostline? Random weights in the shapes of real families.

    python -m bench.shapes 1B FOLDER            # 2.5 GB in bf16: Llama-3.2-1B; 3B and 8B likewise
    python -m bench.shapes 1B FOLDER --type fp32

Written shard by shard, so that no more than one layer is in memory; the tokenizer is that of the embedded model, whose
token ids all have a row. Weights are normal with the standard deviation of the family's own initialisation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from frostline.cache import cache_folder
from frostline.loading import load_tokenizer
from frostline.recipe import ModelSettings

_COMMON: dict[str, object] = {
    "vocab_size": 128_256,
    "max_position_embeddings": 8_192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
SHAPES: dict[str, dict[str, object]] = {
    "135M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
             "num_key_value_heads": 3, "tie_word_embeddings": True, "vocab_size": 49_152},
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "num_key_value_heads": 8, "tie_word_embeddings": True},
    "3B": {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24,
           "num_key_value_heads": 8, "tie_word_embeddings": True},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 8, "tie_word_embeddings": False},
    "70B": {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
            "num_key_value_heads": 8, "tie_word_embeddings": False},
}  # fmt: skip
"""Sizes of SmolLM2-135M, Llama-3.2-1B, Llama-3.2-3B, Llama-3.1-8B and Llama-3.1-70B."""
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SHARD_BYTES = 2_000_000_000


def configuration(name: str) -> PretrainedConfig:
    """The configuration of shape `name`."""
    return AutoConfig.for_model("llama", **(_COMMON | SHAPES[name]))


def write_shape(name: str, folder: Path, dtype: torch.dtype) -> None:
    """Write a model of shape `name` with random weights into `folder`, and a tokenizer beside it."""
    config = configuration(name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Tensor]] = [{}]
    places: dict[str, int] = {}
    total = 0
    for key, tensor in _weights(dict(model.named_parameters()), config, dtype):
        if sum(own.nbytes for own in shards[-1].values()) + tensor.nbytes > SHARD_BYTES and shards[-1]:
            _write(folder, len(shards), shards[-1])
            shards[-1] = {}
            shards.append({})
        shards[-1][key] = tensor
        places[key] = len(shards)
        total += tensor.nbytes
    _write(folder, len(shards), shards[-1])
    index = {"metadata": {"total_size": total}, "weight_map": {key: _file(place) for key, place in places.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    config.architectures = [type(model).__name__]
    config.dtype = str(dtype).removeprefix("torch.")
    config.save_pretrained(folder)
    load_tokenizer(ModelSettings(), cache_folder()).save_pretrained(folder)


def _weights(shapes: dict[str, Tensor], config: PretrainedConfig, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for key, meta in shapes.items():
        if meta.ndim == 1:
            yield key, torch.ones(meta.shape, dtype=dtype)
        else:
            values = torch.empty(meta.shape, dtype=torch.float32)
            yield key, values.normal_(0, config.initializer_range, generator=generator).to(dtype)


def _write(folder: Path, place: int, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, folder / _file(place), {"format": "pt"})


def _file(place: int) -> str:
    return f"model-{place:05d}.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--type", default="bf16", choices=list(TYPES))
    options = parser.parse_args()
    write_shape(options.shape, options.folder, TYPES[options.type])
    size = sum(file.stat().st_size for file in options.folder.glob("*.safetensors"))
    print(f"{options.folder}: {options.shape}, {options.type}, {size / 1e9:.2f} GB of weights")


if __name__ == "__main__":
    main()
