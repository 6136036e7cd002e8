"""What `frostline corpus` prints: what is read, counted, and the first windows with what learns in colour.

Where there are no colours, brackets stand around what learns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from frostline.arms import ReadCorpora
from frostline.corpus import LINE_END, CorpusPreview, ShownWindow, Stretch
from frostline.report import corpus_facts, looks_sentence, sizes_of
from frostline.text import one_line, visible

LEARNT, UNLEARNT, SPECIAL_LEARNT, SPECIAL_UNLEARNT = "bold green", "dim", "bold magenta", "dim magenta"
BRACKETS = (("⟦", "⟧"), ("[[", "]]"))
"""Around what learns where there are no colours, and in ASCII."""
HEAD, TAIL = 1200, 800
"""Characters shown of a window's beginning and end; what lies between is told by its length."""


def draw_corpora(read: ReadCorpora) -> RenderableType:
    """A renderable for a rich console."""
    parts: list[RenderableType] = []
    for name, corpus in _corpora(read):
        label = f", {one_line(read.variant)}" if read.variant else ""
        parts += [Text(f"\n{name}: {one_line(corpus.source)}{label}", style="bold"), _counts(corpus)]
        if corpus.first:
            parts += [Text(""), _Legend()]
        for number, window in enumerate(corpus.first, start=1):
            heading = f"\nWindow {number}: {sizes_of(window)}"
            parts += [Text(heading, style="bold"), Padding(_Window(window), (0, 0, 0, 2))]
            if window.only_look_special:
                parts.append(Text(looks_sentence(window), style="yellow"))
    return Padding(Group(*parts), (0, 1))


def corpora_as_json(found: list[ReadCorpora], page: Path | None = None) -> dict[str, object]:
    """Everything that was found, for scripts: the corpus of the first variant, and below `variants` that of each."""
    variants = [_as_json(read) for read in found]
    return {**variants[0], "page": None if page is None else str(page), "variants": variants if found[1:] else []}


def _as_json(read: ReadCorpora) -> dict[str, object]:
    retention = None if read.retention is None else asdict(read.retention)
    return {"variant": read.variant, "model": read.model, **asdict(read.corpus), "retention": retention}


def _corpora(read: ReadCorpora) -> Iterator[tuple[str, CorpusPreview]]:
    yield "Corpus", read.corpus
    if read.retention is not None:
        yield "Retention corpus", read.retention


def _counts(corpus: CorpusPreview) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for fact in corpus_facts(corpus):
        note = f", {one_line(fact.note)}" if fact.note else ""
        table.add_row(fact.name, Text(f"{one_line(fact.value)}{note}"))
    return table


@dataclass(frozen=True)
class _Legend:
    """What the colours or brackets mean."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        opening, closing = _brackets(console, options)
        learnt = f"{opening}what learns{closing}"
        special = f"{opening}special{closing}"
        yield Text.assemble(
            (learnt, LEARNT), "  ", ("what is only read", UNLEARNT), "  ",
            (special, SPECIAL_LEARNT), " and ", ("special", SPECIAL_UNLEARNT), " tokens",
        )  # fmt: skip


@dataclass(frozen=True)
class _Window:
    """A window's text."""

    window: ShownWindow

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        opening, closing = _brackets(console, options)
        text = Text(overflow="fold")
        inside = False
        for stretch in _shortened(self.window.stretches):
            if stretch.learns and not inside:
                text.append(opening)
            elif inside and not stretch.learns:
                text.append("\n" if _close(text, closing) else "")
            inside = stretch.learns
            text.append(visible(stretch.shown), style=_style(stretch))
        if inside:
            _close(text, closing)
        yield text


def _close(text: Text, closing: str) -> bool:
    """Set the bracket behind the sign of a line end, not on the line after it; whether that took the line end away."""
    takes = text.plain.endswith(f"{LINE_END}\n")
    if takes:
        text.right_crop(1)
    text.append(closing)
    return takes


def _brackets(console: Console, options: ConsoleOptions) -> tuple[str, str]:
    if console.color_system is not None and not console.no_color:
        return "", ""
    return BRACKETS[options.ascii_only]


def _style(stretch: Stretch) -> str:
    if stretch.special:
        return SPECIAL_LEARNT if stretch.learns else SPECIAL_UNLEARNT
    return LEARNT if stretch.learns else UNLEARNT


def _shortened(stretches: tuple[Stretch, ...]) -> list[Stretch]:
    """Beginning and end of what is too long for a screen, each stretch with as much as it has of them."""
    characters = sum(len(stretch.text) for stretch in stretches)
    if characters <= HEAD + TAIL:
        return list(stretches)
    shortened: list[Stretch] = []
    begin = 0
    for stretch in stretches:
        end = begin + len(stretch.text)
        head = stretch.text[: max(0, HEAD - begin)]
        tail = stretch.text[max(0, characters - TAIL - begin) :]
        gap = f" … {characters - HEAD - TAIL:,} characters … " if begin < HEAD <= end or begin == HEAD else ""
        if head + gap + tail:
            shortened.append(Stretch(head + gap + tail, stretch.learns, stretch.special))
        begin = end
    return shortened
