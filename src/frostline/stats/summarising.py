"""What does a run mean? From its journal to a `RunSummary`, and that to and from `summary.json`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from frostline.errors import FrostlineError, RunFolderError
from frostline.run_folder import SUMMARY_FILE
from frostline.stats.answer import answer
from frostline.stats.arms import quality_before, quality_reference, summarise_arm
from frostline.stats.bottom_line import bottom_line, cost_details
from frostline.stats.checks import check
from frostline.stats.claims import judge_claims
from frostline.stats.comparisons import compare
from frostline.stats.front import fronts
from frostline.stats.rates import rate_curves
from frostline.stats.runs import VariantRun, read_run
from frostline.stats.summary import FIRST_RULES, FORMAT, RULES, ClaimResult, RunSummary, VariantSummary
from frostline.storage import replace_file

_SUMMARY = TypeAdapter(RunSummary)
_ANSWER, _CLAIMS = TypeAdapter(list[str]), TypeAdapter(list[ClaimResult])


def summarise(run_folder: Path) -> RunSummary:
    """Every number of the run in `run_folder`, from its recipe and journal alone.

    Raises `RunFolderError` where the folder is no run, or damaged.
    """
    run = read_run(run_folder)
    variants = [_summarise_variant(variant) for variant in run.variants]
    recipe = run.recipe
    return RunSummary(
        format=FORMAT,
        name=recipe.name,
        question=recipe.question,
        answer=answer(run, variants),
        status=run.ended.status if run.ended is not None else "interrupted",
        frostline_version=run.started.frostline_version,
        recipe_sha256=run.started.recipe_sha256,
        started_at=run.started.at,
        seconds=None if run.ended is None or not math.isfinite(run.ended.seconds) else run.ended.seconds,
        environment=run.started.environment,
        changes=list(run.changes),
        baseline=recipe.baseline_arm,
        seeds=list(recipe.seeds),
        steps=recipe.training.steps,
        batch=recipe.training.batch,
        accumulation=recipe.training.accumulation,
        window_length=recipe.windows.length,
        order=recipe.windows.order,
        claims=judge_claims(run),
        variants=variants,
        budget_seconds=recipe.training.seconds,
        judged_by=RULES,
    )


def write_summary(run_folder: Path) -> RunSummary:
    """Summarise the run and write `summary.json`, replaced as a whole: a reader never sees half of it."""
    summary = summarise(run_folder)
    text = json.dumps(asdict(summary), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        replace_file(run_folder / SUMMARY_FILE, text.encode(errors="backslashreplace"))  # JSON reads it back
    except OSError as error:
        raise RunFolderError(
            f"{run_folder / SUMMARY_FILE}: cannot be written ({error.strerror}).", "Make room, or fix its permissions."
        ) from error
    return summary


def read_summary(run_folder: Path) -> RunSummary:
    """The summary that `write_summary` wrote.

    Raises `RunFolderError` where it is missing, damaged or of another format.
    """
    path = run_folder / SUMMARY_FILE
    remedy = f"Write it anew with 'frostline report {run_folder}'."
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: there is no such file.", remedy) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunFolderError(f"{path}: cannot be read as JSON.", remedy) from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise RunFolderError(f"{path}: its format is {found!r}, and this version reads {FORMAT}.", remedy)
    try:
        return _SUMMARY.validate_python(values)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RunFolderError(f"{path}, key '{place}': not what a summary has there.", remedy) from error


def judged_by(run_folder: Path) -> str:
    """The version whose rules judged what `summary.json` says; '' where there is none that can be read."""
    values = _values(run_folder)
    return str(values.get("judged_by", FIRST_RULES)) if values.get("format") == FORMAT else ""


def summary_in_its_time(run_folder: Path) -> RunSummary:
    """What a reader of the run is told: `summary.json`, or the summary made anew from the journal if there is none.

    Of a summary that earlier rules judged, answer and verdicts stand as they were; all other numbers are made anew.
    Raises `RunFolderError` as `read_summary` and `summarise` do.
    """
    if not (run_folder / SUMMARY_FILE).is_file():
        return summarise(run_folder)
    version = judged_by(run_folder)
    if version in ("", RULES):
        return read_summary(run_folder)
    values = _values(run_folder)
    try:
        answers, claims = _ANSWER.validate_python(values.get("answer")), _CLAIMS.validate_python(values.get("claims"))
    except ValidationError as error:
        raise RunFolderError(
            f"{run_folder / SUMMARY_FILE}: its claims are not what a summary has there.",
            "Move it away, and write it anew with 'frostline report'.",
        ) from error
    try:
        anew = summarise(run_folder)
    except FrostlineError:  # a recipe that means nothing today: what was said then is still to be read
        return read_summary(run_folder)
    return replace(anew, answer=answers, claims=claims, judged_by=version)


def _values(run_folder: Path) -> dict[str, object]:
    """`summary.json` as a mapping; empty where it cannot be read as one."""
    try:
        values = json.loads((run_folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return {}
    return values if isinstance(values, dict) else {}


def _summarise_variant(variant: VariantRun) -> VariantSummary:
    prepared, recipe = variant.prepared, variant.recipe
    windows_read = recipe.training.steps * recipe.training.batch * recipe.training.accumulation
    # One set of continuations a seed, whichever arm hands it out.
    untouched = list({run.seed: run for arm in variant.arms for run in variant.of(arm)}.values())
    arms = {arm: summarise_arm(variant, arm) for arm in variant.arms}
    return VariantSummary(
        variant=prepared.variant,
        model=prepared.model,
        parameters=prepared.parameters,
        layers=prepared.layers,
        corpus=prepared.corpus.description,
        corpus_sha256=prepared.corpus.sha256,
        corpus_tokens=prepared.corpus.tokens,
        corpus_rows=prepared.corpus.rows,
        corpus_left_out=prepared.corpus.left_out,
        corpus_cut=prepared.corpus.cut,
        template_date=prepared.corpus.template_date,
        windows=prepared.corpus.windows,
        held_out_windows=prepared.corpus.held_out_windows,
        beginning=prepared.corpus.beginning_text,
        duplicates=prepared.corpus.duplicates,
        held_out_overlap=prepared.corpus.held_out_overlap,
        epochs=windows_read / max(1, prepared.corpus.windows),
        precision=prepared.precision,
        inexact=list(recipe.training.inexact),
        device=prepared.device,
        schedule=prepared.schedule,
        common_share_of_corpus=prepared.common_share_of_corpus,
        checks=check(variant),
        quality_before=quality_before(untouched),
        quality_reference=quality_reference(untouched),
        judge=prepared.judge,
        arms=arms,
        comparisons=compare(variant),
        held_out_copied_windows=_copied_windows(variant),
        retention="" if prepared.retention is None else prepared.retention.description,
        race_windows=prepared.corpus.race_windows,
        rates=rate_curves(variant),
        bottom_line=bottom_line(arms, variant.baseline),
        cost_details=cost_details(arms, variant.baseline),
        fronts=fronts(variant),
    )


def _copied_windows(variant: VariantRun) -> int | None:
    overlap = variant.prepared.corpus.held_out_window_overlap
    return sum(share > 0 for share in overlap) if overlap else None
