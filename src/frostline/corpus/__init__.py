"""What does the model read, in which order? Sources to tokens on disk, windows of them, and who reads which when."""

from frostline.corpus.batch import Batch
from frostline.corpus.beginning import beginning_of
from frostline.corpus.check import check_corpus
from frostline.corpus.corpus import Corpus, open_corpus, remarks_on
from frostline.corpus.frequency import FREQUENCY_CLASSES
from frostline.corpus.order import below, raw_numbers
from frostline.corpus.preview import LINE_END, CorpusPreview, ShownWindow, Stretch, preview
from frostline.corpus.read import is_running_text
from frostline.corpus.tokenise import tokenizer_sha256
from frostline.corpus.windows import NOT_COUNTED

__all__ = [
    "FREQUENCY_CLASSES",
    "LINE_END",
    "NOT_COUNTED",
    "Batch",
    "Corpus",
    "CorpusPreview",
    "ShownWindow",
    "Stretch",
    "beginning_of",
    "below",
    "check_corpus",
    "is_running_text",
    "open_corpus",
    "preview",
    "raw_numbers",
    "remarks_on",
    "tokenizer_sha256",
]
