"""How do texts of any size become tokens? In a stream: block by block through the tokenizer, onto disk, then mapped.

The result is an entry of the cache under a key of everything that it depends on: the source's content, the columns,
the tokenizer, this room's code and the packages that it uses. `tokens.bin` holds little-endian ids of 16 or 32 bits;
`counts.bin` how often each id occurs; of conversations, `conversations.bin` says where each begins and `learnt.bin`
what is learnt of it.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from frostline.corpus.conversations import CONVERSATIONS_FILE, CUTS_FILE, SPANS_FILE, Conversations
from frostline.corpus.fetch import Progress
from frostline.corpus.read import Source, check_sha256
from frostline.corpus.repeats import (
    REPEATED,
    Documents,
    Paragraphs,
    count_paragraphs,
    without_repeated_documents,
    without_repeated_paragraphs,
)
from frostline.corpus.rows import Row
from frostline.corpus.special import Markers, separator_of_documents
from frostline.corpus.tally import Tally
from frostline.corpus.text_batches import in_batches, one_by_one
from frostline.corpus.turns import chat_columns
from frostline.corpus.write_conversations import ChatReader, ConversationWriter
from frostline.errors import CorpusError
from frostline.recipe import CorpusSettings, is_template_file
from frostline.storage import EntryInUse, Facts, Sealed, bounded_entry, cache_trouble, code_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WRITE_TOKENS = 1 << 17
TOKENIZER_SETTINGS = (
    "clean_up_tokenization_spaces",
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
    "split_special_tokens",
)
"""What decides tokens or text and stands in no file of the fast tokenizer itself."""
DECIDING_PACKAGES = ("jinja2", "polars", "tokenizers", "transformers", "zstandard")
"""Packages that read a source, write its conversations and cut it into tokens."""
TOKENS_FILE, COUNTS_FILE = "tokens.bin", "counts.bin"
REPEATS_FILE = "repeats.bin"
"""First token, end and number of each row that stands more than once; there only where some do."""


@dataclass(frozen=True)
class TokenFile:
    """A tokenised source, mapped from disk."""

    ids: NDArray[np.unsignedinteger]
    """[tokens]"""
    counts: NDArray[np.int64]
    """[vocabulary] how often each id occurs in the whole source."""
    conversations: Conversations | None
    """Where they begin and what is learnt of them; None for running text."""
    source_sha256: str
    """SHA-256 of the source's content."""
    sha256: str
    """SHA-256 of the ids, and of what is learnt where not all is: what windows are named relative to."""
    tally: Tally
    """Rows read, rows left out and why."""
    facts: Facts
    """What else was found while reading."""
    duplicates: int = 0
    """Rows, or paragraphs of a plain text, that repeat an earlier one."""
    repeats: NDArray[np.int64] | None = None
    """[rows, 2]: first token and end of each row of running text that stands more than once; None where none does."""
    files: tuple[tuple[str, int], ...] = ()
    """Name of each file that holds something, with its first token (of conversations, its first row); none where the
    source is one file."""
    in_use: EntryInUse | None = None
    """Keeps the mapped files in the cache folder."""


def tokenise(
    source: Source,
    settings: CorpusSettings,
    tokenizer: PreTrainedTokenizerBase,
    cache_folder: Path,
    progress: Progress | None = None,
) -> TokenFile:
    """The tokens of `source`, from the cache or made now. Raises `CorpusError`, leaving nothing half-written."""
    reader = _chat_reader(source, settings, tokenizer)

    def write(folder: Path) -> Facts:
        with (folder / TOKENS_FILE).open("wb") as file:
            writer = _TokenWriter(file, folder.parent, _vocabulary(tokenizer), source.bytes)
            tally = Tally()
            if reader is None:
                facts = _write_text(source, settings, tokenizer, writer, folder, progress, tally)
            else:
                facts = _write_conversations(source, reader, settings, writer, folder, progress, tally)
            writer.flush()
        (folder / COUNTS_FILE).write_bytes(writer.counts.astype("<i8").tobytes())
        if progress is not None and source.bytes:
            progress(source.bytes, source.bytes)
        return {**facts, "tally": json.dumps(asdict(tally))}

    entry, use = bounded_entry(cache_folder / "corpora", _key(source, settings, tokenizer, reader), write)
    return replace(_open(entry, settings, _vocabulary(tokenizer)), in_use=use)


