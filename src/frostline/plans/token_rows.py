"""Which rows of the vocabulary train? The embeddings of a model, divided as the selectors of a plan ask for it.

Rows are portions like the query's of a fused matrix: what trains has a parameter of its own, what is frozen is in no
optimizer. A tied head is the same weight, so that its rows train at both ends.

*Added* tokens are those that stand in the tokenizer's list of added tokens behind its own vocabulary, at
`tokenizer.vocab_size` or above: `add_tokens` and `add_special_tokens` put them there. Some families ship control tokens
there as well; who wants only some names these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from frostline.errors import PlanError, at, nearest
from frostline.plans.types import ModelMap, Portion, as_ranges
from frostline.recipe import Selector, TokenRange

LONGEST_LABEL = 40
"""Letters of a selector that names a portion; the rest of a longer one is told by its hash."""


def with_rows(model_map: ModelMap, selectors: Iterable[Selector]) -> ModelMap:
    """`model_map` with the matrices of the vocabulary divided, so that each of `selectors` names whole portions.

    Raises `PlanError`, at the selector, for tokens that are not there.
    """
    for selector in selectors:
        if selector.rows is not None:
            with at(*selector.keys):
                model_map = _divided(model_map, selector)
    return model_map


def without_rows(model_map: ModelMap) -> ModelMap:
    """The same map as if no rows had been asked for."""
    whole = {
        portion.parameter: replace(portion, indices=None, label="") for portion in model_map.portions if portion.of_rows
    }
    if not whole:
        return model_map
    return replace(
        model_map,
        portions=tuple(
            dict.fromkeys(whole[portion.parameter] if portion.of_rows else portion for portion in model_map.portions)
        ),
    )


def portions_of_rows(selector: Selector, model_map: ModelMap) -> tuple[Portion, ...]:
    """The portions that the rows of `selector` are, of a map that was divided for it (`with_rows`)."""
    parameter = _matrix_of(selector, model_map)
    wanted = frozenset(rows_of(selector, model_map))
    return tuple(
        portion
        for portion in model_map.portions
        if portion.parameter == parameter and wanted.issuperset(_rows(portion))
    )


def rows_of(selector: Selector, model_map: ModelMap) -> list[int]:
    """The ids that `selector` names, ascending. Raises `PlanError` for what is not in the vocabulary."""
    assert selector.rows is not None
    size = _size_of(_matrix_of(selector, model_map), model_map)
    ids: set[int] = set()
    if selector.rows.added:
        ids |= set(_added(selector, _tokenizer_for(selector, model_map)))
    for item in selector.rows.items:
        if isinstance(item, TokenRange):
            stop = size if item.stop is None else item.stop
            if item.start >= size or stop > size:
                raise PlanError(
                    f"'{_shown(selector)}': there is no row {max(item.start, stop - 1):,}: the matrix has {size:,}.",
                    f"They are counted from 0 to {size - 1:,}.",
                )
            ids |= set(range(item.start, stop))
        else:
            ids.add(_id_of(item, selector, _tokenizer_for(selector, model_map)))
    beyond = max(ids)
    if beyond >= size:
        raise PlanError(
            f"'{_shown(selector)}': token {beyond:,} of the tokenizer has no row: the matrix has {size:,}.",
            "Give it one: model.resize_token_embeddings(len(tokenizer)).",
        )
    return sorted(ids)


def _divided(model_map: ModelMap, selector: Selector) -> ModelMap:
    parameter, wanted = _matrix_of(selector, model_map), frozenset(rows_of(selector, model_map))
    portions: list[Portion] = []
    parts: list[Portion] = []
    for portion in model_map.portions:
        if portion.parameter != parameter:
            portions.append(portion)
            continue
        if not parts:
            place = len(portions)
        rows = _rows(portion)
        inside, outside = [row for row in rows if row in wanted], [row for row in rows if row not in wanted]
        if inside and outside:
            label = f"{portion.label} & {_label(selector)}" if portion.label else _label(selector)
            parts.append(replace(portion, indices=as_ranges(outside)))
            parts.append(replace(portion, indices=as_ranges(inside), label=label))
        else:
            parts.append(portion)
    # In the order of the rows, so that as few runs as possible are put together.
    portions[place:place] = sorted(parts, key=lambda portion: _rows(portion)[0])
    return replace(model_map, portions=tuple(portions))


def _matrix_of(selector: Selector, model_map: ModelMap) -> str:
    """Name of the parameter whose rows `selector` names."""
    name = model_map.embedding_name if selector.pattern == "embed" else model_map.head_name
    for portion in model_map.portions:
        if name in (portion.parameter, *portion.aliases) and len(portion.shape) == 2 and portion.dimension == 0:
            return portion.parameter
    raise PlanError(
        f"'{_shown(selector)}': the model has no matrix there with one row for each token.",
        f"Name all of it: '{selector.pattern}'.",
    )


def _size_of(parameter: str, model_map: ModelMap) -> int:
    return next(portion.shape[0] for portion in model_map.portions if portion.parameter == parameter)


def _rows(portion: Portion) -> Sequence[int]:
    if portion.indices is None:
        return range(portion.shape[0])
    return [row for run in portion.indices for row in run]


def _tokenizer_for(selector: Selector, model_map: ModelMap) -> PreTrainedTokenizerBase:
    if model_map.tokenizer is None:
        raise PlanError(
            f"'{_shown(selector)}' speaks of tokens, and no tokenizer is given.",
            "Pass it: plan.apply(model, tokenizer=tokenizer); or name ids, such as embed[32000:].",
        )
    return model_map.tokenizer


def _added(selector: Selector, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    found = [number for number in tokenizer.added_tokens_decoder if number >= tokenizer.vocab_size]
    if not found:
        raise PlanError(
            f"'{_shown(selector)}': no token was added: the tokenizer's {tokenizer.vocab_size:,} are all its own.",
            "Add some with tokenizer.add_tokens and save it with the model, or name tokens.",
        )
    return found


def _id_of(token: str, selector: Selector, tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of `token`: an entry of the vocabulary, or a text that is one token."""
    vocabulary = tokenizer.get_vocab()
    if token in vocabulary:
        return int(vocabulary[token])
    ids = tokenizer.encode(token, add_special_tokens=False) if token else []
    if len(ids) == 1 and tokenizer.decode(ids) == token:
        return int(ids[0])
    added = [str(known) for known in tokenizer.added_tokens_decoder.values()]
    pieces = f"it reads that as {len(ids)} tokens" if len(ids) > 1 else "it does not know that"
    raise PlanError(
        f"'{_shown(selector)}': '{token[:40]}' is no token of the tokenizer: {pieces}.",
        nearest(token[:40], added) or "Add it with tokenizer.add_tokens, or name ids.",
    )


def _shown(selector: Selector) -> str:
    text = selector.text
    return text if len(text) <= 60 else f"{text[:57]}..."


def _label(selector: Selector) -> str:
    text = selector.text
    if len(text) <= LONGEST_LABEL:
        return text
    return f"{text[:LONGEST_LABEL]}... {hashlib.sha256(text.encode()).hexdigest()[:8]}]"
