"""Do the rows that a plan names train, as they do where all rows train, and do the others keep every byte?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from frostline.errors import PlanError
from frostline.plans import Plan, map_model, plan_cost, select
from tests.builders.models import HIDDEN, VOCABULARY, tiny_model
from tests.builders.tokenizers import word_tokenizer
from tests.plans.test_apply import TOKENS, logits, raw, train, weights
from tests.plans.test_saved_in_training import trainer_of

ROWS = [3, 10, 11, 12, 60]
PLAN = Plan.parse("train: [embed[3, 10:13, 60], attn.q@-1]")
MODELS = [("llama", False), ("llama", True), ("gpt2", True), ("gemma3_text", True)]


def built(family: str, tied: bool) -> PreTrainedModel:
    return tiny_model(family, tie_word_embeddings=tied)


def tokenizer_with_added(*added: str) -> PreTrainedTokenizerFast:
    """90 tokens of its own, then those added."""
    tokenizer = word_tokenizer(86)
    tokenizer.add_tokens(list(added))
    return tokenizer


def train_by_hand(model: PreTrainedModel, names: list[str], rows: list[int], steps: int = 4) -> None:
    """AdamW with decay over whole matrices; whatever it did to other rows of the embeddings is undone by hand."""
    embedding = model.get_input_embeddings().get_parameter("weight")
    start, others = embedding.detach().clone(), [row for row in range(VOCABULARY) if row not in rows]
    parameters = [value.requires_grad_(name in names) for name, value in model.named_parameters()]
    optimizer = torch.optim.AdamW([own for own in parameters if own.requires_grad], lr=1e-2, weight_decay=0.1)
    model.train()
    for _ in range(steps):
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            embedding[others] = start[others]
    model.train(False)


@pytest.mark.parametrize(("family", "tied"), MODELS)
def test_named_rows_train_as_if_the_others_were_put_back_by_hand_after_each_step(family: str, tied: bool) -> None:
    plan = Plan.parse("train: [embed[3, 10:13, 60]]")
    split, by_hand = built(family, tied), built(family, tied)
    embedding = map_model(split).embedding_name
    assert embedding is not None
    start = weights(split)
    applied = plan.apply(split)
    train(split, list(split.parameters()))  # all parameters, as careless loops hand them over
    train_by_hand(by_hand, [embedding], ROWS)
    check = applied.verify()
    assert check.moved == ()
    assert check.checked_values == sum(value.numel() for value in start.values()) - len(ROWS) * HIDDEN
    applied.release()
    after = weights(split)
    assert list(after) == list(start)
    assert {name for name in start if raw(after[name]) != raw(start[name])} == {embedding}
    moved = (after[embedding] != start[embedding]).any(1).nonzero().flatten().tolist()
    assert moved == ROWS
    assert raw(after[embedding]) == raw(by_hand.get_parameter(embedding))
    assert (split.get_output_embeddings().weight is split.get_input_embeddings().weight) == tied


def test_a_tied_row_trains_at_both_ends() -> None:
    """A token that no window has gets its gradient from the head alone."""
    unread = next(row for row in range(VOCABULARY) if row not in set(TOKENS.flatten().tolist()))
    for tied in (True, False):
        model = built("llama", tied)
        applied = Plan.parse(f"train: [embed[{unread}], norm]").apply(model)
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        part = next(own for name, own in applied.trainable_parameters() if "embed" in name)
        assert part.grad is not None
        assert bool(part.grad.any()) == tied


def test_rows_of_an_untied_head_are_its_own() -> None:
    model = built("llama", False)
    applied = Plan.parse("train: [head[5, 9:], embed[7]]").apply(model)
    assert [(name, tuple(own.shape)) for name, own in applied.trainable_parameters()] == [
        ("model.embed_tokens.weight[embed[7]]", (1, HIDDEN)),
        ("lm_head.weight[head[5, 9:]]", (VOCABULARY - 8, HIDDEN)),
    ]


@pytest.mark.parametrize(("family", "tied"), MODELS)
def test_outputs_are_those_of_the_whole_matrix_and_so_are_files_saved_in_training(
    family: str, tied: bool, tmp_path: Path
) -> None:
    model, plain = built(family, tied), built(family, tied)
    names, expected = list(model.state_dict()), logits(model)
    applied = PLAN.apply(model)
    assert raw(logits(model)) == raw(expected)
    train(model, [own for _, own in applied.trainable_parameters()])
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path / "split")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "split", dtype=torch.float32)
    assert raw(logits(loaded)) == raw(logits(model))
    other = built(family, tied)
    again = PLAN.apply(other)
    missing = other.load_state_dict(loaded.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert raw(logits(other)) == raw(logits(model))
    assert again.resolved.trained_values == applied.trained_parameters
    applied.release()
    model.save_pretrained(tmp_path / "released")
    plain.save_pretrained(tmp_path / "plain")
    files = {folder: (tmp_path / folder / "model.safetensors").stat().st_size for folder in ("split", "plain")}
    assert files["split"] == files["plain"]
    assert (tmp_path / "split/model.safetensors").read_bytes() == (tmp_path / "released/model.safetensors").read_bytes()


def test_the_trainer_goes_on_with_rows_of_a_tied_model_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    straight, stopped, resumed = (built("llama", True) for _ in range(3))
    PLAN.apply(straight)
    trainer_of(straight, tmp_path / "straight").train()
    PLAN.apply(stopped)
    trainer_of(stopped, tmp_path / "stopped", steps=2).train()
    applied = PLAN.apply(resumed)
    trainer_of(resumed, tmp_path / "stopped").train(resume_from_checkpoint=True)
    assert raw(logits(resumed)) == raw(logits(straight))
    assert applied.verify().moved == ()


def test_rows_may_thaw_and_freeze_over_time() -> None:
    model = built("llama", True)
    start = weights(model)["model.embed_tokens.weight"]
    applied = Plan.parse("train: [embed[0:10]]; at 2 freeze: [embed[5:20]]; at 4 thaw: [embed[15:30]]").apply(model)
    sizes = []
    for step in range(6):
        applied.advance(step)
        sizes.append(applied.trained_parameters // HIDDEN)
        train(model, [own for _, own in applied.trainable_parameters()], steps=1)
    assert sizes == [10, 10, 5, 5, 20, 20]
    assert applied.verify().moved == ()
    applied.release()
    moved = (model.get_parameter("model.embed_tokens.weight") != start).any(1).nonzero().flatten().tolist()
    assert moved == [*range(10), *range(15, 30)]


def test_added_tokens_are_those_behind_the_vocabulary_of_the_tokenizer() -> None:
    tokenizer = tokenizer_with_added("<tool>", "</tool>")
    model = tiny_model("llama")
    found = Plan.parse('train: [embed[added, "w4"]]').resolve(model, tokenizer=tokenizer)
    (portion,) = found.trained.values()
    assert portion.name == 'model.embed_tokens.weight[embed[added, "w4"]]'
    assert portion.index_tensor().tolist() == [4, 90, 91]
    assert found.trained_values == 3 * HIDDEN
    applied = Plan.parse('train: [embed["</tool>"]]').apply(model, tokenizer=tokenizer)
    assert applied.resolved.trained_values == HIDDEN
    assert [own.index_tensor().tolist() for own in applied.resolved.trained.values()] == [[91]]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("train: [embed[96:98]]", "there is no row 97: the matrix has 97. They are counted from 0 to 96."),
        ("train: [embed[97:]]", "there is no row 97: the matrix has 97."),
        (
            'train: [embed["<tol>"]]',
            "'<tol>' is no token of the tokenizer: it reads that as 3 tokens. Did you mean '<tool>'?",
        ),
        ('train: [embed["w1 w2"]]', "'w1 w2' is no token of the tokenizer: it reads that as 2 tokens."),
        ("lora: rank 2, targets [embed[5]]", "rows of the vocabulary cannot carry an adapter"),
        ("freeze: [embed[:], head, all]", "trains nothing"),
        ("train: [embed[5], head]; at 3 freeze: [embed]", "tied"),
    ],
)
def test_rows_that_are_not_there_are_refused_in_a_sentence(plan: str, message: str) -> None:
    model = tiny_model("llama", tie_word_embeddings=True)
    with pytest.raises(PlanError) as caught:
        Plan.parse(plan).resolve(model, tokenizer=tokenizer_with_added("<tool>"))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_without_added_tokens_without_a_tokenizer_and_without_a_row_it_says_so() -> None:
    model, plan = tiny_model("llama"), Plan.parse("train: [embed[added]]")
    with pytest.raises(PlanError, match="no token was added: the tokenizer's 90 are all its own"):
        plan.apply(model, tokenizer=tokenizer_with_added())
    with pytest.raises(PlanError, match=r"no tokenizer is given\. Pass it: plan\.apply\(model, tokenizer=tokenizer\)"):
        plan.apply(model)
    with pytest.raises(PlanError, match=r"token 98 of the tokenizer has no row: the matrix has 97\. Give it one"):
        plan.apply(model, tokenizer=tokenizer_with_added(*(f"<{number}>" for number in range(9))))


def test_only_the_rows_that_train_are_counted_and_cost_a_gradient() -> None:
    model = built("llama", True)
    rows, whole = (
        plan_cost(model, Plan.parse(plan).resolve(model), 100)
        for plan in ("train: [embed[:10]]", "train: [embed, head]")
    )
    assert rows.forward_flops == whole.forward_flops
    assert rows.weight_gradient_flops == 2.0 * 100 * 10 * HIDDEN
    assert whole.weight_gradient_flops == 2.0 * 100 * VOCABULARY * HIDDEN
    assert [own.index_tensor().tolist() for own in select(model, ["embed[5, 9]"])] == [[5, 9]]
