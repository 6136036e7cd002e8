"""A recipe is YAML with overrides; whatever is wrong with it is told in one sentence with file, line and key."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.errors import RecipeError
from frostline.recipe import dump_recipe, load_recipe, parse_recipe, recipe_hash, variants_of

MINIMAL = "arms:\n  full: {train: all}\n  freeze: {train: [attn.qkv@50%:]}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_minimal_recipe_gets_every_default_and_the_first_arm_as_baseline() -> None:
    recipe = parse_recipe(MINIMAL)
    assert recipe.baseline_arm == "full"
    assert recipe.training.steps == 40
    assert recipe.model.source == "embedded"


@pytest.mark.parametrize(
    "written", ["[attn.qkv@50%:]", "['attn.qkv@50%:']", "\n      - attn.qkv@50%:", "'attn.qkv@50%:'"]
)
def test_a_selector_that_ends_with_a_colon_needs_no_quotes_in_a_list(written: str) -> None:
    recipe = parse_recipe(f"arms:\n  a:\n    train: {written}\n")
    assert recipe.arms["a"].train == ("attn.qkv@50%:",)


@pytest.mark.parametrize(
    ("written", "value"), [("5e-4", 5e-4), ("5.0e-4", 5e-4), ("1E-3", 1e-3), ("0.25", 0.25), (".5", 0.5)]
)
def test_scientific_notation_is_a_number_however_it_is_written(written: str, value: float) -> None:
    recipe = parse_recipe(f"training: {{learning_rate: {written}}}\n{MINIMAL}")
    assert recipe.training.learning_rate == value


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_a_device_is_a_word_or_a_gpu_by_its_number(device: str) -> None:
    assert parse_recipe(MINIMAL, [f"training.device={device}"]).training.device == device


@pytest.mark.parametrize(
    "device", ["gpu", "cuda:", "cuda:-1", "cuda:01", "cuda:1000", "cuda:1,2", "cuda 1", "1", "cpu:0"]
)
def test_another_device_is_refused_where_it_stands(tmp_path: Path, device: str) -> None:
    path = write(tmp_path, f"training:\n  device: '{device}'\n{MINIMAL}")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert f"{path}:2, key 'training.device': auto, cpu, cuda or cuda:N, such as cuda:1, belongs here" in str(
        caught.value
    )


def test_which_of_several_gpus_is_no_part_of_a_recipes_hash() -> None:
    hashes = {
        name: recipe_hash(parse_recipe(MINIMAL, [f"training.device={name}"])) for name in ("cuda", "cuda:1", "cpu")
    }
    assert hashes["cuda"] == hashes["cuda:1"] != hashes["cpu"]


def test_override_wins_over_the_file() -> None:
    recipe = parse_recipe(f"training: {{steps: 5}}\n{MINIMAL}", ["training.steps=9", "arms.freeze.learning_rate=1e-3"])
    assert recipe.training.steps == 9
    assert recipe.learning_rate_of("freeze") == 1e-3
    assert recipe.learning_rate_of("full") == recipe.training.learning_rate


def test_dumped_recipe_reads_back_as_the_same_recipe_even_where_a_default_was_switched_off() -> None:
    recipe = parse_recipe(f"training: {{gradient_clipping: null}}\nseeds: [3, 1]\n{MINIMAL}")
    again = parse_recipe(dump_recipe(recipe))
    assert again == recipe
    assert recipe_hash(again) == recipe_hash(recipe)


def test_comments_and_key_order_do_not_change_the_hash() -> None:
    assert recipe_hash(parse_recipe(f"name: x\n{MINIMAL}")) == recipe_hash(parse_recipe(f"# why\n{MINIMAL}name: x\n"))


def test_a_recipe_of_the_first_version_keeps_its_hash() -> None:
    text = f"{MINIMAL}retention: {{source: embedded}}\nmargin_nats: 0.05\n"
    assert recipe_hash(parse_recipe(text)) == "738c91336ce9e3fef5bb8fc0182de00176070e1c9f2337267174a41744ed4d8e"
    hub = f"{MINIMAL}corpus: {{source: 'hub:owner/name'}}\n"
    pinned = f"{MINIMAL}corpus: {{source: 'hub:owner/name', revision: main}}\n"
    assert recipe_hash(parse_recipe(hub)) != recipe_hash(parse_recipe(pinned))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (f"training:\n  stepz: 3\n{MINIMAL}", 2, ["training.stepz", "unknown key", "'steps'"]),
        (f"{MINIMAL}measure: {{}}\n", 4, ["measure", "unknown key", "'measures'"]),
        ("arms:\n  full: {train: all, lr: 3}\n", 2, ["arms.full.lr", "unknown key"]),
        ("arms:\n  a: {lora: {rnk: 3}}\n", 2, ["arms.a.lora.rnk", "'rank'"]),
        (f"{MINIMAL}seeds: [1, 2, 1]\n", 4, ["seeds", "seed 1 is repeated"]),
        ("arms:\n  a: {train: all}\n  a: {train: mlp}\n", 3, ["two arms have one name", "'a'"]),
        ("name: x\nname: y\narms: {a: {train: all}}\n", 2, ["given twice", "'name'"]),
        ("arms:\n  a: {train: all, freeze: mlp}\n", 2, ["exactly one of", "'train' and 'freeze'"]),
        ("arms:\n  a: {}\n", 2, ["exactly one of", "none"]),
        ("arms: {}\n", 1, ["arms"]),
        ("arms:\n  ../a: {train: all}\n", 1, ["'../a'", "does not work"]),
        (f"{MINIMAL}baseline: fulll\n", None, ["baseline", "fulll", "full, freeze"]),
        (f"{MINIMAL}save: [nobody]\n", None, ["save", "nobody"]),
        (f"training: {{learning_rate: -1}}\n{MINIMAL}", 1, ["learning_rate", "greater than 0", "-1"]),
        (f"training: {{epsilon: .inf}}\n{MINIMAL}", 1, ["epsilon", "finite"]),
        (f"training: {{precision: fp16}}\n{MINIMAL}", 1, ["precision", "'fp32' or 'bf16'", "fp16"]),
        (f"corpus: {{prompt: q}}\n{MINIMAL}", 1, ["corpus", "'prompt' and 'response' go together"]),
        (f"corpus: {{source: 'https://x.org/a.txt'}}\n{MINIMAL}", 1, ["corpus", "sha256"]),
        (f"corpus: {{source: 'http://x.org/a.txt', sha256: ab}}\n{MINIMAL}", 1, ["corpus", "https only"]),
        (f"corpus: {{revision: main}}\n{MINIMAL}", 1, ["corpus", "'revision' is that of a hub data set"]),
        (f"{MINIMAL}vary: {{training.steps: [1, 2]}}\n", 4, ["vary", "training.steps", "corpus.tokens"]),
        (f"{MINIMAL}vary: {{corpus.tokens: [5, 5]}}\n", 4, ["vary", "all different"]),
        ("arms:\n  a: {train: all, changes: [{at: 3}]}\n", 2, ["changes", "either 'thaw' or 'freeze'"]),
        ("arms:\n  a: {train: [\n", 3, ["not valid YAML"]),
        ("arms:\n  a:\n    train: attn@50%:\n", 3, ["not valid YAML", "brackets or quotes"]),
        ("- a\n", None, ["mapping of keys"]),
        ("", None, ["nothing is written"]),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(
    tmp_path: Path, text: str, line: int | None, words: list[str]
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    if line is not None:
        assert f"{path}:{line}" in sentence
    for word in words:
        assert word in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "override", ["training.steps", "=3", "training..steps=1", "training.steps.x=1", "training.steps=["]
)
def test_a_wrong_override_is_named(override: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        parse_recipe(f"training: {{steps: 5}}\n{MINIMAL}", [override])


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("trainin.steps=3", "--set trainin.steps, key 'trainin'"),
        ("training.stepz=3", "--set training.stepz, key 'training.stepz'"),
        ("training.steps=-3", "--set training.steps, key 'training.steps'"),
        ("arms.x={trian: [mlp]}", "--set arms.x, key 'arms.x.trian'"),
    ],
)
def test_a_key_that_an_override_made_wrong_is_not_looked_for_in_the_file(override: str, place: str) -> None:
    with pytest.raises(RecipeError) as raised:
        parse_recipe(f"training: {{steps: 5}}\n{MINIMAL}", [override], path=Path("own.yaml"))
    assert str(raised.value).startswith(f"{place}: ")


@pytest.mark.parametrize(
    "address",
    [
        "https://user:password@example.org/a.txt",
        "https://example.org/a.txt?token=x",
        "https://x.org/a?X-Amz-Signature=x",
    ],
)
def test_an_address_with_a_secret_never_gets_into_a_recipe(address: str) -> None:
    with pytest.raises(RecipeError, match="holds a password or token"):
        parse_recipe(f"{MINIMAL}\ncorpus: {{source: '{address}', sha256: {'ab' * 32}}}")


def test_missing_file_binary_file_and_huge_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe file"):
        load_recipe(tmp_path / "nothing.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load_recipe(binary)
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * 1_000_001)
    with pytest.raises(RecipeError, match="at most"):
        load_recipe(huge)


def test_deep_nesting_and_alias_bombs_are_refused_quickly() -> None:
    with pytest.raises(RecipeError):
        parse_recipe("a: " + "[" * 5000)
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
    )
    with pytest.raises(RecipeError):
        parse_recipe(bomb)


def test_yaml_cannot_make_python_objects() -> None:
    with pytest.raises(RecipeError):
        parse_recipe("name: !!python/object/apply:os.getcwd []\n" + MINIMAL)


def test_paths_are_relative_to_the_recipe_file(tmp_path: Path) -> None:
    path = write(tmp_path, f"corpus: {{source: text/book.txt}}\nretention: {{source: embedded}}\n{MINIMAL}")
    recipe = load_recipe(path)
    assert recipe.corpus.source == "text/book.txt"
    assert recipe.corpus.place.path_of(recipe.corpus.source) == tmp_path / "text" / "book.txt"
    assert recipe.retention_corpus is not None
    assert recipe.retention_corpus.source == "embedded"


def test_varied_key_gives_one_variant_for_each_value() -> None:
    recipe = parse_recipe(MINIMAL, ["vary.corpus.tokens=[1000, 2000]"])
    variants = variants_of(recipe)
    assert [variant.label for variant in variants] == ["corpus.tokens=1000", "corpus.tokens=2000"]
    assert [variant.recipe.corpus.tokens for variant in variants] == [1000, 2000]
    assert [variant.label for variant in variants_of(parse_recipe(MINIMAL))] == [""]


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=200), st.binary(max_size=100).map(lambda raw: raw.decode("latin-1"))))
def test_arbitrary_text_is_a_recipe_or_a_recipe_error(text: str) -> None:
    with contextlib.suppress(RecipeError):
        parse_recipe(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(
    st.sampled_from(["name", "arms", "training", "corpus", "windows", "seeds", "measures", "vary", "model", "save"]),
    json_values,
)
def test_arbitrary_values_are_a_recipe_or_a_recipe_error(key: str, value: object) -> None:
    values = {"arms": {"full": {"train": "all"}}, key: value}
    with contextlib.suppress(RecipeError):
        parse_recipe(yaml.safe_dump(values, allow_unicode=True))


def test_recipes_of_earlier_versions_keep_the_hash_that_their_journals_begin_with() -> None:
    text = "arms: {full: {train: all}}\nretention: {source: embedded}\nmargin_nats: 0.05\n"
    hash_of_version_0_1_0 = "f8e539181d779ebabd02b07b4441ff41477add6d9497654c1ceee52b269a2ea5"
    assert recipe_hash(parse_recipe(text)) == hash_of_version_0_1_0
    pinned = parse_recipe(text, ["retention.revision=main", "retention.source=hub:owner/name"])
    moved = parse_recipe(text, ["retention.revision=other", "retention.source=hub:owner/name"])
    assert recipe_hash(pinned) != recipe_hash(moved)


def test_keys_of_conversations_count_where_they_are_set() -> None:
    plain = recipe_hash(parse_recipe(MINIMAL))
    keys = {"messages": None, "learn": "responses", "too_long": "cut", "template": None}
    assert recipe_hash(parse_recipe(MINIMAL, {f"corpus.{key}": value for key, value in keys.items()})) == plain
    others = {"messages": "turns", "learn": "all", "too_long": "drop", "template": "own.jinja"}
    assert len({recipe_hash(parse_recipe(MINIMAL, {f"corpus.{key}": value})) for key, value in others.items()}) == 4


def test_a_recipe_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes("arms: {full: {train: all}}\nname: caf\xe9\n".encode("latin-1"))

    def refused(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    for path, found in (
        (file, "recipe.yaml:2: not UTF-8 text"),
        (tmp_path, "a folder, not a recipe file"),
        (tmp_path / ("a" * 300), "cannot be read: file name too long"),
        ("~nobody-of-this-name/recipe.yaml", "cannot be read: could not determine home directory"),
    ):
        with pytest.raises(RecipeError, match=found):
            load_recipe(path)
    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(RecipeError, match="cannot be read: permission denied"):
        load_recipe(file)


def test_a_recorded_or_varied_recipe_leaves_open_what_the_recipe_left_open() -> None:
    recipe = parse_recipe("arms: {full: {train: all}}\ncorpus: {source: chat.jsonl}\nvary: {corpus.tokens: [5, 6]}\n")
    said = parse_recipe("arms: {full: {train: all}}\ncorpus: {source: chat.jsonl, column: text}\n")
    assert parse_recipe(dump_recipe(recipe)).corpus.column is None
    assert [variant.recipe.corpus.column for variant in variants_of(recipe)] == [None, None]
    assert parse_recipe(dump_recipe(said)).corpus.column == "text"
    # Recipes of earlier versions were recorded with the default.
    assert recipe_hash(said) == recipe_hash(parse_recipe(dump_recipe(said).replace("column: text", "column: null")))


def test_what_is_inexact_is_known_from_the_recipe_alone() -> None:
    def inexact(**training: object) -> tuple[str, ...]:
        return parse_recipe(MINIMAL, {f"training.{key}": value for key, value in training.items()}).training.inexact

    assert inexact() == ()
    assert inexact(frozen_weights="nf4") == ("frozen matrices in nf4",)
    assert inexact(frozen_weights="int8", engine="reference") == ()
    both = inexact(frozen_weights="int8", optimizer="adamw-8bit")
    assert both == ("frozen matrices in int8", "AdamW with its moments in 8 bits")


def test_a_recipe_that_names_the_usual_optimizer_is_the_one_that_does_not() -> None:
    hashes = [recipe_hash(parse_recipe(MINIMAL, given)) for given in ({}, {"training.optimizer": "adamw"})]
    assert hashes[0] == hashes[1] != recipe_hash(parse_recipe(MINIMAL, {"training.optimizer": "adamw-8bit"}))