def _chat_reader(source: Source, settings: CorpusSettings, tokenizer: PreTrainedTokenizerBase) -> ChatReader | None:
    """How the source's conversations are read; None if it is running text."""
    wanted = settings.format == "chat" or settings.prompt is not None or settings.messages is not None
    if source.rows is None:
        if not wanted:
            return None
        raise CorpusError(
            f"{source.description} is plain text, which has no columns for prompts and responses.",
            "Give jsonl, csv, parquet or a hub data set.",
        )
    if not wanted and (settings.format not in ("auto", "jsonl", "csv", "parquet") or settings.column is not None):
        return None
    columns = chat_columns(
        settings, () if settings.prompt is not None and settings.format != "chat" else source.column_names()
    )
    if columns is None:
        return None
    template = settings.template
    if template is not None and is_template_file(template):
        template = str(settings.place.path_of(template))
    return ChatReader(tokenizer, columns, settings.learn, template, settings.template_date or today())


@cache
def today() -> datetime.date:
    """The day on which this process asked first: a run that goes past midnight stays on its day."""
    return datetime.date.today()


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of all that decides which tokens a text becomes, and which text tokens; chat template included.

    Where it lies and what it is called is left out.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    settings = {
        "class": type(tokenizer).__name__,
        "chat template": tokenizer.chat_template,  # it is given the special tokens by name
        "special tokens": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        **{name: getattr(tokenizer, name, None) for name in TOKENIZER_SETTINGS},
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    if backend is not None:
        parts = json.loads(backend.to_str())
        # Truncation and padding are left-overs of the last call, not properties of the tokenizer.
        parts.pop("truncation", None)
        parts.pop("padding", None)
        digest.update(json.dumps(parts, sort_keys=True).encode())
    else:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file():
                    digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class _TokenWriter:
    """Appends ids to the file and counts them."""

    def __init__(self, file: IO[bytes], cache: Path, vocabulary: int, source_bytes: int) -> None:
        self._file = file
        self._cache = cache
        self._source_bytes = source_bytes
        self._dtype = _dtype(vocabulary)
        self._waiting: list[int] = []
        self._bytes_read = 0
        self.counts = np.zeros(vocabulary, dtype=np.int64)
        self.tokens = 0

    def append(self, ids: Sequence[int], bytes_read: int) -> None:
        """Take `ids`, found in the first `bytes_read` bytes of the source, and write them when there are enough."""
        self._waiting.extend(ids)
        self.tokens += len(ids)
        self._bytes_read = bytes_read
        if len(self._waiting) >= WRITE_TOKENS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. Raises `CorpusError` with the bytes needed if the disk is full."""
        values = np.array(self._waiting, dtype=np.int64)
        self._waiting.clear()
        self.counts += np.bincount(values, minlength=self.counts.size)
        try:
            _write(self._file, values.astype(self._dtype).tobytes())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            written = self.tokens * self._dtype.itemsize
            share = self._source_bytes / self._bytes_read if self._bytes_read and self._source_bytes else 1.0
            needed = int(written * max(share, 1.0)) + 8 * self.counts.size
            raise cache_trouble(error, self._cache, needed) from error


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)
    file.flush()


def _write_text(
    source: Source,
    settings: CorpusSettings,
    tokenizer: PreTrainedTokenizerBase,
    writer: _TokenWriter,
    folder: Path,
    progress: Progress | None,
    tally: Tally,
) -> Facts:
    """Running text; documents of a table or folder are separated by the tokenizer's end-of-text token if it has one."""
    end = tokenizer.eos_token_id if source.is_table else None
    digest = hashlib.sha256()
    limit = _limit_while_reading(source, settings)
    markers = Markers(tokenizer)
    separator = None if source.is_table else separator_of_documents(tokenizer)
    separate = False
    documents, paragraphs, files = Documents(), Paragraphs(), _Files(source.files)
    read = source.blocks(tally)
    if not source.is_table:
        drop = settings.duplicates == "drop"
        read = (without_repeated_paragraphs if drop else count_paragraphs)(read, paragraphs)
    elif settings.duplicates == "drop":
        read = without_repeated_documents(read, tally)
    tokenised = (in_batches if limit is None else one_by_one)(read, markers, separator)
    for blocks, ids_of_blocks in tokenised:
        for block, ids in zip(blocks, ids_of_blocks, strict=True):
            digest.update(len(block.text).to_bytes(8, "little") + block.text.encode())
            separate = separate or block.opens_document
            if ids and separate and writer.tokens and isinstance(end, int):
                writer.append([end], block.bytes_read)
            if source.is_table:
                documents.take(block, writer.tokens)
            if not ids:
                continue
            separate = False
            files.take(block.file, writer.tokens)
            writer.append(ids, block.bytes_read)
        if progress is not None:
            progress(blocks[-1].bytes_read, max(source.bytes, blocks[-1].bytes_read))
        if limit is not None and writer.tokens >= limit:
            break
    if writer.tokens == 0:
        raise CorpusError(f"{source.description} holds no text.")
    duplicates, spans = documents.repeated(writer.tokens)
    if spans.size:
        (folder / REPEATS_FILE).write_bytes(spans.astype("<i8").tobytes())
    duplicates += tally.left_out.get(REPEATED, 0) + paragraphs.repeats
    return {"source_sha256": source.sha256 or digest.hexdigest(), "duplicates": duplicates, "files": files.as_json()}


def _write_conversations(
    source: Source,
    reader: ChatReader,
    settings: CorpusSettings,
    writer: _TokenWriter,
    folder: Path,
    progress: Progress | None,
    tally: Tally,
) -> Facts:
    """Conversations, end to end; rows without an answer are left out."""
    assert source.rows is not None
    chat = ConversationWriter(reader, writer.append, tally.leave_out)

    def tell(bytes_read: int) -> None:
        if progress is not None:
            progress(bytes_read, max(source.bytes, bytes_read))

    files = _Files(source.files)
    rows = _counted(source.rows((*reader.columns.names, *reader.columns.optional), tally), tally, files)
    chat.take(rows, _limit_while_reading(source, settings), tell)
    if writer.tokens == 0:
        raise CorpusError(f"{source.description} holds no conversation with both a prompt and a response.")
    chat.conversations.save(folder)
    return {
        "source_sha256": source.sha256 or chat.sha256,
        "answers": chat.answers,
        "without_end": chat.without_end,
        "unrolled": chat.unrolled,
        "template_date": "" if reader.date is None else reader.date.isoformat(),
        "files": files.as_json(),
    }


class _Files:
    """Where each file of a source begins, in tokens or rows."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._begins: dict[int, int] = {}

    def take(self, file: int, place: int) -> None:
        """Something of the file number `file` stands at `place`; places come in their order."""
        self._begins.setdefault(file, place)

    def as_json(self) -> str:
        """Name and beginning of each file that was met; none where the source has no names of files."""
        return json.dumps([(self._names[file], place) for file, place in self._begins.items()] if self._names else [])


def _counted(rows: Iterator[Row], tally: Tally, files: _Files) -> Iterator[Row]:
    for number, row in enumerate(rows):
        files.take(row.file, number)
        tally.row()
        yield row


def _limit_while_reading(source: Source, settings: CorpusSettings) -> int | None:
    """A hub data set may be endless: reading stops at the tokens asked for. Files are kept whole for other limits."""
    return settings.tokens if source.sha256 is None else None


def _key(
    source: Source, settings: CorpusSettings, tokenizer: PreTrainedTokenizerBase, reader: ChatReader | None
) -> str:
    text_columns = [settings.text_column] if source.rows is not None else []
    parts = {
        "code": code_sha256(("corpus",)),
        "source": source.identity,
        "columns": text_columns if reader is None else reader.identity,
        "duplicates": settings.duplicates,
        "limit": _limit_while_reading(source, settings),
        "tokenizer": tokenizer_sha256(tokenizer),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in DECIDING_PACKAGES}},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _open(entry: Sealed, settings: CorpusSettings, vocabulary: int) -> TokenFile:
    source_sha256 = str(entry.facts["source_sha256"])
    check_sha256(settings, source_sha256)
    sha256 = entry.sha256[TOKENS_FILE]
    conversations = None
    if CONVERSATIONS_FILE in entry.sha256:
        conversations = Conversations.load(entry.folder)
        learnt = [entry.sha256[name] for name in (CONVERSATIONS_FILE, SPANS_FILE, CUTS_FILE)]
        sha256 = hashlib.sha256("".join((sha256, *learnt)).encode()).hexdigest()
    return TokenFile(
        ids=np.asarray(np.memmap(entry.folder / TOKENS_FILE, dtype=_dtype(vocabulary), mode="r")),
        counts=np.fromfile(entry.folder / COUNTS_FILE, dtype="<i8").astype(np.int64),
        conversations=conversations,
        source_sha256=source_sha256,
        sha256=sha256,
        tally=Tally(**json.loads(str(entry.facts["tally"]))),
        facts=entry.facts,
        duplicates=int(str(entry.facts.get("duplicates", 0))),
        repeats=(
            np.fromfile(entry.folder / REPEATS_FILE, dtype="<i8").reshape(-1, 3).astype(np.int64)
            if REPEATS_FILE in entry.sha256
            else None
        ),
        files=tuple((str(name), int(first)) for name, first in json.loads(str(entry.facts.get("files", "[]")))),
    )


def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> int:
    """One more than the largest id, which may exceed the number of tokens."""
    return max(len(tokenizer), max(tokenizer.get_vocab().values(), default=0) + 1)


def _dtype(vocabulary: int) -> np.dtype[np.unsignedinteger]:
    return np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<u4")
