"""What does the model read, in which order? Sources to tokens on disk, windows of them, and who reads which when."""

from frostline.corpus.corpus import Batch, Corpus, open_corpus
from frostline.corpus.pairs import NOT_COUNTED

__all__ = ["NOT_COUNTED", "Batch", "Corpus", "open_corpus"]
