"""What is there before any arm is made? The untouched model of one variant, the texts it reads, and their judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frostline.arms.excerpt import Excerpt, excerpt_of
from frostline.arms.fits import free_bytes, require_fitting
from frostline.arms.own_text import OwnText, unwritten_own_text, write_own_text
from frostline.arms.padding import without_needless_mask
from frostline.arms.window_length import require_window_length
from frostline.corpus import Corpus, beginning_of, open_corpus, remarks_on
from frostline.engine import on_device, require_compiler, require_low_bit, resolve_device, resolve_precision
from frostline.errors import RecipeError, at
from frostline.loading import (
    context_length,
    filed_context_length,
    in_place_bytes,
    load_model,
    load_tokenizer,
    load_unread,
    needs_conversion,
    require_embedded_ids,
    require_model_files,
)
from frostline.measures import Judge, ModelIdentity, identify, judge_of, require_going_on
from frostline.plans import few_layers
from frostline.recipe import CorpusSettings, Recipe, Variant, loading_judge

LARGEST_RESIDENT_SHARE = 0.5
"""Share of the free memory that the weights of a model may take and stay there, frozen layers included."""
Say = Callable[[str], None]
Reading = Callable[[int, int], None]
"""Told how many bytes of how many were read."""


@dataclass(frozen=True)
class Untouched:
    """The untouched model on its device."""

    model: PreTrainedModel
    identity: ModelIdentity
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    precision: str
    beginning: tuple[int, ...]
    """Token ids before the text of every window of running text."""
    by_cache: bool | None
    """Whether text is sampled by the model's cache of keys and values; None where none is sampled."""
    streamed: bool
    """Whether the model has no room in memory: what is asked of it is asked of one layer of each kind."""
    excerpt: Excerpt | None = None
    """What stands for the model where its weights are not read."""

    @property
    def tried(self) -> PreTrainedModel:
        """What runs where a question is put to the model."""
        return self.model if self.excerpt is None else self.excerpt.model


def load_untouched(recipe: Recipe, cache: Path, say: Say, *, unread: bool = False) -> Untouched:
    """The model of `recipe`, which can read windows of its length and go on from its prompts.

    With `unread`, nothing of its weights is read but those of a few layers, which stand for it where that can be; then
    it stays on the CPU, and is not proved to be what its files hold.
    """
    device = resolve_device(recipe.training.device)
    precision = resolve_precision(recipe.training.precision, device)
    if recipe.training.compile and recipe.training.engine == "fast":
        require_compiler(device.type)
    require_low_bit(recipe.training, device)
    say(f"Model: {recipe.model.source}")
    if needs_conversion(recipe.model, cache):
        say("Converting the embedded model to safetensors, once")
    require_model_files(recipe.model, cache)
    limit = filed_context_length(recipe.model, cache)
    require_window_length(recipe, limit)  # before memory, of which it would only be told how to have it
    require_fitting(recipe, cache)
    tokenizer = load_tokenizer(recipe.model, cache)
    dropout, excerpt = recipe.training.dropout, None
    room = int(LARGEST_RESIDENT_SHARE * free_bytes(device))
    if unread:
        model = load_unread(recipe.model, cache, dropout=dropout)
        excerpt = excerpt_of(model)
    if excerpt is None:
        model = load_model(recipe.model, cache, dropout=dropout, as_filed=precision, room_bytes=room, say=say)
    identity = identify(model, recipe.model.trusted_code)
    beginning = beginning_of(tokenizer) if recipe.windows.beginning == "auto" else ()
    _require_prompts(recipe, limit, len(beginning))
    streamed = in_place_bytes(model) > room
    tried = on_device(model if excerpt is None else excerpt.model, device)
    by_cache, sampling = None, recipe.measures.sampling
    if sampling.prompts:
        longest = len(beginning) + sampling.prompt_tokens + sampling.new_tokens
        with few_layers(tried, wanted=streamed):
            by_cache = require_going_on(tried, device=device, precision=precision, longest=longest)
    return Untouched(model, identity, tokenizer, device, precision, beginning, by_cache, streamed, excerpt)


