"""Where do the first weights come from? The embedded model, a folder, or a hub id; always safetensors, always fp32.

Whatever loads a model loads it here: what lies in the folder is checked before a library reads it, what was loaded is
compared with the files, and the model proves that it is causal.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file, extract_commit_hash

from frostline.engine import cast_up_in_use, set_dropout, set_randomness
from frostline.errors import ModelError
from frostline.hub import hub_if_reachable
from frostline.loading.as_filed import matrices_as_filed, name_types, use_as_filed
from frostline.loading.boundary import SOURCE_KEY, loading
from frostline.loading.embedded_model import EMBEDDED_NAME, embedded_folder, quieten_transformers
from frostline.loading.files_in_use import files_of, hold_open, remember_files
from frostline.loading.model_files import require_configuration, require_tokenizer_files
from frostline.loading.proof import require_trainable
from frostline.loading.remote_code import may_run_code
from frostline.loading.tokenizer_file import as_filed
from frostline.loading.weight_files import require_unquantised, stored_tensors
from frostline.loading.weights import Loaded, require_as_stored, require_names_as_stored
from frostline.plans import few_layers
from frostline.recipe import EMBEDDED, ModelSettings, model_folder

_QUANTISED_BY = ("quantization_config", "quantization")
"""Keys of a configuration under which it says how its weights were quantised."""


def load_tokenizer(settings: ModelSettings, cache: Path) -> PreTrainedTokenizerBase:
    """The model's own fast tokenizer. Raises `ModelError`."""
    source = model_location(settings, cache)
    if Path(source).is_dir():
        require_tokenizer_files(Path(source), settings.source)
    with loading(settings, "tokenizer"), _hub_of(source):
        tokenizer = AutoTokenizer.from_pretrained(
            source, revision=settings.revision, trust_remote_code=may_run_code(settings, source)
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelError(f"'{settings.source}' has no tokenizer that turns text into tokens.").at(*SOURCE_KEY)
    with loading(settings, "tokenizer"):
        # Files of two tokenizers may be put together without complaint; reading its own words is where it shows.
        tokenizer(tokenizer.decode([0, 1, 2]))
        return as_filed(tokenizer, source, settings.revision)


def load_model(
    settings: ModelSettings,
    cache: Path,
    *,
    dropout: float | None = None,
    as_filed: str | None = None,
    room_bytes: int | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> PreTrainedModel:
    """The pretrained model in fp32 on the CPU, in train mode; `dropout` replaces every dropout rate it has.

    With `as_filed`, a precision (`fp32` or `bf16`), matrices that the file has in bf16 or fp16 stay so, mapped, and are
    cast up where they are used: in that arithmetic the model computes what it computes in fp32, bit for bit, in half
    the memory. What trains is to be cast up first. `say` is told where a family does not allow it.
    Of a model that takes more than `room_bytes`, only one layer of each kind is run to prove what it computes.

    Every weight is that of the files, and the model is causal. Raises `ModelError` where it is not so, and where the
    model is missing, no causal language model, or has no safetensors weights.
    """
    loaded = _load(settings, cache, dropout, as_filed)
    require_as_stored(loaded)
    model = loaded.model
    if as_filed is not None and not use_as_filed(model, as_filed):
        say(f"Layers of this {type(model).__name__} are held in fp32: it uses their 16-bit matrices otherwise.")
    with few_layers(model, wanted=room_bytes is not None and in_place_bytes(model) > room_bytes):
        require_trainable(model, settings)
    if dropout is not None:
        set_randomness(model, dropout)
    model.train()
    files_of(model).require_unchanged()
    return model


def load_unread(settings: ModelSettings, cache: Path, *, dropout: float | None = None) -> PreTrainedModel:
    """The model of `load_model`, of which no value has been read or proved: its weights are pages of its files.

    For what can be told from a few of its layers. Raises `ModelError` where configuration or files are at fault, or
    name other weights.
    """
    loaded = _load(settings, cache, dropout, as_filed="fp32")
    require_names_as_stored(loaded)
    model = loaded.model
    cast_up_in_use(model)
    if dropout is not None:
        set_randomness(model, dropout)
    model.train()
    return model


def _load(settings: ModelSettings, cache: Path, dropout: float | None, as_filed: str | None) -> Loaded:
    """What `from_pretrained` makes of the files."""
    source = model_location(settings, cache)
    config = _load_config(settings, source)
    stored = stored_tensors(_weights_folder(settings, source), settings.source)
    require_unquantised(stored, settings.source)
    with loading(settings, "weights"):
        files = hold_open((entry.file for entry in stored.values()), settings.source)
    if dropout is not None:
        set_dropout(config, dropout)  # modules are made by it, some only where their rate is not 0
    types = matrices_as_filed(stored) if as_filed is not None else nullcontext()
    with loading(settings, "weights"), _hub_of(source), types:
        loaded: object = AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            revision=settings.revision,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=may_run_code(settings, source),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report, with both shapes
        )
    model, report = loaded if isinstance(loaded, tuple) else (loaded, None)
    if not isinstance(model, PreTrainedModel) or report is None:
        raise ModelError(f"'{settings.source}' is not a causal language model of transformers.").at(*SOURCE_KEY)
    remember_files(model, files)
    return Loaded(model, report, stored, settings.source)


def require_model_files(settings: ModelSettings, cache: Path) -> None:
    """Raise `ModelError` where configuration or weights in the model's folder cannot be read, or are of another kind.

    Weights are not loaded. What lies on the hub is looked at once it is fetched.
    """
    source = model_location(settings, cache)
    if Path(source).is_dir():
        _load_config(settings, source)
        require_unquantised(stored_tensors(Path(source), settings.source), settings.source)


def weight_files(settings: ModelSettings, cache: Path) -> list[Path]:
    """The safetensors files of the model, fetched from the hub where they lie there. Raises `ModelError`."""
    folder = _weights_folder(settings, model_location(settings, cache))
    return sorted({entry.file for entry in stored_tensors(folder, settings.source).values()})


def commit_of(settings: ModelSettings, cache: Path) -> str | None:
    """The commit that a hub id's revision stands for; None for what lies elsewhere. Raises `ModelError`."""
    source = model_location(settings, cache)
    if Path(source).is_dir():
        return None
    with loading(settings, "configuration"), _hub_of(source):
        file = cached_file(source, CONFIG_NAME, revision=settings.revision)
    return extract_commit_hash(file, None) or settings.revision


def runs_code(settings: ModelSettings, cache: Path) -> bool:
    """Whether loading the model runs code that came with it and was trusted. Raises `ModelError` where it was not."""
    source = model_location(settings, cache)
    with loading(settings, "configuration"), _hub_of(source):
        return may_run_code(settings, source)


def parameter_count(settings: ModelSettings, cache: Path) -> int:
    """Number of weights of the model, from its configuration alone: nothing is loaded. Raises `ModelError`."""
    return sum(parameter.numel() for parameter in model_without_memory(settings, cache).parameters())


def model_without_memory(settings: ModelSettings, cache: Path) -> PreTrainedModel:
    """The model of its configuration alone, on torch's meta device: names and shapes. Raises `ModelError`."""
    source = model_location(settings, cache)
    config = _load_config(settings, source)
    with loading(settings, "configuration"), torch.device("meta"), _hub_of(source):
        model: object = AutoModelForCausalLM.from_config(config, trust_remote_code=may_run_code(settings, source))
    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"'{settings.source}' is not a causal language model of transformers.").at(*SOURCE_KEY)
    return model


