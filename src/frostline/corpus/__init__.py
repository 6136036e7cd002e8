"""What does the model read, in which order? Sources to tokens on disk, windows of them, and who reads which when."""

from frostline.corpus.check import check_corpus
from frostline.corpus.corpus import Batch, Corpus, open_corpus
from frostline.corpus.order import below, raw_numbers
from frostline.corpus.pairs import NOT_COUNTED
from frostline.corpus.preview import LINE_END, CorpusPreview, ShownWindow, Stretch, preview
from frostline.corpus.tokenise import tokenizer_sha256

__all__ = [
    "LINE_END",
    "NOT_COUNTED",
    "Batch",
    "Corpus",
    "CorpusPreview",
    "ShownWindow",
    "Stretch",
    "below",
    "check_corpus",
    "open_corpus",
    "preview",
    "raw_numbers",
    "tokenizer_sha256",
]
