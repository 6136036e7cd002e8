"""Nothing of another model, corpus or setting is ever used again; and what only lies elsewhere is."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from rich.console import Console
from transformers import PreTrainedModel

from frostline.arms.make import prefix_identity
from frostline.arms.prepared import Prepared, prepare
from frostline.errors import RunFolderError
from frostline.experiment import resume_experiment
from frostline.experiment.arm_store import open_arm_store
from frostline.experiment.verify import verify_run
from frostline.measures import identify
from frostline.recipe import load_recipe, variants_of
from frostline.run_folder import ArmStarted, Evaluation, read_journal, records_of
from frostline.signals.kept import signal_identity, signal_inputs_of
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment
from tests.builders.models import FAMILIES, ROUTER_BIAS_FAMILIES, tiny_model

UPPER: dict[str, object] = {
    "arms": {"full": {"train": "all"}, "upper": {"train": ["mlp@-1:"]}},
    "seeds": [0],
    "retention": {"source": "retention.txt"},
}
BIAS = "model.layers.1.mlp.gate.e_score_correction_bias"


def write(folder: Path, family: str = "glm4_moe", **changes: object) -> Path:
    """A recipe with a retention corpus."""
    recipe = write_experiment(folder, family, **(UPPER | changes))  # type: ignore[arg-type]  # of any type
    text = (folder / "text.txt").read_text(encoding="utf-8")
    (folder / "retention.txt").write_text(text[: len(text) // 2], encoding="utf-8")
    return recipe


def prepared_from(recipe: Path, *overrides: str) -> Prepared:
    (variant,) = variants_of(load_recipe(recipe, overrides))
    return prepare(variant, recipe.parent / "cache", say=lambda text: None)


def keys_of(prepared: Prepared) -> dict[str, str]:
    """What arms, stored prefixes and signals go by."""
    inputs = signal_inputs_of(
        prepared.model, prepared.corpus, device=prepared.device, precision=prepared.precision,
        identity=prepared.identity,
    )  # fmt: skip
    return {
        "arm": open_arm_store(prepared, Path("cache"), "").key(prepared, "upper", 0),
        "prefix": prefix_identity(prepared).folder_name,
        "signal": signal_identity(inputs),
    }


Change = Callable[[PreTrainedModel], object]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that is not changed."""
    return write(tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="module")
def loaded(experiment: Path) -> Prepared:
    """All of it, prepared."""
    return prepared_from(experiment)


@pytest.fixture(scope="module")
def keys(loaded: Prepared) -> dict[str, str]:
    """Of the experiment that is not changed, wherever it lies."""
    return keys_of(loaded)


def same(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name, key in before.items() if after[name] == key}


@pytest.mark.parametrize("family", [*FAMILIES, *ROUTER_BIAS_FAMILIES])
def test_no_key_survives_a_change_of_the_model(family: str, loaded: Prepared) -> None:
    untouched = tiny_model(family)

    def keys_after(change: Change) -> dict[str, str]:
        model = copy.deepcopy(untouched)
        with torch.no_grad():
            change(model)
        return keys_of(replace(loaded, model=model, identity=identify(model)))

    def changing_buffer(name: str) -> Change:
        return lambda model: model.get_buffer(name).logical_not_() if is_bool[name] else model.get_buffer(name).add_(1)

    is_bool = {name: buffer.dtype == torch.bool for name, buffer in untouched.named_buffers() if buffer.numel()}
    keys = keys_after(lambda model: None)
    assert keys_after(lambda model: model.eval()) == keys
    assert not same(keys, keys_after(lambda model: next(model.parameters()).view(-1)[0].add_(1)))
    assert not same(keys, keys_after(lambda model: setattr(model.config, "initializer_range", 0.5)))
    for name in is_bool:
        assert not same(keys, keys_after(changing_buffer(name))), name


def weight_of_the_file(folder: Path) -> None:
    change_tensor(folder, "model.norm.weight")


