"""What pages say can be done: plans and recipes in them are read, commands exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

import frostline
from frostline.cli.command import app
from frostline.recipe import WrittenPlan, parse_recipe

PAGES = sorted([Path("README.md"), Path("CONTRIBUTING.md"), *Path("docs").rglob("*.md")])
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def _blocks(page: Path, *languages: str) -> list[str]:
    """What stands in the page's fenced blocks of these languages."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [block for language, block in fenced if language in languages]


def test_the_index_names_every_page() -> None:
    named = re.findall(r"\]\(([\w/-]+\.md)\)", Path("docs/index.md").read_text(encoding="utf-8"))
    pages = {str(page.relative_to("docs")) for page in Path("docs").rglob("*.md")} - {"index.md"}
    assert sorted(named) == sorted(pages)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_plans_and_recipes_can_be_read(page: Path) -> None:
    for plan in re.findall(r"`((?:(?:train|freeze): \[|lora: rank)[^`]+)`", page.read_text(encoding="utf-8")):
        if "..." not in plan:
            WrittenPlan.parse(plan)
    for block in _blocks(page, "yaml"):
        if "\narms:" in f"\n{block}":
            parse_recipe(block)


def test_the_tutorial_on_own_text_says_what_init_writes_and_what_to_change_in_it() -> None:
    page, shipped = Path("docs/tutorials/company-text.md"), Path("src/frostline/recipe/library/own-text.yaml")
    text = shipped.read_text(encoding="utf-8")
    recipe = parse_recipe(text)
    size = f"{recipe.training.steps} steps of {recipe.training.batch} windows of {recipe.windows.length} tokens"
    told = f"`own-text.yaml`: {len(recipe.arms)} arms, {len(recipe.seeds)} seeds, {size}"
    assert told in page.read_text(encoding="utf-8")
    (lines,) = _blocks(page, "yaml")
    changed = yaml.safe_load(lines)
    assert set(changed) <= set(yaml.safe_load(text))
    assert parse_recipe(text, changed).seeds == (0, 1)


def _given_commands() -> Iterator[tuple[Path, str]]:
    """Every command line of Frostline in the pages' blocks and in code between words."""
    for page in PAGES:
        lines = [line for block in _blocks(page, "", "sh") for line in block.splitlines()]
        inline = re.findall(r"`(frostline [a-z][^`\n]*)`", page.read_text(encoding="utf-8"))
        for line in (*lines, *inline):
            if line.startswith("frostline "):
                yield page, line


def test_commands_and_their_options_exist() -> None:
    unknown = []
    for page, line in _given_commands():
        words = shlex.split(line, comments=True)
        command = COMMANDS.get(words[1])
        known = set() if command is None else {name for option in command.params for name in option.opts}
        options = {word.split("=")[0] for word in words if word.startswith("--")} - {"--help", "--version"}
        if words[1].startswith("--"):
            continue
        if command is None or not options <= known:
            unknown.append(f"{page}: {line}")
    assert not unknown


def test_whoever_cites_it_cites_this_version() -> None:
    cited = yaml.safe_load(Path("CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert frostline.__version__ == project["version"]


def test_a_bug_report_asks_for_versions_and_machine() -> None:
    forms = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in Path(".github/ISSUE_TEMPLATE").glob("*.yml")]
    (bug,) = (form for form in forms if form.get("labels") == ["bug"])
    needed = [part["attributes"]["label"] for part in bug["body"] if part.get("validations", {}).get("required")]
    assert "frostline env --json" in needed


def test_the_image_has_a_pinned_base_no_cache_and_no_root() -> None:
    lines = [line.strip() for line in Path("Dockerfile").read_text(encoding="utf-8").splitlines()]
    (base,) = (line for line in lines if line.startswith("FROM "))
    assert re.fullmatch(r"FROM python:\d+\.\d+\.\d+-slim-\w+", base)
    for line in lines:
        assert "pip install" not in line or "--no-cache-dir" in line
    assert lines.index("USER 1000") < lines.index('ENTRYPOINT ["frostline"]')
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    sent = {line[1:] for line in Path(".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    assert copied == sent
