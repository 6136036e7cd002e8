"""What does a reader see of a corpus? Its counts, and its first windows with what learns in colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from frostline.arms import ReadCorpora
from frostline.corpus import CorpusPreview, ShownWindow
from frostline.readable import percent, plural
from frostline.report.cards import Fact
from frostline.report.sections import Passage, PlainPage, PlainSection
from frostline.report.table import Table
from frostline.report.write import write_page
from frostline.text import one_line

LEGEND = (
    "Underlined in colour is what learns: the loss counts these tokens. Grey is what the model only reads. Special "
    "tokens have a frame: text that merely looks like one has none."
)


def write_corpora(target: Path, name: str, found: Sequence[ReadCorpora]) -> Path:
    """Write the page of what the experiment `name` reads to `target` and return it. Raises `RunFolderError`."""
    return write_page(target, corpora_page(name, found))


def corpora_page(name: str, found: Sequence[ReadCorpora]) -> PlainPage:
    """The page as data."""
    sections = []
    for read in found:
        label = f", {read.variant}" if read.variant else ""
        sections.append(_section(f"Corpus{label}", read.corpus))
        if read.retention is not None:
            sections.append(_section(f"Retention corpus{label}", read.retention))
    models = list(dict.fromkeys(read.model for read in found))
    facts = [Fact("tokenizer", ", ".join(models))]
    return PlainPage("Frostline · a corpus", name, "What is read, and what of it learns?", facts, sections)


def corpus_facts(corpus: CorpusPreview) -> list[Fact]:
    """What was counted, in words."""
    facts = []
    if corpus.rows or corpus.left_out:
        facts.append(Fact("rows", f"{corpus.rows:,}"))
        first = {reason: f" ({place} first)" for reason, place in corpus.left_out_first.items()}
        reasons = ", ".join(f"{count:,} {reason}{first.get(reason, '')}" for reason, count in corpus.left_out.items())
        left_out = f"{sum(corpus.left_out.values()):,}"
        facts.append(Fact("left out", f"{left_out}: {reasons}" if reasons else left_out))
        facts.append(Fact("cut", f"{corpus.cut:,}", "longer than a window" if corpus.cut else ""))
    facts += [Fact("note", remark) for remark in corpus.remarks]
    used = percent(corpus.distinct_tokens / max(corpus.vocabulary, 1))
    facts += [
        Fact("tokens", f"{corpus.tokens:,}"),
        Fact("learn", f"{plural(corpus.learnt_tokens, 'token')} of all training windows"),
        Fact("vocabulary", f"{corpus.distinct_tokens:,} of {corpus.vocabulary:,} tokens occur", used),
        Fact(
            "windows",
            f"{corpus.windows:,} to train on, {corpus.held_out_windows:,} held out",
            f"of up to {plural(corpus.window_length, 'token')}",
        ),
        Fact(
            "repeated",
            f"{plural(corpus.duplicates, 'row' if corpus.rows else 'paragraph')}, exactly",
            "as they are after cutting" if corpus.cut and corpus.duplicates else "",
        ),
        Fact("overlap", f"{percent(corpus.held_out_overlap)} of held-out 16-grams stand in the training text"),
        Fact("SHA-256", corpus.sha256),
    ]
    if corpus.beginning:
        facts.append(Fact("beginning", f"every window begins with {corpus.beginning}"))
    if corpus.template_date is not None:
        facts.append(Fact("today", f"{corpus.template_date}, as the chat template writes it"))
    if corpus.revision is not None:
        facts.append(Fact("commit", corpus.revision))
    if corpus.checked:
        facts.append(Fact("checked", "every row was read again, and gave the same tokens"))
    return facts


def sizes_of(window: ShownWindow) -> str:
    """How much of a window is read, and how much learns."""
    held_out = ", held out" if window.held_out else ""
    return f"{plural(window.tokens, 'token')}, {window.learnt_tokens:,} that the loss counts{held_out}"


def _section(heading: str, corpus: CorpusPreview) -> PlainSection:
    rows = tuple((fact.name, ", ".join(filter(None, (fact.value, fact.note)))) for fact in corpus_facts(corpus))
    passages = tuple(
        Passage(
            f"Window {number}",
            ". ".join(filter(None, (sizes_of(window), looks_sentence(window)))),
            tuple((_style(stretch.learns, stretch.special), stretch.shown) for stretch in window.stretches),
        )
        for number, window in enumerate(corpus.first, start=1)
    )
    return PlainSection(heading, (corpus.source, LEGEND), tables=(Table(("", ""), rows),), passages=passages)


def _style(learns: bool, special: bool) -> str:
    """Names of the style sheet's classes."""
    return ("learnt" if learns else "read") + (" special" if special else "")


def looks_sentence(window: ShownWindow) -> str:
    """What in a window only looks like a special token; '' if nothing does."""
    named = ", ".join(one_line(token) for token in window.only_look_special)
    return f"Plain text that only looks like a special token: {named}" if named else ""