def as_filed_without_memory(model: PreTrainedModel, settings: ModelSettings, cache: Path) -> PreTrainedModel:
    """A copy of `model`, which has no memory, its matrices of the types that the model's files have.

    Only headers are read. What lies on the hub is not fetched for it: then all is taken for fp32. Raises `ModelError`.
    """
    source, typed = model_location(settings, cache), copy.deepcopy(model)
    if Path(source).is_dir():
        name_types(typed, stored_tensors(Path(source), settings.source))
    return typed


def in_place_bytes(model: PreTrainedModel) -> int:
    """Bytes of the parameters of `model` as they are held, tied ones once."""
    return sum(parameter.nbytes for parameter in model.parameters())


def model_title(settings: ModelSettings) -> str:
    """What a reader calls the model."""
    return f"{EMBEDDED_NAME} (embedded)" if settings.source == EMBEDDED else settings.source


def context_length(model: PreTrainedModel) -> int | None:
    """Largest number of tokens that the model's positions allow, None where it has no limit."""
    return _positions(model.config)


def filed_context_length(settings: ModelSettings, cache: Path) -> int | None:
    """The same of a model that is not loaded, from its configuration alone. Raises `ModelError`."""
    return _positions(_load_config(settings, model_location(settings, cache)))


def _positions(config: PretrainedConfig) -> int | None:
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return length if isinstance(length, int) else None