def router_bias(folder: Path) -> None:
    change_tensor(folder, BIAS)


def change_tensor(folder: Path, name: str) -> None:
    path = folder / "model" / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors[name] = tensors[name].index_add(0, torch.tensor([0]), torch.tensor([0.5]))
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def configuration(folder: Path) -> None:
    change_json(folder / "model" / "config.json", rms_norm_eps=1e-3)


def end_of_text(folder: Path) -> None:
    change_json(folder / "model" / "generation_config.json", eos_token_id=7)


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def two_words_of_the_tokenizer(folder: Path) -> None:
    path = folder / "model" / "tokenizer.json"
    values = json.loads(path.read_text())
    words = values["model"]["vocab"]
    words["w1"], words["w2"] = words["w2"], words["w1"]
    path.write_text(json.dumps(values))


def chat_template(folder: Path) -> None:
    path = folder / "model" / "chat_template.jinja"
    path.write_text(path.read_text() + " ")


def special_token(folder: Path) -> None:
    change_json(folder / "model" / "tokenizer_config.json", pad_token="<|user|>")


def decoding(folder: Path) -> None:
    change_json(folder / "model" / "tokenizer_config.json", clean_up_tokenization_spaces=True)


def text(folder: Path) -> None:
    path = folder / "text.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("w1 ", "w2 "), encoding="utf-8")


def retention(folder: Path) -> None:
    path = folder / "retention.txt"
    path.write_text(path.read_text(encoding="utf-8") + " w1 w2", encoding="utf-8")


ALL = {"arm", "prefix", "signal"}


@pytest.mark.parametrize(
    ("change", "still_good"),
    [
        (weight_of_the_file, set()),
        (router_bias, set()),
        (configuration, set()),
        (end_of_text, set()),
        (two_words_of_the_tokenizer, {"prefix"}),  # other tokens are other windows
        (chat_template, {"prefix", "signal"}),
        (special_token, {"prefix", "signal"}),
        (decoding, {"prefix", "signal"}),
        (text, {"prefix"}),
        (retention, {"prefix", "signal"}),
    ],
)
def test_each_file_is_part_of_the_keys_of_what_depends_on_it(
    experiment: Path, keys: dict[str, str], tmp_path: Path, change: Callable[[Path], None], still_good: set[str]
) -> None:
    shutil.copytree(experiment.parent, tmp_path, dirs_exist_ok=True)  # with its cache: it must not be used
    change(tmp_path)
    assert same(keys, keys_of(prepared_from(tmp_path / "recipe.yaml"))) == still_good


@pytest.mark.parametrize(
    ("setting", "still_good"),
    [
        ("windows.length=8", {"prefix"}),
        ("windows.held_out=5", {"prefix"}),
        ("windows.order=random", {"prefix"}),
        ("corpus.tokens=900", {"prefix"}),
        ("retention.tokens=300", {"prefix", "signal"}),
        ("training.precision=bf16", set()),
        ("training.dropout=0.1", set()),
        ("training.frozen_weights=int8", {"signal"}),
        ("training.checkpointing=true", {"prefix", "signal"}),
        ("training.batch=3", {"prefix", "signal"}),
        ("training.learning_rate=0.02", {"prefix", "signal"}),
        ("training.weight_decay=0.02", {"prefix", "signal"}),
        ("training.betas=[0.8, 0.9]", {"prefix", "signal"}),
        ("training.schedule=one-by-one", {"prefix", "signal"}),
        ("measures.evaluate_every=2", {"prefix", "signal"}),
        ("arms.upper.train=[mlp@-2:]", {"prefix", "signal"}),
        ("arms.upper.learning_rate=0.02", {"prefix", "signal"}),
        ("arms.full.learning_rate=0.02", ALL),
        ("arms.upper.learning_rate=0.01", ALL),
        ("training.precision=fp32", ALL),
        ("training.device=cpu", ALL),
        ("corpus.format=text", ALL),
        ("measures.memory=true", ALL),
        ("checkpoints.keep=3", ALL),
        ("margin_nats=0.1", ALL),
        ("name=another", ALL),
    ],
)
def test_each_setting_is_part_of_the_keys_of_what_depends_on_it(
    experiment: Path, keys: dict[str, str], setting: str, still_good: set[str]
) -> None:
    assert same(keys, keys_of(prepared_from(experiment, setting))) == still_good


