"""How small can a model of any `transformers` family be? Its own defaults, with every size that we know made tiny.

`tests.builders.models` has the families whose plans are tested in depth, each written by hand. Here are all causal
ones that the installed `transformers` knows, so that a new one is tested the day it is installed.
"""

from __future__ import annotations

import functools

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.builders.models import HEADS, HIDDEN, POSITIONS, VOCABULARY

LARGEST = 2_600_000
"""Parameters of a model that is still called tiny."""
ALL_FAMILIES: tuple[str, ...] = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

_SIZES: dict[str, object] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "char_vocab_size"), VOCABULARY),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "embedding_size", "lru_width", "word_embed_proj_dim"), HIDDEN),
    **dict.fromkeys(("intermediate_size", "ffn_hidden_size", "d_ff", "ffn_dim", "encoder_ffn_dim"), 48),
    **dict.fromkeys(("decoder_ffn_dim", "attention_hidden_size"), HIDDEN),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "mamba_n_heads", "linear_num_heads"), HEADS
    ),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "linear_num_value_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "linear_num_key_heads", "index_n_heads", "num_experts_per_tok"), 2),
    **dict.fromkeys(
        ("head_dim", "d_kv", "linear_key_head_dim", "linear_head_dim", "linear_value_head_dim", "index_head_dim"), 8
    ),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "v_head_dim", "query_pre_attn_scalar"), 8),
    **dict.fromkeys(("hidden_size_per_layer_input", "laurel_rank", "chunk_size"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "state_size", "time_step_rank", "mamba_d_state"), 4),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "mamba_d_head"), 16),
    **dict.fromkeys(("sliding_window", "attention_window_size", "global_head_dim"), 16),
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group", "n_groups", "mamba_n_groups"), 1),
    **dict.fromkeys(("first_k_dense_replace",), 1),
    **dict.fromkeys(("expand", "mamba_expand"), 2),
    **dict.fromkeys(("num_mtp_layers", "num_kv_shared_layers"), 0),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "index_topk"), POSITIONS),
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LATENT: dict[str, object] = {"num_key_value_heads": HEADS, "head_dim": 4}
_LINEAR_AND_FULL: dict[str, object] = {"layer_types": ["linear_attention", "full_attention"]}
_CHANGED: dict[str, dict[str, object]] = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa"), _LATENT),
    **dict.fromkeys(("longcat_flash", "youtu"), _LATENT),
    **dict.fromkeys(
        ("bailing_hybrid", "kimi_linear", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_next"), _LINEAR_AND_FULL
    ),
    "bamba": {"attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 4},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 16},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 4, "head_dim": 16},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {
        "is_decoder": True,
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
        "attn_layers": ["local", "local"],
        "local_attn_chunk_length": 8,
    },
    "roc_bert": {
        "pronunciation_embed_dim": 8,
        "pronunciation_vocab_size": 16,
        "shape_embed_dim": 8,
        "shape_vocab_size": 16,
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 3,
        "layers_block_type": ["hybrid", "mamba", "hybrid"],
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "zamba2": {
        "num_hidden_layers": 3,
        "layers_block_type": ["hybrid", "mamba", "hybrid"],
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "zaya": {"num_experts_per_tok": 1},
}
_NOT_SETTABLE: dict[str, tuple[str, ...]] = {
    "falcon": ("head_dim", "num_kv_heads"),
    "prophetnet": ("num_hidden_layers",),
    "xlnet": ("max_position_embeddings",),
    "xlstm": ("head_dim", "v_head_dim"),
    "zamba": ("head_dim",),
}


def tiny_of_any_family(family: str, *, seed: int = 0, **changed: object) -> PreTrainedModel | str:
    """A small random causal model of `family` in evaluation mode, or in words why there is none.

    Weights depend on `seed` alone; the global random state is left as it was.
    """
    try:
        config = AutoConfig.for_model(family, **{**_settings(family), **changed})
        with torch.device("meta"):
            values = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
        if values > LARGEST:
            return f"{family}: the smallest that its settings give has {values:,} parameters"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: object = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
            assert isinstance(model, PreTrainedModel)
            model.train(False)
            with torch.no_grad():
                model(input_ids=torch.tensor([[3, 4, 5]]), use_cache=False)
    except Exception as error:  # noqa: BLE001  # any family's own code, about settings that nobody chose for it
        return f"{family}: cannot be made tiny by sizes alone ({type(error).__name__}: {str(error)[:120]})"
    return model


@functools.cache
def _settings(family: str) -> dict[str, object]:
    base = CONFIG_MAPPING[family]()
    assert isinstance(base, PretrainedConfig)
    return _shrunk(base, family)


def _shrunk(config: PretrainedConfig, family: str) -> dict[str, object]:
    """The settings of `config` that are sizes, made tiny, those of the models inside it too."""
    excluded = _NOT_SETTABLE.get(family, ())
    inner: dict[str, object] = {}
    for name in config.sub_configs:
        own = getattr(config, name, None)
        if isinstance(own, PretrainedConfig) and own.model_type:
            inner[name] = {"model_type": own.model_type, **_shrunk(own, own.model_type)}
    # Where there is a model inside, a size that can be read from outside may be that one's.
    own_names = vars(config) if inner else _SIZES
    names = [name for name in _SIZES if name in own_names and name not in excluded and _has(config, name)]
    return {**{name: _SIZES[name] for name in names}, **inner, **_CHANGED.get(family, {})}


def _has(config: PretrainedConfig, name: str) -> bool:
    try:
        return hasattr(config, name)
    except Exception:  # noqa: BLE001  # a property that is different in each layer says so by an error of its own
        return False