def model_location(settings: ModelSettings, cache: Path) -> str:
    """What `from_pretrained` is given: a hub id, a folder, or the folder of the converted embedded model."""
    quieten_transformers()
    if settings.source != EMBEDDED:
        return str(model_folder(settings) or settings.source)
    return str(embedded_folder(cache))


def _hub_of(source: str) -> AbstractContextManager[None]:
    """In the block, the hub is asked only for what is no folder, and only where it can be reached."""
    return nullcontext() if Path(source).is_dir() else hub_if_reachable()


def _load_config(settings: ModelSettings, source: str) -> PretrainedConfig:
    if Path(source).is_dir():
        require_configuration(Path(source), settings.source)
    with loading(settings, "configuration"), _hub_of(source):
        config = AutoConfig.from_pretrained(
            source, revision=settings.revision, trust_remote_code=may_run_code(settings, source)
        )
        if not isinstance(config.get_text_config(), PretrainedConfig):
            raise TypeError("its 'text_config' is no configuration")
    assert isinstance(config, PretrainedConfig)
    if method := _quantisation(config):
        name = method.get("quant_method") if isinstance(method, dict) else getattr(method, "quant_method", None)
        raise ModelError(
            f"the weights of '{settings.source}' are quantised ({getattr(name, 'value', name) or 'config.json'}), and "
            "training needs them whole.",
            "Give the model from which they were quantised, in fp32, bf16 or fp16.",
        ).at(*SOURCE_KEY)
    if config.is_encoder_decoder:
        raise ModelError(
            f"'{settings.source}' is an encoder-decoder ({config.model_type}), not a decoder that predicts the next "
            "token of one text.",
            "Give a causal language model.",
        ).at(*SOURCE_KEY)
    _require_rates(settings, config)
    return config


def _quantisation(config: PretrainedConfig) -> object:
    """What `config` says of how its weights were quantised; MLX has another word for it."""
    whole = (config, config.get_text_config())
    return next((own for part in whole for name in _QUANTISED_BY if (own := getattr(part, name, None))), None)


def _require_rates(settings: ModelSettings, config: PretrainedConfig) -> None:
    """Raise `ModelError` for a dropout rate that is none: it would be met in the first step of training alone."""
    inner: object = config.get_text_config()
    # A stranger's 'text_config' may be any dictionary where the family has none of its own: loading will tell.
    inside = vars(inner) if isinstance(inner, PretrainedConfig) else {}
    for name, value in {**vars(config), **inside}.items():
        if "drop" in name and isinstance(value, int | float) and not 0 <= value <= 1:
            raise ModelError(
                f"'{settings.source}', config.json: '{name}' is {value}, and a rate is between 0 and 1.",
                "Correct it there.",
            ).at(*SOURCE_KEY)


def _weights_folder(settings: ModelSettings, source: str) -> Path:
    """The folder with the model's weights, fetched from the hub where they lie there."""
    if Path(source).is_dir():
        return Path(source)
    with loading(settings, "weights"), _hub_of(source):
        fetch = partial(cached_file, source, revision=settings.revision)
        index = fetch(SAFE_WEIGHTS_INDEX_NAME, _raise_exceptions_for_missing_entries=False)
        if index is None:
            return Path(str(fetch(SAFE_WEIGHTS_NAME))).parent
        names = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()
        for name in sorted(set(names)):
            fetch(name)
        return Path(index).parent
