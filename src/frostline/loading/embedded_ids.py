"""Has the model an embedding for every token that it is to read? An id beyond them would stop training midway."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frostline.corpus import Corpus
from frostline.errors import ModelError
from frostline.loading.boundary import SOURCE_KEY
from frostline.loading.proof import embedding_rows


def require_embedded_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, corpus: Corpus) -> None:
    """Raise `ModelError`, naming token and id, unless all ids of `corpus`, beginning and padding too, are embedded.

    Prompts are taken from its held-out windows.
    """
    rows = embedding_rows(model)
    if rows is None:
        return
    uses: dict[str, int | None] = {
        "stands in the corpus": corpus.largest_id,
        "begins its windows": max(corpus.beginning, default=None),
        "fills up its rows": corpus.padding_id,
    }
    for use, token in uses.items():
        if token is not None and not 0 <= token < rows:
            text = str(tokenizer.decode([token]))[:40]
            raise ModelError(
                f"the token '{text}' {use} and has the id {token}, but the model has {rows} embeddings, for ids to "
                f"{rows - 1}.",
                f"Use the model's own tokenizer, or call resize_token_embeddings({len(tokenizer)}) and save the model.",
            ).at(*SOURCE_KEY)
