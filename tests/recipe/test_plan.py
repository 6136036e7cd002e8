"""Is a plan read as it is written, and written as it is read?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.errors import PlanError
from frostline.recipe import (
    ROLES,
    ArmSettings,
    ChangeSettings,
    LoraSettings,
    PlanChange,
    WrittenPlan,
    load_recipe,
    parse_selector,
)
from frostline.recipe.shipped import shipped_recipes

roles = st.sampled_from(ROLES)
layered = st.sampled_from(["attn", "attn.q", "mlp", "norm", "bias", "all"])
layer_texts = st.sampled_from(["6:", ":4", "-2:", "2:8", "50%:", "3", "-1", "::2", "12.5%:75%"])
patterns = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)
globs = st.text(st.sampled_from(list("abq_019.*?[]!-, ;:'@%&\"")), min_size=1, max_size=20)


def is_selector(text: str) -> bool:
    try:
        parse_selector(text)
    except PlanError:
        return False
    return True


selector_texts = (
    roles
    | st.tuples(layered, layer_texts).map("@".join)
    | globs.map(lambda pattern: f"name:{pattern}").filter(is_selector)
    | patterns.map(lambda pattern: f"re:{pattern}").filter(is_selector)
)
lists = st.lists(selector_texts.map(parse_selector), min_size=1, max_size=4).map(tuple)
changes = st.lists(st.builds(PlanChange, st.integers(1, 999), st.sampled_from(["thaw", "freeze"]), lists), max_size=3)
loras = st.builds(
    LoraSettings,
    rank=st.integers(1, 64),
    alpha=st.none() | st.floats(0.001, 1e6, allow_nan=False),
    targets=lists.map(lambda selectors: tuple(selector.text for selector in selectors)),
)
plans = (
    st.builds(lambda train, changes: WrittenPlan(train=train, changes=tuple(changes)), lists, changes)
    | st.builds(lambda freeze, changes: WrittenPlan(freeze=freeze, changes=tuple(changes)), lists, changes)
    | loras.map(lambda lora: WrittenPlan(lora=lora))
)


@given(plans)
def test_a_plan_written_in_one_line_reads_the_same(plan: WrittenPlan) -> None:
    assert "\n" not in plan.text
    assert WrittenPlan.parse(plan.text) == plan


@given(st.text() | st.text(st.sampled_from(list('train:freeze[]{}(),;at 123"@%:.*\\\n'))))
def test_any_text_is_a_plan_or_a_plan_error(text: str) -> None:
    for written in (text, f"train: {text}", f"train: [attn]; {text}", f"lora: {text}"):
        try:
            plan = WrittenPlan.parse(written)
        except PlanError:
            continue
        assert WrittenPlan.parse(plan.text) == plan


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("train: [attn.qkv@50%:]", "train: [attn.qkv@50%:]"),
        ("train: attn.qkv@50%:", "train: [attn.qkv@50%:]"),
        ("  freeze :attn@50%: ", "freeze: [attn@50%:]"),
        ("train: all", "train: [all]"),
        ("train: [ attn , mlp.up@-2: ]", "train: [attn, mlp.up@-2:]"),
        ("train: attn, mlp", "train: [attn, mlp]"),
        (r"train: [re:layers\.[0-9]+\.q, mlp]", r'train: ["re:layers\\.[0-9]+\\.q", mlp]'),
        (r"train: re:layers\.1[0-9]{1,2}", r'train: ["re:layers\\.1[0-9]{1,2}"]'),
        (
            "train: [attn]\nat 30 freeze: attn\nat 20 thaw: [mlp]",
            "train: [attn]; at 20 thaw: [mlp]; at 30 freeze: [attn]",
        ),
        ("lora: rank 8, targets [attn.qkv]", "lora: rank 8, targets [attn.qkv]"),
        ("lora: rank 8, alpha 16.0, targets [attn.qkv, mlp]", "lora: rank 8, alpha 16, targets [attn.qkv, mlp]"),
    ],
)
def test_a_plan_has_one_canonical_text(written: str, text: str) -> None:
    assert WrittenPlan.parse(written).text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found none"),
        ("train: [attn]; freeze: [mlp]", "found train and freeze"),
        ("train: [attn]; train: [mlp]", "given twice"),
        ("trian: [attn]", "Did you mean 'train'"),
        ("train: []", "names no selector"),
        ("train: [attn", "no closing bracket"),
        ("attn.qkv", "not understood"),
        ("at 5 thaw: [attn]", "found none"),
        ("train: [attn]; at 0 thaw: [mlp]", "step 1 or later"),
        ("train: [attn]; at 5 thaw: []", "names no selector"),
        ("lora: rank 0, targets [attn.qkv]", "rank"),
        ("lora: rank 8, alpha 1e, targets [attn.qkv]", "alpha"),
        ("lora: rank 8, targets []", "no targets"),
        ("lora: attn", "Example: lora: rank 8"),
        ("lora: rank 8, targets [attn]; at 3 thaw: [mlp]", "do not apply"),
        ('train: ["attn]', "not a quoted selector"),
    ],
)
def test_a_wrong_plan_is_explained(text: str, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        WrittenPlan.parse(text)
    assert message in str(caught.value)


def test_a_recipes_arm_is_the_plan_that_its_text_says() -> None:
    arm = ArmSettings(train=("attn@75%:",), changes=(ChangeSettings(at=20, thaw=("mlp@06:",)),))
    assert WrittenPlan.from_settings(arm) == WrittenPlan.parse("train: [attn@75%:]; at 20 thaw: [mlp@6:]")
    assert WrittenPlan.from_settings(ArmSettings(freeze=("attn@50%:",))) == WrittenPlan.parse("freeze: attn@50%:")
    lora = ArmSettings(lora=LoraSettings(rank=4, targets=("attn.qkv",)))
    assert WrittenPlan.from_settings(lora) == WrittenPlan.parse("lora: rank 4, targets [attn.qkv]")


def test_every_arm_of_every_shipped_recipe_is_a_plan(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("recipes")
    for shipped in shipped_recipes():
        path = folder / f"{shipped.name}.yaml"
        path.write_text(shipped.text, encoding="utf-8")
        for arm in load_recipe(path).arms.values():
            plan = WrittenPlan.from_settings(arm)
            assert WrittenPlan.parse(plan.text) == plan
