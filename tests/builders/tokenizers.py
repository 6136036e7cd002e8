"""Which tokenizers do the tests use? Tiny fast ones, built in memory: one of whole words, one of byte pairs."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

END, UNKNOWN, USER, ASSISTANT = "<|end|>", "<|unknown|>", "<|user|>", "<|assistant|>"
WORDS = 200
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|> {{ message.content }} <|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def word(number: int) -> str:
    """The `number`-th word that `word_tokenizer` knows; its token id is `number`."""
    return f"w{number}"


def words(numbers: list[int]) -> str:
    """A text whose tokens are `numbers`."""
    return " ".join(word(number) for number in numbers)


def word_tokenizer(
    vocabulary: int = WORDS, *, end: bool = True, chat_template: str | None = CHAT_TEMPLATE
) -> PreTrainedTokenizerFast:
    """One token a word: `w0` is 0, `w1` is 1, ...; the four special ones follow. No padding token."""
    special = [UNKNOWN, USER, ASSISTANT, END]
    ids = {word(number): number for number in range(vocabulary)}
    ids |= {token: vocabulary + place for place, token in enumerate(special)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        eos_token=END if end else None,
        additional_special_tokens=[USER, ASSISTANT, *([] if end else [END])],
    )
    fast.chat_template = chat_template
    return fast


def byte_pair_tokenizer(text: str, vocabulary: int = 400) -> PreTrainedTokenizerFast:
    """Byte-level pairs as GPT-2 has them, trained on `text`; it gives back every text exactly."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
