"""Pairs of texts without names: fair, the same each time, and a sign test that is scipy's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from frostline.errors import FrostlineError, RunFolderError
from frostline.stats import BlindTest, blind_test, read_choices, result_of
from tests.builders.simulated_run import write_simulated_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_simulated_run(tmp_path_factory.mktemp("blind") / "run", steps=4, with_watch=False)


def saved(folder: Path, test: BlindTest, chosen: list[str | None], **changes: object) -> Path:
    values = {"format": 1, "page": test.sha256, "arms": list(test.arms), "drawing": test.drawing, "choices": chosen}
    path = folder / "choices.json"
    path.write_text(json.dumps(values | changes), encoding="utf-8")
    return path


def test_every_prompt_of_every_seed_is_a_pair_of_the_two_arms_texts(folder: Path) -> None:
    test = blind_test(folder)
    assert test.arms == ("full", "freeze")
    assert sorted((pair.seed, pair.prompt_index) for pair in test.pairs) == [
        (seed, prompt) for seed in range(3) for prompt in range(8)
    ]
    for pair in test.pairs:
        assert set(pair.arms) == {"full", "freeze"}
        assert all(f" {arm} says" in text for arm, text in zip(pair.arms, pair.texts, strict=True))


def test_the_drawing_decides_order_and_sides_and_nothing_else(folder: Path) -> None:
    test, again, other = (blind_test(folder, ("freeze", "reversed"), drawing) for drawing in (3, 3, 4))
    assert test == again
    assert test.sha256 != other.sha256
    assert {replace(pair, arms=("", ""), texts=("", "")) for pair in test.pairs} == {
        replace(pair, arms=("", ""), texts=("", "")) for pair in other.pairs
    }
    assert 0 < sum(pair.arms[0] == "freeze" for pair in test.pairs) < len(test.pairs)


def test_each_arm_is_as_often_a_as_b_over_drawings(folder: Path) -> None:
    first = sum(pair.arms[0] == "full" for drawing in range(100) for pair in blind_test(folder, None, drawing).pairs)
    assert stats.binomtest(first, 2400).pvalue > 0.001


def test_the_sign_test_is_scipys_and_leaves_out_what_was_not_told_apart(folder: Path, tmp_path: Path) -> None:
    test = blind_test(folder)
    choices: list[str | None] = ["AB"[pair.arms.index("freeze")] for pair in test.pairs]
    choices[:3], choices[3:5] = ["same"] * 3, [None, None]
    choices[5] = "AB"[test.pairs[5].arms.index("full")]
    found = read_choices(folder, saved(tmp_path, test, choices))
    assert (found.arms, found.chosen, found.same, found.left) == (("full", "freeze"), (1, 18), 3, 2)
    assert found.p_value == stats.binomtest(1, 19).pvalue
    assert found.sentence == (
        "full was chosen 1 times and freeze 18 times (exact sign test, p < 0.001); no difference in 3; "
        "2 pairs were not looked at."
    )
    assert result_of(test, ["same"] * 24).p_value is None


def test_a_file_of_choices_says_nothing_of_who_wrote_what(folder: Path, tmp_path: Path) -> None:
    test = blind_test(folder)
    told = saved(tmp_path, test, ["A"] * 24).read_text(encoding="utf-8")
    turned = replace(test, pairs=tuple(replace(pair, arms=pair.arms[::-1]) for pair in test.pairs))
    assert json.loads(told)["choices"] == ["A"] * 24
    assert result_of(test, ["A"] * 24).chosen == result_of(turned, ["A"] * 24).chosen[::-1]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"page": "ab" * 32}, "its choices are not of this run's texts"),
        ({"drawing": 1}, "its choices are not of this run's texts"),
        ({"choices": ["A"]}, "its choices are not of this run's texts"),
        ({"choices": ["C"] * 24}, "not a file of choices ('choices.0' is not right)"),
        ({"format": 2}, "not a file of choices ('format' is not right)"),
        ({"arms": ["full", "nobody"]}, "it has no arm 'nobody'"),
        ({"more": 1}, "not a file of choices ('more' is not right)"),
    ],
)
def test_what_is_no_file_of_these_choices_is_told(
    folder: Path, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    path = saved(tmp_path, blind_test(folder), ["A"] * 24, **changes)
    with pytest.raises(FrostlineError) as caught:
        read_choices(folder, path)
    assert told in str(caught.value)
    with pytest.raises(FrostlineError, match="there is no such file"):
        read_choices(folder, tmp_path / "nothing.json")


@pytest.mark.parametrize(("text", "told"), [("A, B", "choices: it is not JSON."), ("[1]", "not a file of choices.")])
def test_a_file_that_was_never_one_of_choices_is_told_plainly(
    folder: Path, tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "letter.txt").write_text(text, encoding="utf-8")
    with pytest.raises(FrostlineError) as caught:
        read_choices(folder, tmp_path / "letter.txt")
    assert caught.value.message.endswith(told)
    assert caught.value.hint == "Give the file that the page saved."


def test_what_cannot_be_compared_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="it has no arm 'freez'"):
        blind_test(folder, ("freez", "full"))
    with pytest.raises(FrostlineError, match="'full' does not name two arms"):
        blind_test(folder, ("full",))
    silent = write_simulated_run(tmp_path / "silent", steps=4, seeds=(0,), with_sampling=False, with_watch=False)
    with pytest.raises(RunFolderError, match="no replicate has text of both"):
        blind_test(silent)
    alone = write_simulated_run(tmp_path / "alone", arms=("full",), steps=4, seeds=(0,), with_watch=False)
    with pytest.raises(RunFolderError, match="it has one arm"):
        blind_test(alone)