def open_text(
    corpus: CorpusSettings,
    recipe: Recipe,
    untouched: Untouched,
    cache: Path,
    say: Say,
    reading: Reading | None,
    *,
    retention: bool = False,
) -> Corpus:
    """The corpus of `recipe` or, with `retention`, that on which forgetting is measured."""
    say(f"{'Retention corpus' if retention else 'Corpus'}: {corpus.source}")
    with at("retention" if retention else "corpus"):
        opened = open_corpus(
            corpus,
            recipe.windows,
            untouched.tokenizer,
            cache=cache,
            progress=reading,
            embeddings=_embeddings(untouched.model),
            race=0 if retention else recipe.race_windows,
        )
    require_embedded_ids(untouched.model, untouched.tokenizer, opened)
    for sentence in remarks_on(opened, untouched.tokenizer):
        say(sentence)
    with few_layers(untouched.tried, wanted=untouched.streamed):
        return without_needless_mask(opened, untouched.tried, device=untouched.device, precision=untouched.precision)


def open_retention(
    variant: Variant, recipe: Recipe, untouched: Untouched, cache: Path, say: Say, reading: Reading | None
) -> Corpus | OwnText | None:
    """What forgetting is measured on: a corpus, else the model's own text, that of `variant` if it has been written."""
    if recipe.retention_corpus is not None:
        return open_text(recipe.retention_corpus, recipe, untouched, cache, say, reading, retention=True)
    if not recipe.samples_retention:
        return None
    if variant.own_text:
        return OwnText(variant.own_text, untouched.beginning)
    if untouched.excerpt is not None:
        return unwritten_own_text(recipe.windows.length, untouched.beginning)
    say("Retention: text that the untouched model writes itself")
    return write_own_text(
        untouched.model,
        recipe.windows.length,
        cache,
        identity=untouched.identity,
        device=untouched.device,
        precision=untouched.precision,
        beginning=untouched.beginning,
        by_cache=untouched.by_cache,
    )


def load_judge(recipe: Recipe, untouched: Untouched, cache: Path, say: Say) -> Judge | None:
    """The model that judges generated text, where the recipe names one and text is sampled."""
    settings = recipe.measures.judge
    if settings is None or recipe.measures.sampling.prompts == 0:
        return None
    say(f"Judge of generated text: {settings.source}")
    with loading_judge():
        require_model_files(settings, cache)
        tokenizer = load_tokenizer(settings, cache)
        judge = load_model(settings, cache, dropout=0.0, as_filed=untouched.precision)
    found = judge_of(identify(judge, settings.trusted_code), tokenizer, context_length(judge), of=untouched.model)
    return replace(found, model=on_device(judge, untouched.device))


def _require_prompts(recipe: Recipe, limit: int | None, before: int) -> None:
    """Raise `RecipeError` where a window has no room for a prompt, or the model none for what it writes after one.

    `limit` is what the model can read at once, `before` how many tokens stand before the text of a window.
    """
    sampling, text = recipe.measures.sampling, recipe.windows.length - before
    if sampling.prompts and sampling.prompt_tokens > text > 0:
        raise RecipeError(
            f"{sampling.prompt_tokens} tokens are more than a window of {text}, from which prompts are taken.",
            f"Use {text} or less.",
        ).at("measures", "sampling", "prompt_tokens")
    if limit is not None and sampling.prompts and before + sampling.prompt_tokens + sampling.new_tokens > limit:
        raise RecipeError(
            f"{sampling.prompt_tokens} prompt tokens and {sampling.new_tokens} new ones are more than the {limit} that "
            "the model can read at once.",
            "Use fewer.",
        ).at("measures", "sampling")


def _embeddings(model: PreTrainedModel) -> int | None:
    """How many token ids the model can look up; None where it keeps them in a way of its own."""
    weight = getattr(model.get_input_embeddings(), "weight", None)
    return int(weight.shape[0]) if isinstance(weight, torch.Tensor) else None
