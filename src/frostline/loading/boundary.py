"""What may a library raise while it loads a model? Nearly anything; here it becomes one sentence, and nowhere else.

A configuration is a stranger's data, and the code that reads it belongs to transformers, tokenizers, safetensors or
comes with the model: a wrong type is a `TypeError` in one family and an `AttributeError` in the next, no heads are a
`ZeroDivisionError`, an unknown kind of rotary embedding is a `KeyError`. None of that is a defect of Frostline, and
its user wants to know which file is at fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from frostline.errors import FrostlineError, ModelError
from frostline.hub import HOW_TO_NAME_A_MODEL, hub_trouble, out_of_reach
from frostline.out_of_memory import is_out_of_memory, want_of_memory
from frostline.recipe import EMBEDDED, ModelSettings, model_folder

SOURCE_KEY = ("model", "source")
"""Key of the recipe at which a model that cannot be loaded is told."""
RAISED_BY_LOADERS: tuple[type[Exception], ...] = (
    OSError,  # a file that is missing, or is not to be read
    ImportError,  # a package for this attention, this tokenizer, these quantised weights
    ValueError,  # transformers' own judgement; JSON and Unicode that are none
    TypeError, AttributeError, LookupError,  # a field of the configuration that is missing, or of another type
    ArithmeticError,  # no heads, no layers
    AssertionError,  # of the code of a family
    RuntimeError,  # PyTorch: shapes that do not fit, negative sizes, no memory
    SafetensorError,
    StrictDataclassError,  # fields that transformers has checked
)  # fmt: skip
"""Every type that one of the libraries was seen to raise for a model folder that is at fault."""
LONGEST_REASON = 100
_NOT_CAUSAL = "Unrecognized configuration class"
"""How transformers begins to say that it has no causal language model for a configuration."""
_WAYS_OUT = {
    "configuration": "Correct config.json, or give a folder as save_pretrained wrote it.",
    "tokenizer": "Copy the tokenizer's files from the model it came with.",
    "weights": "Give a folder as save_pretrained wrote it.",
    "training step": "Give a model of another family.",
    "forward pass": "Weights and config.json may be of two models.",
}
_COMPUTED = ("forward pass", "training step")
"""What takes memory for what is read, and not for what the files ask for."""
_TOO_LARGE = "Use a machine with more memory; or the sizes in config.json are wrong."


@contextmanager
def loading(settings: ModelSettings, what: str) -> Iterator[None]:
    """Whatever a library raises in the block is a `ModelError`: `what` of the model could not be loaded, and why."""
    try:
        yield
    except FrostlineError:
        raise
    except Exception as error:
        # `tokenizers` knows no other type than `Exception` itself.
        if not isinstance(error, RAISED_BY_LOADERS) and type(error) is not Exception:
            raise
        if is_out_of_memory(error) and what in _COMPUTED:
            raise
        raise _not_loaded(settings, what, error) from error


def _not_loaded(settings: ModelSettings, what: str, error: Exception) -> ModelError:
    of_hub = settings.source != EMBEDDED and model_folder(settings) is None
    trouble = hub_trouble() if of_hub and isinstance(error, OSError) else ""
    if trouble:
        return out_of_reach(settings.source, what, trouble)
    if str(error).startswith(_NOT_CAUSAL):
        return ModelError(
            f"'{settings.source}' is of a kind of which transformers has no causal language model.",
            "Give one; of a model that also reads images or sound, save its language model alone.",
        ).at(*SOURCE_KEY)
    if is_out_of_memory(error):
        return ModelError(
            f"the {what} of '{settings.source}' {_failed(what)}: {want_of_memory(error)}.", _TOO_LARGE
        ).at(*SOURCE_KEY)
    reason = reason_of(error)
    end = "" if reason.endswith("...") else "."
    way_out = HOW_TO_NAME_A_MODEL if of_hub else _way_out(what, error)
    return ModelError(f"the {what} of '{settings.source}' {_failed(what)}: {reason}{end}", way_out).at(*SOURCE_KEY)


def _way_out(what: str, error: Exception) -> str:
    if what == "weights" and isinstance(error, ImportError):
        return "Install that package, or take out of config.json what asks for it."
    # No tensor is looked up by a name of its own: what is not found is a kind of something, which config.json names.
    return _WAYS_OUT["configuration" if what == "weights" and isinstance(error, LookupError) else what]


def _failed(what: str) -> str:
    return "fails" if what == "training step" else "could not be loaded"


def reason_of(error: Exception) -> str:
    """The beginning of what `error` says, with its type where that alone says what kind of thing it is."""
    if isinstance(error, StrictDataclassError) and isinstance(error.__cause__, Exception):
        return reason_of(error.__cause__)
    reason = " ".join(str(error).split())
    if isinstance(error, LookupError | ArithmeticError | AssertionError) or not reason:
        reason = f"{type(error).__name__} {reason}".strip()
    reason = reason.rstrip(". ")
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON].rstrip()} ..."
