"""Which rows does `embed[TOKENS]` name, and what is said of one that cannot be read?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.errors import PlanError
from frostline.recipe import TokenRange, TokenRows, WrittenPlan, parse_selector

ranges = st.tuples(st.integers(0, 10**8), st.integers(1, 10**8)).map(lambda pair: TokenRange(pair[0], sum(pair)))
items = st.one_of(ranges, st.integers(0, 99).map(lambda start: TokenRange(start, None)), st.text(max_size=20))


@given(st.lists(items, max_size=5, unique=True), st.booleans(), st.sampled_from(["embed", "head"]))
def test_rows_are_read_as_they_are_written_alone_and_in_a_plan(
    items: list[TokenRange | str], added: bool, role: str
) -> None:
    rows = TokenRows(tuple(items), added or not items)
    text = f"{role}[{rows.text}]"
    selector = parse_selector(text)
    assert (selector.pattern, selector.rows, selector.text) == (role, rows, text)
    plan = WrittenPlan.parse(f"train: [{text}, norm@1]; at 3 freeze: [{text}]")
    assert [own.text for own in plan.selectors] == [text, "norm@1", text]
    assert WrittenPlan.parse(plan.text) == plan


def test_ids_ranges_and_tokens_may_be_mixed() -> None:
    found = parse_selector(' embed [ 5, 7:9 ,added, "a, ]\\"", :2, 90: ] ').rows
    assert found == TokenRows(
        (TokenRange(5, 6), TokenRange(7, 9), 'a, ]"', TokenRange(0, 2), TokenRange(90, None)), added=True
    )
    assert found.text == 'added, 5, 7:9, "a, ]\\"", :2, 90:'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("embed[]", "'embed[]' names no token."),
        ("embed[20:10]", "the range '20:10' runs backwards. Write '10:21'."),
        ("embed[10:10]", "the range '10:10' is empty: its end is not part of it. Write '10:11'."),
        ("embed[-1]", "'-1' is no token. Ids count from 0, tokens stand in quotes."),
        ("embed[tool]", "'tool' is no token."),
        ("embed[1 2]", "'1 2' is no token."),
        ("embed[1,,2]", "'' is no token."),
        ('embed["tool]', "a token in quotes does not end."),
        ('embed["a" 5]', "'5]' stands behind a token."),
        ("embed[5", "the bracket is not closed."),
        ("embed[5]@3", "the vocabulary has no layers."),
        ("embed[5]x", "'x' stands behind its bracket."),
        ("attn.q[5]", "'attn.q' has no rows of tokens. embed and head have."),
        (f"embed[{'1,' * 3000}]", "is longer than 4,000 characters. Write ranges of ids."),
    ],
)
def test_rows_that_cannot_be_read_are_explained(text: str, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse_selector(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300
