"""Must the model be told where padding is? Most need not: what stands behind a token cannot change what it says.

A mask shuts out the fastest kernels of attention, and in a causal model it decides nothing, as padding follows the
text. No table of families says which models are causal in all that they do; so the model itself is asked, on windows
of the corpus: without a mask, and with other tokens for padding, all that it says at tokens of the text must stay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from frostline.arms.excerpt import fewer_tokens
from frostline.corpus import Batch, Corpus
from frostline.engine import SAME_BATCH_TOLERANCE, to_device
from frostline.loading import embedding_rows
from frostline.measures import untouched_forward
from frostline.out_of_memory import is_out_of_memory
from frostline.plans import PROBE_ERRORS

TRIED_WINDOWS, TRIED_TOKENS = 3, 512
"""So many windows of different lengths, none of more tokens than these where there are shorter ones."""


def without_needless_mask(corpus: Corpus, model: PreTrainedModel, *, device: torch.device, precision: str) -> Corpus:
    """`corpus`, its batches without a mask where `model` needs none."""
    batch = corpus.uneven_windows(TRIED_WINDOWS, TRIED_TOKENS)
    if batch is None or needs_mask(model, batch, device=device, precision=precision):
        return corpus
    return corpus.without_mask()


def needs_mask(model: PreTrainedModel, batch: Batch, *, device: torch.device, precision: str) -> bool:
    """Whether what `model` says at the tokens of `batch` depends on its mask, or on what its padding holds."""
    is_token = batch.is_token
    if batch.attention_mask is None or is_token is None:
        return False
    batch = fewer_tokens(batch, embedding_rows(model), None)  # an excerpt has fewer
    # Padding of other tokens must change no bit: even a little that came through to the text would be seen.
    text = batch.input_ids[is_token]
    others = np.where(is_token, batch.input_ids, np.resize(text[::-1], is_token.shape))
    plain = replace(batch, attention_mask=None)
    ways = (batch, plain, replace(plain, input_ids=others))
    try:
        with untouched_forward(model, device, precision):
            masked, without, other = (_said(model, way, is_token, device) for way in ways)
    except PROBE_ERRORS as error:
        if is_out_of_memory(error):
            raise
        return True  # it does not run without one
    largest = masked.abs().max().item()
    same = (masked - without).abs().max().item() <= SAME_BATCH_TOLERANCE[precision] * largest
    return not (same and torch.equal(without, other))


def _said(model: PreTrainedModel, batch: Batch, is_token: NDArray[np.bool_], device: torch.device) -> Tensor:
    """[tokens, vocabulary] logits at the tokens of the text alone."""
    input_ids, _, mask = to_device(batch, device)
    logits: Tensor = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
    return logits[torch.from_numpy(is_token).to(device)].float().cpu()
