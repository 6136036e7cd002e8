"""What is said of a corpus before anything is trained? What it is, what is left out, what to know of its windows."""

from __future__ import annotations

from frostline.corpus.conversations import ConversationWindows
from frostline.corpus.read import Source
from frostline.corpus.tokenise import TokenFile
from frostline.corpus.windows import TextWindows
from frostline.recipe import CorpusSettings


def left_out(tokens: TokenFile, windows: TextWindows | ConversationWindows) -> dict[str, int]:
    """Rows left out, by reason."""
    counts = dict(tokens.tally.left_out)
    if isinstance(windows, ConversationWindows):
        counts[f"longer than a window of {windows.length:,} tokens"] = windows.dropped
        counts["without an answer in the window"] = windows.skipped
    return {reason: count for reason, count in counts.items() if count}


def place_of(source: Source, number: int) -> str:
    """The place of the source's row `number`, counted from 0."""
    if source.rows is None:
        return ""
    rows = source.rows(())
    return next((row.place for place, row in enumerate(rows) if place == number), "")


def describe(source: str, settings: CorpusSettings, windows: ConversationWindows, tokens: TokenFile) -> str:
    """The source and its conversations in a few words."""
    reasons = [f"{count:,} {reason}" for reason, count in left_out(tokens, windows).items()]
    what = "conversations" if settings.prompt is None else "prompt/response pairs"
    unrolled = int(tokens.facts.get("unrolled", 0))
    facts = [f"{windows.numbers.size:,} {what}"]
    if unrolled:
        facts.append(f"{unrolled:,} of them read once for each answer")
    if windows.cut:
        facts.append(f"{windows.cut:,} cut to the window")
    return f"{source}, {', '.join(facts)}" + (f"; left out: {', '.join(reasons)}" if reasons else "")


def remarks_of(tokens: TokenFile, windows: TextWindows | ConversationWindows) -> tuple[str, ...]:
    """What should be known of its conversations, a sentence each."""
    remarks = []
    if isinstance(windows, ConversationWindows) and windows.cut:
        remarks.append(
            f"{windows.cut:,} of {windows.numbers.size:,} conversations are longer than a window of {windows.length:,} "
            "tokens and lose their beginning (too_long: cut)"
        )
    if isinstance(windows, ConversationWindows) and windows.dropped:
        remarks.append(f"{windows.dropped:,} conversations longer than a window are left out (too_long: drop)")
    if windows.copies:
        remarks.append(
            f"{windows.copies:,} windows are not trained on, as they hold copies of held-out rows, or parts of them"
            if windows.copies > 1
            else "1 window is not trained on, as it holds a copy of a held-out row, or a part of one"
        )
    without, answers = int(tokens.facts.get("without_end", 0)), int(tokens.facts.get("answers", 0))
    if without:
        which = "every answer" if without == answers else f"{without:,} of {answers:,} answers"
        remarks.append(f"The chat template ends {which} without an end token: the model will not learn to stop there")
    return tuple(remarks)
