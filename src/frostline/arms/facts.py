"""What is trained on what? A variant's model, corpora, precision and device, as the journal tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from transformers import PreTrainedTokenizerBase

from frostline.arms.own_text import OwnText
from frostline.arms.prepared import Prepared, at_commits
from frostline.corpus import Corpus, tokenizer_sha256
from frostline.loading import context_length, model_title
from frostline.recipe import CorpusSettings, Recipe, Variant
from frostline.run_folder import CorpusFacts, VariantPrepared


def facts_of(prepared: Prepared) -> VariantPrepared:
    """The record of what is trained on what, by which a later process knows it again."""
    model = prepared.model
    common = prepared.corpus.common_tokens(prepared.recipe.measures.common_tokens)
    resolved = next(iter(prepared.arms.values())).resolved
    judge = prepared.recipe.measures.judge
    return VariantPrepared(
        variant=prepared.variant,
        model=model_title(prepared.recipe.model),
        model_class=type(model).__name__,
        model_sha256=prepared.identity.sha256,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=resolved.layers,
        context_length=context_length(model),
        corpus=_corpus_facts(prepared.corpus, prepared.tokenizer),
        retention=_retention_facts(prepared),
        precision=prepared.precision,
        device=prepared.device.type,
        schedule=prepared.schedule,
        common_tokens=[str(prepared.tokenizer.decode(token)) for token in common.tolist()],
        common_share_of_corpus=prepared.corpus.share_of(common),
        model_code=prepared.recipe.model.trusted_code,
        chosen=prepared.chosen,
        chosen_by_seed={str(seed): chosen for seed, chosen in prepared.chosen_by_seed.items()},
        model_revision=prepared.recipe.model.revision,
        configuration_sha256=prepared.identity.configuration_sha256,
        tokenizer_sha256=tokenizer_sha256(prepared.tokenizer),
        judge="" if prepared.judge is None or judge is None else model_title(judge),
        judge_sha256="" if prepared.judge is None else prepared.judge.sha256,
    )


def pinned(variant: Variant, then: VariantPrepared) -> Variant:
    """`variant` with the commits of the hub and the day that `then` was prepared from: both may have moved since."""
    recipe = variant.recipe
    retention = None if then.retention is None else then.retention.revision
    recipe = at_commits(recipe, then.model_revision, then.corpus.revision, retention)
    days = {
        "corpus": then.corpus.template_date,
        "retention": None if then.retention is None else then.retention.template_date,
    }
    written = () if then.retention is None else tuple(map(tuple, then.retention.own_text))
    return replace(variant, recipe=_dated(recipe, days), own_text=written)


def pinned_beside(variant: Variant, begun: Sequence[VariantPrepared], day: date) -> Variant:
    """`variant`, which has not begun, of a run that began on `day`: with the day and the commits of those that have.

    One experiment reads one state of the hub and writes one date, however often it was stopped.
    """
    recipe = variant.recipe
    for other in begun:
        if other.model == model_title(recipe.model):
            recipe = at_commits(recipe, other.model_revision, None, None)
        retention = None if other.retention is None else other.retention.revision
        recipe = at_commits(recipe, None, other.corpus.revision, retention)
        days = [facts.template_date for facts in (other.corpus, other.retention) if facts is not None]
        day = next((date.fromisoformat(known) for known in days if known is not None), day)
    return replace(variant, recipe=dated(recipe, day))


def dated(recipe: Recipe, day: date) -> Recipe:
    """`recipe` with `day` as what chat templates take for today."""
    return _dated(recipe, {"corpus": day.isoformat(), "retention": day.isoformat()})


def _dated(recipe: Recipe, days: Mapping[str, str | None]) -> Recipe:
    changed = {
        key: settings.dated(date.fromisoformat(day))
        for key, day in days.items()
        if day is not None and isinstance(settings := getattr(recipe, key), CorpusSettings)
    }
    return recipe.model_copy(update=changed) if changed else recipe


def _retention_facts(prepared: Prepared) -> CorpusFacts | None:
    retention = prepared.retention
    if retention is None or isinstance(retention, OwnText):
        return None if retention is None else retention.facts()
    return _corpus_facts(retention, prepared.tokenizer)


def _corpus_facts(corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> CorpusFacts:
    return CorpusFacts(
        description=corpus.description,
        sha256=corpus.sha256,
        tokens=corpus.tokens,
        distinct_tokens=corpus.distinct_tokens,
        windows=corpus.windows,
        held_out_windows=corpus.held_out_windows,
        tokens_sha256=corpus.tokens_sha256,
        revision=corpus.revision,
        rows=corpus.rows,
        left_out=corpus.left_out,
        beginning=list(corpus.beginning),
        beginning_text=str(tokenizer.decode(list(corpus.beginning))) if corpus.beginning else "",
        duplicates=corpus.duplicates,
        held_out_overlap=corpus.held_out_overlap,
        held_out_window_overlap=list(corpus.held_out_window_overlap),
        cut=corpus.cut,
        race_windows=corpus.race_windows,
        template_date=corpus.template_date,
        held_out_files=list(corpus.held_out_files),
    )
