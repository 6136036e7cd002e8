"""What is run to be compared? Shipped recipes, cut short, and every kind of plan, corpus and setting on tiny models."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Literal, cast

import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

import frostline
from bench.identity.files import RECORDED_FILE, Status, mapping, read_json, sha256_of, wanted

DECIDING_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "peft", "polars")
STOP_AFTER_STEPS = 30
"""Steps that a run has taken, over all of its arms, when it is stopped midway."""
CUT = (
    "model={source: embedded}", "training.steps=3", "training.batch=1", "training.schedule=lock-step",
    "windows.length=64", "windows.held_out=2", "seeds=[0]", "measures.evaluate_every=2", "measures.memory=false",
    "measures.sampling={prompts: 2, prompt_tokens: 8, new_tokens: 6}",
)  # fmt: skip
"""What cuts a shipped recipe to seconds."""
OWN_CUT = {
    "demo": ("seeds=[0, 1]",),
    "gradual": (
        "arms.thaw.changes=[{at: 1, thaw: ['attn@50%:75%', 'mlp@50%:75%']}, {at: 2, thaw: ['attn@:50%', 'mlp@:50%']}]",
        "arms.freeze-up.changes=[{at: 1, freeze: ['attn@:50%', 'mlp@:50%']}, {at: 2, freeze: ['attn@50%:75%']}]",
    ),
    "moby-dick-small": ("retention={source: embedded, tokens: 3000}", "training.warmup=2"),
    "own-text": ("retention={source: embedded, tokens: 3000}", "training.warmup=2"),
    "scarcity": ("vary={corpus.tokens: [2000, 4000]}", "training.steps=2"),
}
"""And what the cut of one recipe needs besides."""
READS_A_TEXT = ("moby-dick", "moby-dick-small", "own-text")
WORDS = 93
"""Words that the small models know, beside four special tokens."""

Arms = dict[str, dict[str, object]]
Manner = Literal["run", "stopped", "killed", "again", "retried", "advise"]

LAYERED: Arms = {
    "full": {"train": "all"},
    "full-again": {"train": "all"},
    "upper": {"train": ["attn.qkv@50%:"]},
    "reversed": {"freeze": ["attn@50%:"]},
    "query": {"train": ["attn.q@:2"]},
    "key": {"train": ["attn.k@-1"]},
    "value-output": {"train": ["attn.v@1:3", "attn.o@::2"]},
    "attention": {"train": "attn@25%:75%"},
    "gate-up-down": {"train": ["mlp.gate@3", "mlp.up@-2:", "mlp.down@0"]},
    "mlp": {"train": ["mlp@2:"]},
    "norm": {"train": ["norm"]},
    "embed": {"train": ["embed"]},
    "head": {"train": ["head"]},
    "all-but-ends": {"freeze": ["embed", "head"]},
    "last": {"train": ["all@-1:"], "learning_rate": 3e-3, "weight_decay": 0.2},
    "glob": {"train": ["name:*layers.[12].mlp.*"]},
    "regex": {"train": [r"re:layers\.(1|3)\.self_attn\.[qv]_proj"]},
    "freeze-mixed": {"freeze": ["name:*norm*", "re:embed", "attn.k@:50%"]},
}
FUSED: Arms = {
    "full": {"train": "all"},
    "query": {"train": ["attn.q@1:"]},
    "key-value": {"train": ["attn.k@50%:", "attn.v@50%:"]},
    "upper": {"train": ["attn.qkv@50%:"]},
    "freeze-key": {"freeze": ["attn.k"]},
    "bias": {"train": ["bias"]},
    "bias-upper": {"train": ["bias@2:", "norm@2:"]},
    "tied": {"train": ["embed", "head"]},
    "freeze-tied": {"freeze": ["embed", "head"]},
    "mlp": {"train": ["mlp.up@-1", "mlp.down@-1"]},
    "glob": {"train": ["name:*h.3.attn.c_attn.weight"]},
    "regex": {"train": [r"re:h\.[02]\.mlp\.c_(fc|proj)"]},
    "thaw-key": {"train": ["attn.q"], "changes": [{"at": 2, "thaw": ["attn.k@2:"]}, {"at": 3, "freeze": ["attn.q"]}]},
    "lora": {"lora": {"rank": 4, "targets": ["attn.qkv"]}, "learning_rate": 2e-2},
    "lora-mlp": {"lora": {"rank": 2, "targets": ["mlp.up@2:", "attn.o"]}},
}
CHANGING: Arms = {
    "full": {"train": "all"},
    "thaw": {
        "train": ["attn@75%:", "mlp@75%:"],
        "changes": [{"at": 2, "thaw": ["attn@50%:75%"]}, {"at": 3, "thaw": ["all"]}],
    },
    "freeze-up": {"train": ["attn", "mlp"], "changes": [{"at": 2, "freeze": ["attn@:50%"]}]},
    "both-ways": {
        "train": ["attn.qkv@2:"],
        "changes": [{"at": 1, "thaw": ["mlp@3"]}, {"at": 3, "freeze": ["attn.q"]}, {"at": 3, "thaw": ["norm"]}],
    },
    "freeze-then-thaw": {"freeze": ["mlp", "embed"], "changes": [{"at": 2, "thaw": ["mlp@-1:"]}]},
    "to-nothing-below": {"train": "all", "changes": [{"at": 4, "freeze": ["embed", "all@:3"]}]},
    "lora": {"lora": {"rank": 4, "targets": ["attn.qkv"]}, "learning_rate": 2e-2},
    "lora-upper": {"lora": {"rank": 2, "alpha": 3, "targets": ["attn.qkv@50%:", "mlp.down@-1"]}},
    "lora-name": {"lora": {"rank": 2, "targets": ["name:*.1.*proj*"]}},
}
CHOSEN: Arms = {
    "full": {"train": "all"},
    "gradient-norm": {"train": ["top:25% by gradient-norm"]},
    "gradient-weight": {"train": ["top:25% by gradient-weight"]},
    "fisher-bottom": {"train": ["bottom:25% by fisher"]},
    "snr": {"train": ["top:12.5% by snr"]},
    "ablation": {"train": ["top:50% by ablation"]},
    "block-influence": {"freeze": ["top:50% by block-influence"]},
    "foreign": {"train": ["bottom:50% by foreign", "norm"]},
    "chance": {"train": ["top:25% by random"]},
    "chance-7": {"train": ["bottom:25% by random-7"]},
    "thawed-by-signal": {"train": ["head"], "changes": [{"at": 2, "thaw": ["top:25% by gradient-norm"]}]},
    "lora-by-signal": {"lora": {"rank": 2, "targets": ["top:25% by snr"]}},
}
FEW: Arms = {name: LAYERED[name] for name in ("full", "upper", "last")}
MIXED: Arms = {
    "full": FUSED["full"], "query": FUSED["query"], "thaw": CHANGING["thaw"], "freeze-up": CHANGING["freeze-up"],
    "lora": FUSED["lora"],
}  # fmt: skip
SETTINGS: dict[str, tuple[str, ...]] = {
    "reference": ("training.engine=reference",),
    "accumulation-linear": ("training.accumulation=3", "training.batch=1", "training.decay=linear"),
    "unclipped": ("training.gradient_clipping=null", "training.weight_decay=0", "training.prefix_cache.use=never"),
    "clipped-cosine": (
        "training.gradient_clipping=0.05", "training.betas=[0.8, 0.95]", "training.epsilon=1e-6",
        "training.decay=cosine", "training.warmup=2",
    ),
    "bf16-checkpointing": ("training.precision=bf16", "training.checkpointing=true"),
    "int8": ("training.frozen_weights=int8",),
    "epochs-stored": ("corpus.tokens=1000", "training.batch=4", "training.steps=6", "training.prefix_cache.use=always"),
    "random-order": ("windows.order=random", "training.schedule=one-by-one", "baseline=upper", "seeds=[3, 1]"),
    "retention": (
        "retention={source: general.txt}", "measures.evaluate_every=1",
        "measures.sampling={prompts: 4, prompt_tokens: 5, new_tokens: 40, temperature: 0.7, top_p: 0.9}",
    ),
    "measured": ("measures.memory=true", "measures.weight_change_every=2", "measures.watch=[mlp, 'attn.q@::2', norm]"),
    "unmeasured": ("measures={evaluate_every: 0, weight_change_every: 0, sampling: {prompts: 0}, memory: false}",),
    "vary-model": ("vary={model.source: [LLAMA, GPT2]}",),
}  # fmt: skip
CORPORA: dict[str, str] = {
    "pairs": "{source: pairs.jsonl, prompt: prompt, response: response}",
    "jsonl": "{source: pairs.jsonl, column: response}",
    "csv": "{source: rows.csv, column: words}",
    "folder": "{source: folder}",
}


@dataclass(frozen=True)
class Case:
    """One run that is compared."""

    recipe: str
    """Text of its recipe."""
    overrides: tuple[str, ...] = ()
    manner: Manner = "run"
    """`stopped` by SIGTERM, or `killed`, and then resumed; run `again`, so that arms are taken from the first time;
    `retried` after an arm failed; or an advice."""


def record(folder: Path, only: list[str], text: Path | None) -> None:
    """Run the cases that match `only` into `folder`; those that are there already are left as they are."""
    # The place of models and texts is part of a resolved recipe and of its hash: it is the same for all recordings.
    inputs = Path(tempfile.gettempdir()) / "frostline-identity"
    _write_inputs(inputs)
    print(f"Frostline {frostline.__version__} from {Path(frostline.__file__).parent}", flush=True)
    status: Status = {}
    if (folder / RECORDED_FILE).exists():
        status = cast("Status", mapping(read_json(folder / RECORDED_FILE))["status"])
    for name, case in _cases(inputs, text).items():
        if not wanted(name, only):
            continue
        if name in status:
            print(f"{name}: recorded before")
            continue
        began = time.monotonic()
        status[name] = _run_case(folder, name, case)
        conditions = {"conditions": _conditions(inputs), "status": status}
        (folder / RECORDED_FILE).write_text(json.dumps(conditions, indent=1) + "\n", encoding="utf-8")
        ended = ", ".join(map(str, status[name]))
        print(f"{name}: {time.monotonic() - began:.0f} s, ended with {ended}", flush=True)


def _cases(inputs: Path, text: Path | None) -> dict[str, Case]:
    """Everything that is compared, by name."""
    cases: dict[str, Case] = {}
    for entry in sorted((files("frostline") / "recipe" / "library").iterdir(), key=lambda entry: entry.name):
        shipped = entry.name.removesuffix(".yaml")
        corpus = "corpus={source: embedded, tokens: 4000}"
        if text is not None and shipped in READS_A_TEXT:
            corpus = f"corpus={{source: '{_kept_text(text, inputs)}', tokens: 6000}}"
        overrides = (*CUT, corpus, *OWN_CUT.get(shipped, ()))
        cases[f"shipped-{shipped}"] = Case(entry.read_text(encoding="utf-8"), overrides)
    for name, model, arms in (
        ("layers", "llama", LAYERED), ("fused", "gpt2", FUSED), ("changes", "llama", CHANGING),
        ("chosen", "llama", CHOSEN),
    ):  # fmt: skip
        cases[f"plan-{name}"] = Case(_recipe(inputs, model, arms, save=list(arms), seeds=[0]))
    for name, overrides in SETTINGS.items():
        placed = tuple(
            override.replace("general.txt", str(inputs / "general.txt"))
            .replace("LLAMA", str(inputs / "llama"))
            .replace("GPT2", str(inputs / "gpt2"))
            for override in overrides
        )
        cases[f"setting-{name}"] = Case(_recipe(inputs, "llama", FEW), placed)
    cases["setting-mixed-bf16"] = Case(_recipe(inputs, "gpt2", MIXED, save=list(MIXED)), ("training.precision=bf16",))
    for name, corpus in CORPORA.items():
        placed_corpus = corpus.replace("source: ", f"source: {inputs}/")
        cases[f"corpus-{name}"] = Case(_recipe(inputs, "llama", FEW), (f"corpus={placed_corpus}",))
    # Long enough to be stopped midway: its checkpoints come far more often than time would allow.
    long = _recipe(inputs, "gpt2", MIXED, save=["thaw", "lora"])
    often = (
        "training.steps=80", "training.dropout=0.1", "seeds=[0]", "checkpoints.every_steps=5",
        "checkpoints.largest_share=1", "measures.evaluate_every=20",
    )  # fmt: skip
    cases["resume-stopped"] = Case(long, often, "stopped")
    cases["resume-killed"] = Case(long, often, "killed")
    diverging: Arms = {**FEW, "diverging": {"train": "all", "learning_rate": 1e30}}
    cases["failed-arm"] = Case(_recipe(inputs, "llama", diverging), manner="retried")
    cases["reused-arms"] = Case(_recipe(inputs, "llama", FEW), manner="again")
    cases["advice"] = Case(_recipe(inputs, "llama", FEW), manner="advise")
    return cases


def _recipe(inputs: Path, model: str, arms: Arms, **more: object) -> str:
    """A recipe of five steps for a small model, in two replicates."""
    values = {
        "name": "tiny",
        "question": "Is it the same?",
        "model": {"source": str(inputs / model)},
        "corpus": {"source": str(inputs / "words.txt")},
        "windows": {"length": 64, "held_out": 3},
        "training": {"steps": 5, "batch": 2, "learning_rate": 0.01, "precision": "fp32", "untimed_steps": 1},
        "arms": arms,
        "seeds": [0, 1],
        "measures": {
            "evaluate_every": 2,
            "common_tokens": 5,
            "sampling": {"prompts": 2, "prompt_tokens": 8, "new_tokens": 12},
            "memory": False,
        },
    }
    return yaml.safe_dump(values | more, sort_keys=False)


def _write_inputs(folder: Path) -> None:
    """Models and texts, the same bytes each time."""
    (folder / "folder").mkdir(parents=True, exist_ok=True)
    disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    llama = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    _write_model(folder / "llama", "llama", llama | {"num_hidden_layers": 4, "max_position_embeddings": 128})
    _write_model(folder / "gpt2", "gpt2", {"n_embd": 32, "n_head": 4, "n_layer": 4, "n_positions": 128})
    sentences = [_words(number, 7 + number % 12) for number in range(700)]
    _write(folder / "words.txt", ". ".join(sentences))
    _write(folder / "general.txt", _words(9, 2000))
    for part in range(3):
        _write(folder / "folder" / f"part-{part}.txt", "\n".join(sentences[part::3]))
    rows = [{"prompt": _words(number, 4 + number % 9), "response": sentences[number]} for number in range(150)]
    _write(folder / "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    table = io.StringIO(newline="")
    csv.writer(table).writerows(
        [["number", "words"], *([number, f'{words}, "{number}"'] for number, words in enumerate(sentences[:400]))]
    )
    _write(folder / "rows.csv", table.getvalue())


def _write(path: Path, text: str) -> None:
    """Write `text`, unless it is there: another recording may be reading it."""
    content = text.encode()
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def _write_model(folder: Path, family: str, settings: dict[str, int]) -> None:
    if (folder / "tokenizer.json").exists():
        return
    special = {"bos_token_id": 1, "eos_token_id": WORDS + 3, "pad_token_id": 0}
    config = AutoConfig.for_model(family, vocab_size=WORDS + 4, **settings, **special)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: object = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    assert isinstance(model, PreTrainedModel)
    model.save_pretrained(folder)
    names = [*(f"w{number}" for number in range(WORDS)), "<|unknown|>", "<|user|>", "<|assistant|>", "<|end|>"]
    tokenizer = Tokenizer(WordLevel({name: number for number, name in enumerate(names)}, unk_token="<|unknown|>"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<|unknown|>", eos_token="<|end|>")
    fast.chat_template = (
        "{% for message in messages %}<|{{ message.role }}|> {{ message.content }} <|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|> {% endif %}"
    )
    fast.save_pretrained(folder)


def _words(seed: int, count: int) -> str:
    """`count` words that look like a text: some are frequent, and pairs of them come again."""
    drawn = hashlib.shake_256(str(seed).encode()).digest(2 * count)
    return " ".join(f"w{min(a, b) % WORDS}" for a, b in zip(drawn[::2], drawn[1::2], strict=True))


def _kept_text(text: Path, inputs: Path) -> Path:
    """A copy of `text` among the inputs, named by its content."""
    kept = inputs / f"text-{sha256_of(text)[:12]}.txt"
    if not kept.exists() or sha256_of(kept) != sha256_of(text):
        kept.write_bytes(text.read_bytes())
    return kept


def _conditions(inputs: Path) -> dict[str, str]:
    """What must be equal for results to be comparable: versions, threads, and the bytes of every input."""
    inputs_sha256 = {
        str(path.relative_to(inputs)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(inputs.rglob("*"))
        if path.is_file() and not path.name.startswith("text-")
    }
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in DECIDING_PACKAGES},
        "threads": str(torch.get_num_threads()),
        "processor instructions": torch.backends.cpu.get_cpu_capability(),
        "inputs": hashlib.sha256(json.dumps(inputs_sha256).encode()).hexdigest(),
    }


def _run_case(folder: Path, name: str, case: Case) -> list[int]:
    """Run `case`; the exit status of each of its processes."""
    recipe, run_folder = folder / "recipes" / f"{name}.yaml", folder / "runs" / name
    for parent in (recipe.parent, run_folder.parent, folder / "output"):
        parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(case.recipe, encoding="utf-8")
    overrides = [word for override in case.overrides for word in ("--set", override)]

    def begin(*words: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"FROSTLINE_CACHE": str(folder / "cache")}
        with (folder / "output" / f"{name}.txt").open("ab") as output:
            command = [sys.executable, "-m", "frostline", *words]
            return subprocess.Popen(command, stdout=output, stderr=output, env=environment)

    if case.manner == "advise":
        return [begin("advise", str(recipe), "--out", str(run_folder), *overrides).wait()]
    if case.manner == "again":
        first = begin("run", str(recipe), "--out", f"{run_folder}-first", *overrides).wait()
        return [first, begin("run", str(recipe), "--out", str(run_folder), *overrides).wait()]
    started = begin("run", str(recipe), "--out", str(run_folder), "--fresh", *overrides)
    if case.manner == "run":
        return [started.wait()]
    if case.manner == "retried":
        return [started.wait(), begin("resume", str(run_folder), "--retry-failed").wait()]
    _wait_until_midway(started, run_folder)
    started.send_signal(signal.SIGTERM if case.manner == "stopped" else signal.SIGKILL)
    ended = started.wait()
    if ended == 0:
        print(f"{name}: it had ended before it could be stopped")
    return [ended, begin("resume", str(run_folder)).wait()]


def _wait_until_midway(process: subprocess.Popen[bytes], run_folder: Path) -> None:
    taken = 0
    while process.poll() is None and taken < STOP_AFTER_STEPS:
        time.sleep(0.02)
        lines = [path.read_text(encoding="utf-8") for path in (run_folder / "journal").glob("*.jsonl")]
        taken = sum(text.count('"kind": "StepTaken"') for text in lines)
