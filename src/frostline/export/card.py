"""What does the page of an exported model say? What trained, what stayed, how well it was shown, and how to use it.

Metadata name only what is known to the hub: ids of models and data sets, the licence of the base where its own card
states one. No path of this machine stands in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from frostline import __version__
from frostline.arms import Prepared
from frostline.export.card_recipe import corpus_name, hub_dataset, model_name, shareable_recipe
from frostline.export.folder import own_file
from frostline.export.kept import Kept
from frostline.export.losses import CheckedLoss
from frostline.export.trained import hub_id
from frostline.export.usage import usage_of
from frostline.readable import plural
from frostline.recipe import EMBEDDED
from frostline.stats import Estimate, RunSummary, verdict_label
from frostline.text import one_line, without_home

CARD_FILE = "README.md"
TAGS = ("frostline", "partial-fine-tuning")
_LIBRARIES = {"folder": "transformers", "adapter": "peft", "patch": "frostline"}
_VERSIONS = ("frostline", "python", "torch", "transformers")


@dataclass(frozen=True)
class Contents:
    """What an export holds, for its card."""

    kind: str
    """`folder`, `patch` or `adapter`."""
    unchanged: str
    """What of the base it keeps, in sentences."""
    checked: CheckedLoss
    drawing: str
    """Which weights trained, drawn in letters."""
    names: tuple[str, ...] = ()
    """Of a patch, the files of the base onto which it belongs."""


def write_card(
    folder: Path, kept: Kept, prepared: Prepared, contents: Contents, summary: RunSummary, base: Path
) -> None:
    """Write the card into `folder`; `base` is the folder of the base model, whose own card may state a licence."""
    metadata = _metadata(kept, prepared, contents, summary, base).to_yaml()
    text = f"---\n{metadata}\n---\n\n{_body(kept, prepared, contents, summary)}"
    ModelCard(without_home(text), ignore_metadata_errors=False).save(folder / CARD_FILE)


def _metadata(kept: Kept, prepared: Prepared, contents: Contents, summary: RunSummary, base: Path) -> ModelCardData:
    own_id, dataset = hub_id(kept), hub_dataset(prepared.recipe.corpus)
    relation = "adapter" if contents.kind == "adapter" else "finetune"
    facts: dict[str, object] = {
        "base_model": own_id or None,
        "base_model_relation": relation if own_id else None,
        "library_name": _LIBRARIES[contents.kind],
        "pipeline_tag": "text-generation",
        "datasets": [dataset] if dataset else None,
        "tags": [*TAGS, *(["lora"] if contents.kind == "adapter" else [])],
        "model_name": f"{one_line(summary.name)}, {kept.arm.name}",
        "eval_results": [_evaluation(kept, prepared, contents, summary)],
        **_licence(base),
    }
    return ModelCardData(**{key: value for key, value in facts.items() if value is not None})  # type: ignore[arg-type]


def _evaluation(kept: Kept, prepared: Prepared, contents: Contents, summary: RunSummary) -> EvalResult:
    corpus, found = prepared.recipe.corpus, _held_out(kept, summary)
    arguments: dict[str, object] = {"seed": kept.arm.seed, "windows": kept.variant.prepared.corpus.held_out_windows}
    if found.low is not None and found.high is not None:
        arguments |= {"mean": found.value, "interval_95": [found.low, found.high], "n": found.n, "over": found.method}
    return EvalResult(
        task_type="text-generation",
        dataset_type=hub_dataset(corpus) or "text",
        dataset_name=corpus_name(corpus),
        dataset_revision=kept.variant.prepared.corpus.revision,
        metric_type="loss",
        metric_name="held-out loss, nats per token",
        metric_value=round(contents.checked.exported, 6),
        metric_args=arguments,
    )


def _licence(base: Path) -> dict[str, object]:
    """What the base's own card says of its licence; nothing is made up."""
    card = own_file(base, CARD_FILE)
    if card is None:
        return {}
    try:
        data = ModelCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return {}
    stated = {key: getattr(data, key, None) for key in ("license", "license_name", "license_link")}
    return {key: value for key, value in stated.items() if isinstance(value, str) and stated["license"]}


def _held_out(kept: Kept, summary: RunSummary) -> Estimate:
    variant = next(own for own in summary.variants if own.variant == kept.variant.label)
    return variant.arms[kept.arm.name].held_out_after


