"""Which models do the tests train? Small random ones of many `transformers` families, built in milliseconds.

Hidden size 32, 4 query heads, 97 tokens, 64 positions, no dropout. Key and value heads are fewer (2) where the family
groups them. Weights depend on `seed` alone; the global random state is left as it was.
"""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

HIDDEN = 32
HEADS = 4
VOCABULARY = 97
POSITIONS = 64

_LLAMA_LIKE: dict[str, object] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}
_GPT2_LIKE: dict[str, object] = {"n_embd": HIDDEN, "n_head": HEADS, "n_positions": POSITIONS}
_NO_DROPOUT_GPT2: dict[str, object] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
_NO_DROPOUT: dict[str, object] = {"attention_dropout": 0.0, "hidden_dropout": 0.0}
_EXPERTS: dict[str, object] = {"num_experts_per_tok": 2, "output_router_logits": False}

_SETTINGS: dict[str, dict[str, object]] = {
    "gpt2": {**_GPT2_LIKE, **_NO_DROPOUT_GPT2},
    "gpt_neo": {
        "hidden_size": HIDDEN,
        "num_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "window_size": 16,
        "resid_dropout": 0.0,
        "embed_dropout": 0.0,
        "attention_dropout": 0.0,
    },
    "gpt_neox": {
        "hidden_size": HIDDEN,
        "intermediate_size": 64,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        **_NO_DROPOUT,
    },
    "opt": {
        "hidden_size": HIDDEN,
        "ffn_dim": 64,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "word_embed_proj_dim": 16,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    },
    "bloom": {"hidden_size": HIDDEN, "n_head": HEADS, **_NO_DROPOUT},
    "llama": _LLAMA_LIKE,
    "qwen3": {**_LLAMA_LIKE, "head_dim": 8},
    "gemma3_text": {**_LLAMA_LIKE, "head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "phi3": {**_LLAMA_LIKE, "original_max_position_embeddings": POSITIONS, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "mixtral": {**_LLAMA_LIKE, **_EXPERTS, "num_local_experts": 4},
    "qwen2": _LLAMA_LIKE,
    "mistral": {**_LLAMA_LIKE, "sliding_window": 16},
    "gemma2": {**_LLAMA_LIKE, "head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "phi": {**_LLAMA_LIKE, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "falcon": {
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "new_decoder_architecture": False,
        "multi_query": True,
        **_NO_DROPOUT,
    },
    "gptj": {**_GPT2_LIKE, **_NO_DROPOUT_GPT2, "rotary_dim": 4},
    "codegen": {**_GPT2_LIKE, **_NO_DROPOUT_GPT2, "rotary_dim": 4},
    "olmo2": _LLAMA_LIKE,
    "stablelm": {**_LLAMA_LIKE, "hidden_dropout": 0.0},
    "starcoder2": {**_LLAMA_LIKE, "residual_dropout": 0.0, "embedding_dropout": 0.0},
    "gpt_bigcode": {**_GPT2_LIKE, **_NO_DROPOUT_GPT2},
    "gpt_oss": {**_LLAMA_LIKE, **_EXPERTS, "head_dim": 8, "num_local_experts": 4, "sliding_window": 16},
    "qwen3_moe": {**_LLAMA_LIKE, **_EXPERTS, "head_dim": 8, "num_experts": 4, "moe_intermediate_size": 24},
    "granite": _LLAMA_LIKE,
    "cohere": _LLAMA_LIKE,
    "mpt": {"d_model": HIDDEN, "n_heads": HEADS, "max_seq_len": POSITIONS, "expansion_ratio": 2},
}
_ROUTER_BIAS: dict[str, object] = {
    **_LLAMA_LIKE,
    "moe_intermediate_size": 16,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
}
_SETTINGS_OF_MORE: dict[str, dict[str, object]] = {
    "deepseek_v3": {
        **_ROUTER_BIAS,
        "num_key_value_heads": HEADS,
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
        "n_group": 2,
        "topk_group": 1,
    },
    "glm4_moe": {**_ROUTER_BIAS, "head_dim": 8, "n_group": 1, "topk_group": 1},
}
_LAYERS_KEY = {
    "gpt_neo": "num_layers",
    "bloom": "n_layer",
    "gpt2": "n_layer",
    "gptj": "n_layer",
    "codegen": "n_layer",
    "gpt_bigcode": "n_layer",
    "mpt": "n_layers",
}

FAMILIES: tuple[str, ...] = tuple(_SETTINGS)
"""Every family that plans and engine are tested with; the first ten are those that the plans must cover."""
ROUTER_BIAS_FAMILIES: tuple[str, ...] = tuple(_SETTINGS_OF_MORE)
"""Families whose routers hold a bias in a persistent buffer; `tiny_model` builds these, too."""


def tiny_model(family: str, *, layers: int = 4, seed: int = 0, **changed: object) -> PreTrainedModel:
    """A small random causal model of `family` in float32, in evaluation mode, on the CPU.

    `changed` overrides settings of its `transformers` configuration, for example `tie_word_embeddings=False`.
    """
    settings: dict[str, object] = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    settings |= {_LAYERS_KEY.get(family, "num_hidden_layers"): layers}
    if family == "gpt_neo":
        pairs, single = divmod(layers, 2)
        settings["attention_types"] = [[["global", "local"], pairs]] * (pairs > 0) + [[["global"], 1]] * single
    config = AutoConfig.for_model(family, **{**settings, **(_SETTINGS | _SETTINGS_OF_MORE).get(family, {}), **changed})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: object = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    assert isinstance(model, PreTrainedModel)
    model.train(False)
    return model