def test_where_model_and_corpora_lie_is_part_of_no_key(experiment: Path, keys: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(experiment.parent / "model", tmp_path / "deep" / "other model")
    shutil.copy(experiment.parent / "text.txt", tmp_path / "another name.md")
    shutil.copy(experiment.parent / "retention.txt", tmp_path / "general.txt")
    values = yaml.safe_load(experiment.read_text(encoding="utf-8")) | {
        "model": {"source": "deep/other model"},
        "corpus": {"source": "another name.md"},
        "retention": {"source": "general.txt"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert keys_of(prepared_from(tmp_path / "recipe.yaml")) == keys


def test_the_same_tokens_of_a_table_are_the_same_corpus(experiment: Path, keys: dict[str, str], tmp_path: Path) -> None:
    for suffix in ("jsonl", "csv"):
        content = (experiment.parent / "text.txt").read_text(encoding="utf-8")
        row = json.dumps({"text": content}) if suffix == "jsonl" else f"text\n{content}\n"
        (tmp_path / f"text.{suffix}").write_text(row, encoding="utf-8")
        assert keys_of(prepared_from(experiment, f"corpus.source={tmp_path}/text.{suffix}")) == keys


def arms_of(run_folder: Path) -> dict[str, list[dict[str, object]]]:
    return {name: lines for name, lines in journal_without_clock(run_folder).items() if name != "run.jsonl"}


@pytest.mark.parametrize("family", ROUTER_BIAS_FAMILIES)
def test_after_a_change_of_a_routers_bias_nothing_of_the_other_model_is_used(family: str, tmp_path: Path) -> None:
    recipe = write(tmp_path, family, training={"steps": 4, "precision": "fp32", "prefix_cache": {"use": "always"}})
    first = run_tiny(recipe, tmp_path / "first", fresh=False).run_folder
    shutil.copytree(first, tmp_path / "half")
    shutil.move(tmp_path / "model", tmp_path / "moved")
    moved = run_tiny(recipe, tmp_path / "again", (f"model.source={tmp_path}/moved",), fresh=False).run_folder
    assert all(record.reused_from for record in records_of(read_journal(moved), ArmStarted))
    assert arms_of(moved) == arms_of(first)

    shutil.move(tmp_path / "moved", tmp_path / "model")
    router_bias(tmp_path)
    changed = run_tiny(recipe, tmp_path / "changed", fresh=False).run_folder
    shutil.rmtree(tmp_path / "cache")
    alone = run_tiny(recipe, tmp_path / "alone").run_folder
    assert not any(record.reused_from for record in records_of(read_journal(changed), ArmStarted))
    assert arms_of(changed) == arms_of(alone)
    losses = [[record.loss_nats for record in records_of(read_journal(run), Evaluation)] for run in (first, changed)]
    assert losses[0] != losses[1]

    findings = verify_run(first, tmp_path / "cache", say=lambda text: None, render_report=lambda folder: "")
    assert "Not what it was: the model's weights." in {finding.sentence for finding in findings}

    cut(tmp_path / "half")
    with (
        PlainProgress(Console(quiet=True)) as progress,
        pytest.raises(RunFolderError, match="since it was begun, the model's weights changed"),
    ):
        resume_experiment(tmp_path / "half", tmp_path / "cache", progress, accept_changes=True)


def cut(run_folder: Path) -> None:
    """What a process leaves that is killed before the last arm ends."""
    for name, kept in (("run.jsonl", -1), ("variant0-seed0-upper.jsonl", 5)):
        path = run_folder / "journal" / name
        path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:kept]), encoding="utf-8")