def _body(kept: Kept, prepared: Prepared, contents: Contents, summary: RunSummary) -> str:
    facts = kept.variant.prepared
    base = hub_id(kept) or model_name(prepared.recipe.model)
    shown = (
        f"[{base}](https://huggingface.co/{base})" if hub_id(kept) else f"{facts.model}" if base == EMBEDDED else base
    )
    at = f" at `{facts.model_revision}`" if facts.model_revision else ""
    question = f"\n> {one_line(summary.question)}\n" if summary.question else ""
    sections = [
        f"# {one_line(summary.name)}: {kept.arm.name}\n",
        f"A {'LoRA adapter for' if contents.kind == 'adapter' else 'partial fine-tune of'} {shown}{at}, from a "
        f"controlled experiment with Frostline: arm `{kept.arm.name}`, seed {kept.arm.seed}, "
        f"{plural(kept.steps, 'step')} on {corpus_name(prepared.recipe.corpus)}.\n{question}",
        usage_of(contents.kind, contents.names, base if hub_id(kept) else ""),
        f"## Which weights trained\n\n```\n{contents.drawing}\n```\n\n{contents.unchanged}\n",
        _loss_section(kept, contents, summary),
        _verdicts(kept, summary),
        f"## Recipe\n\nSHA-256 of the resolved recipe: `{summary.recipe_sha256}`\n\n"
        f"```yaml\n{shareable_recipe(kept.run.recipe).rstrip()}\n```\n",
        _versions(kept, summary),
        _limits(kept, summary),
    ]
    return "\n".join(sections)


def _loss_section(kept: Kept, contents: Contents, summary: RunSummary) -> str:
    found, started = _held_out(kept, summary), kept.arm.held_out.get(0)
    before = "" if started is None else f" The untouched model has {started:.4f}."
    interval = ""
    if found.value is not None and found.low is not None and found.high is not None:
        interval = (
            f" Over {plural(found.n, 'seed')} the arm ends at {found.value:.4f} (95 % interval {found.low:.4f} to "
            f"{found.high:.4f})."
        )
    remark = f" {contents.checked.remark}" if contents.checked.remark else ""
    windows = kept.variant.prepared.corpus.held_out_windows
    return (
        f"## Held-out loss\n\n{contents.checked.exported:.4f} nats per token on {plural(windows, 'held-out window')}, "
        f"taken of these very files in {kept.variant.prepared.precision}; the run's own was {contents.checked.run:.4f}."
        f"{before}{interval}{remark}\n"
    )


def _verdicts(kept: Kept, summary: RunSummary) -> str:
    label, arm = kept.variant.label, kept.arm.name
    claims = [own for own in summary.claims if own.variant in ("", label) and own.arm in ("", arm)]
    told = [own for own in claims if own.effect.n]
    untested = sorted({own.id for own in claims} - {own.id for own in told}, key=lambda name: int(name[1:]))
    rows = [
        f"| {own.id} | {_cell(own.claim)} | {verdict_label(own)} | {own.effect.n} | {_cell(own.sentence)} |"
        for own in told
    ]
    head = ["| | claim | verdict | n | what was found |", "| --- | --- | --- | --- | --- |"] if rows else []
    baseline = f"Beside the baseline `{summary.baseline}`; n counts what stands behind each interval.\n"
    rest = f"\nThe run does not test on this arm: {', '.join(untested)}.\n" if untested else ""
    return "\n".join(["## Verdicts\n", baseline, *head, *rows, rest])


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def _versions(kept: Kept, summary: RunSummary) -> str:
    known = {**summary.environment, "frostline": summary.frostline_version}
    trained = ", ".join(f"{name} {known[name]}" for name in _VERSIONS if known.get(name))
    return f"## Versions\n\nTrained with {trained}; exported with frostline {__version__}.\n"


def _limits(kept: Kept, summary: RunSummary) -> str:
    seeds = plural(len(summary.seeds), "seed")
    lines: Sequence[str] = (
        "The loss is that of held-out windows of the text above; it says nothing of other texts.",
        f"Verdicts rest on {seeds} of one model and one text; this is the model of seed {kept.arm.seed} alone.",
        "Whether it is safe or useful was not looked at. The terms of the base model and of the text apply.",
    )
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"
