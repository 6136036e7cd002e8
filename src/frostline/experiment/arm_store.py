"""Was this arm trained before? Then its records are taken from the cache folder, and it is not trained again.

An arm of a replicate is a pure function of what its key hashes: model, tokenizer, corpora, order, plan, settings, seed,
measures, code, versions, precision, device and threads. Where files lie and what they are called is no part of it. What
is kept is its journal, under that key, written whole or not at all and checked byte for byte when it is read. Only arms
that finished are kept. Their times belong to the run that took them: `ArmStarted.reused_from` names it.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from frostline.arms import OwnText, Prepared
from frostline.corpus import Corpus, tokenizer_sha256
from frostline.measures import forward_conditions
from frostline.recipe import CorpusSettings, Recipe
from frostline.storage import Facts, cache_trouble, default_bound, entry_bytes, open_entry, remove_whole, seal, used_at

LINES_FILE = "journal.jsonl"
RACE = "race of rates"
"""What is kept of an arm beside its journal: the trials of its learning rates."""
ALWAYS_KEPT_BYTES = 1_000_000_000
"""Bytes kept whatever the disk has free; beyond that a tenth of it, what was not used for longest going first."""
LOOKING_SHARE = 16
"""One in so many arms, by its key, is followed by a look at all that is kept: on a disk that many machines share, to
look takes as long as a few steps."""

Line = dict[str, object]


@dataclass(frozen=True)
class KeptArm:
    """What is known about an arm that was trained before."""

    trained_by: str
    """Name of the experiment and when it began."""
    lines: list[Line]
    """Lines of its journal, in order."""


@dataclass(frozen=True)
class ArmStore:
    """The arms of one variant of a run, in the cache folder."""

    folder: Path
    origin: str
    """Who keeps what it trains: see `origin_of`."""
    identity: str
    """What all arms of the variant have in common, as JSON."""

    def key(self, prepared: Prepared, arm: str, seed: int, what: str = "journal") -> str:
        """SHA-256 of all that decides the records of `arm`; '' is the untouched model."""
        recipe = prepared.recipe
        own: dict[str, object] = {"what": what, "seed": seed}
        if arm:
            settings = prepared.settings_of(arm, seed)
            own |= {
                "arm": settings.model_dump(mode="json", exclude={"learning_rate", "weight_decay"}),
                "learning_rate": recipe.learning_rate_of(arm),
                "weight_decay": recipe.weight_decay_of(arm),
                "steps": prepared.arms[arm].steps,
            }
        if what == RACE:
            own["rates"] = recipe.training.rates
        return hashlib.sha256(f"{self.identity}\n{json.dumps(own, sort_keys=True)}".encode()).hexdigest()

    def holds(self, key: str) -> bool:
        """Whether something is kept under `key`, whole or not."""
        return (self.folder / key).is_dir()

    def find(self, key: str) -> KeptArm | None:
        """What is kept under `key`, if it is whole."""
        entry = open_entry(self.folder, key)
        if entry is None:
            return None
        try:
            text = (entry.folder / LINES_FILE).read_text(encoding="utf-8")
        except OSError:  # another process has just made room
            return None
        with suppress(OSError):
            os.utime(entry.folder)  # used now: others go first
        return KeptArm(str(entry.facts["trained_by"]), [json.loads(line) for line in text.splitlines()])

    def keep(self, key: str, lines: bytes) -> None:
        """Keep `lines` under `key`. Raises `CacheError` where the cache folder cannot be written."""

        def write(folder: Path) -> Facts:
            (folder / LINES_FILE).write_bytes(lines)
            return {"trained_by": self.origin}

        try:
            seal(self.folder, key, write)
        except OSError as error:
            raise cache_trouble(error, self.folder) from error
        if int(key[:8], 16) % LOOKING_SHARE == 0:
            _make_room(self.folder, key)


def origin_of(recipe: Recipe, started_at: str, group: str = "") -> str:
    """What the run is called that keeps an arm: its name and when it began.

    With the `group` where a unit of a cluster does one of several groups of a replicate: the baseline that one of them
    has trained had other neighbours, and its times do not compare with those of another's arms.
    """
    return ", ".join([recipe.name, started_at, *([group] if group else [])])


def open_arm_store(prepared: Prepared, cache: Path, started_at: str, group: str = "") -> ArmStore:
    """The store for the arms of `prepared`; `started_at` is when this run began, `group` as in `origin_of`."""
    recipe = prepared.recipe
    retention: object = None
    if isinstance(prepared.retention, OwnText):
        retention = prepared.retention.sha256
    elif prepared.retention is not None and recipe.retention_corpus is not None:
        retention = _corpus_identity(prepared.retention, recipe.retention_corpus)
    # Device and precision are those that `auto` became; each arm has its own rate, decay and steps.
    elsewhere = {
        "schedule",
        "device",
        "precision",
        "learning_rate",
        "weight_decay",
        "steps",
        "seconds",
        "rates",
        "sharding",
    }
    identity = {
        **forward_conditions(prepared.identity, prepared.device, prepared.precision),
        "tokenizer": tokenizer_sha256(prepared.tokenizer),
        "corpus": _corpus_identity(prepared.corpus, recipe.corpus),
        "retention": retention,
        "windows": {**recipe.windows.model_dump(mode="json"), "race": prepared.corpus.race_windows},
        "training": recipe.training.model_dump(mode="json", exclude=elsewhere),
        # It changes no result, but arms that trained one after another have times that do not compare.
        "schedule": prepared.schedule,
        "measures": recipe.measures.model_dump(mode="json", exclude={"memory", "judge"}),
        "judge": None if prepared.judge is None else prepared.judge.sha256,
    }
    if prepared.is_sharded:  # their number decides rounding
        identity["processes"] = prepared.world.size
    return ArmStore(cache / "arms", origin_of(recipe, started_at, group), json.dumps(identity, sort_keys=True))


def _corpus_identity(corpus: Corpus, settings: CorpusSettings) -> dict[str, object]:
    """The tokens, however they came about: where the corpus lay, its format and its columns do not matter any more."""
    return {
        "tokens": corpus.tokens_sha256,
        "limit": settings.tokens,
        "held out within": settings.held_out_within,
        "padding": corpus.padding_id,
        "beginning": corpus.beginning,
        "layout": corpus.layout,
    }


def _make_room(folder: Path, key: str) -> None:
    """Remove what was not used for longest until the rest is within bounds; `key` stays, whatever the clocks say.

    An arm goes as a whole, and whoever wants to read it trains it again.
    """
    sizes = entry_bytes(folder)
    total = sum(sizes.values())
    if total <= ALWAYS_KEPT_BYTES:
        return
    with suppress(OSError):
        bound = max(ALWAYS_KEPT_BYTES, default_bound(folder))
        for path in sorted(sizes, key=used_at):
            if total <= bound:
                return
            if path.name != key:
                with suppress(OSError):  # another process removes it as well
                    remove_whole(path)
                total -= sizes[path]
