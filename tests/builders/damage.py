"""What can have happened to the files of a model? Damages to one file, each drawn from a generator of random numbers.

Weights are changed in the bytes of their safetensors file, not through a library that would set right what it writes.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TypedDict

PREFIXES = ("_orig_mod.", "module.", "model.", "base_model.model.", "transformer.", "x")
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"
WEB_PAGE = "<!DOCTYPE html><html><body>404: not found</body></html>\n"


@dataclass(frozen=True)
class Stored:
    """One tensor of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    values: bytes


class _Entry(TypedDict):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def read_weights(path: Path) -> dict[str, Stored]:
    """The tensors of a whole file, by name."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header: dict[str, _Entry] = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    data = raw[8 + length :]
    return {
        name: Stored(entry["dtype"], tuple(entry["shape"]), data[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }


def write_weights(path: Path, tensors: dict[str, Stored]) -> None:
    """Write `tensors` as one file, whether they make sense or not."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, stored in tensors.items():
        end = place + len(stored.values)
        header[name] = {"dtype": stored.dtype, "shape": list(stored.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(stored.values for stored in tensors.values()))


def rename_tensors(path: Path, draw: Random) -> str:
    """One name, some, or all: with a prefix, a letter that is another, another case, a layer that is another."""
    tensors = read_weights(path)
    count = draw.choice((1, max(1, len(tensors) // 2), len(tensors)))
    chosen = set(draw.sample(sorted(tensors), count))
    prefix, kind = draw.choice(PREFIXES), draw.choice(("prefix", "no prefix", "letter", "case", "number"))

    def renamed(name: str) -> str:
        match kind:
            case "prefix":
                return prefix + name
            case "no prefix":
                return name.partition(".")[2] or name + "_"
            case "letter":
                place = draw.randrange(len(name))
                return name[:place] + "z" + name[place + 1 :]
            case "case":
                return name.upper()
            case _:
                return name.replace(".0.", ".7.") if ".0." in name else name + ".0"

    write_weights(path, {renamed(name) if name in chosen else name: own for name, own in tensors.items()})
    return f"{count} names: {kind}"


def drop_tensors(path: Path, draw: Random) -> str:
    """One tensor is missing, or several, or all."""
    tensors = read_weights(path)
    count = draw.choice((1, 1, 2, len(tensors) // 2, len(tensors)))
    gone = set(draw.sample(sorted(tensors), min(count, len(tensors))))
    write_weights(path, {name: own for name, own in tensors.items() if name not in gone})
    return f"without {sorted(gone)[0]} and {len(gone) - 1} more" if gone else "as it was"


def reshape_tensor(path: Path, draw: Random) -> str:
    """One tensor has another shape: of the same values, or of fewer or more."""
    tensors = read_weights(path)
    name = draw.choice(sorted(tensors))
    own = tensors[name]
    size = len(own.values) // max(1, _count(own.shape))
    rows = own.shape[0] if own.shape else 1
    row = len(own.values) // max(1, rows)
    kind = draw.choice(("flat", "a dimension more", "turned", "a row less", "a row more", "no values"))
    match kind:
        case "flat":
            tensors[name] = replace(own, shape=(_count(own.shape),))
        case "a dimension more":
            tensors[name] = replace(own, shape=(1, *own.shape))
        case "turned":
            tensors[name] = replace(own, shape=own.shape[::-1])
        case "a row less":
            tensors[name] = replace(own, shape=(rows - 1, *own.shape[1:]), values=own.values[row:])
        case "a row more":
            tensors[name] = replace(own, shape=(rows + 1, *own.shape[1:]), values=own.values + own.values[:row])
        case _:
            tensors[name] = replace(own, shape=(0,), values=b"")
    write_weights(path, tensors)
    return f"{name} ({size} bytes a value): {kind}"


def duplicate_tensors(path: Path, draw: Random) -> str:
    """Every tensor, or one, stands twice: once more with a prefix, with other values."""
    tensors = read_weights(path)
    prefix = draw.choice(PREFIXES)
    chosen = draw.choice((sorted(tensors), [draw.choice(sorted(tensors))]))
    others = {prefix + name: replace(tensors[name], values=bytes(len(tensors[name].values))) for name in chosen}
    both = draw.choice((others | tensors, tensors | others))
    write_weights(path, {name: tensors.get(name, own) for name, own in both.items()})
    return f"{len(chosen)} tensors twice, also as {prefix}..."


def call_another_type(path: Path, draw: Random) -> str:
    """The values of a tensor are said to be of another type of the same width."""
    tensors = read_weights(path)
    name, dtype = draw.choice(sorted(tensors)), draw.choice(("I32", "U32", "I64", "F16", "BOOL", "F128"))
    tensors[name] = replace(tensors[name], dtype=dtype)
    write_weights(path, tensors)
    return f"{name} as {dtype}"


def spoil_values(path: Path, draw: Random) -> str:
    """A value, or all of a tensor, is not a number, or infinite."""
    tensors = read_weights(path)
    name = draw.choice(sorted(tensors))
    own, bad = tensors[name], struct.pack("<f", draw.choice((float("nan"), float("inf"), float("-inf"))))
    count = len(own.values) // 4
    if draw.random() < 0.5:
        values = bad * count
    else:
        place = 4 * draw.randrange(count)
        values = own.values[:place] + bad + own.values[place + 4 :]
    tensors[name] = replace(own, values=values)
    write_weights(path, tensors)
    return f"{name} is not finite"


def cut_weights(path: Path, draw: Random) -> str:
    """A download that stopped at some byte, or went on too far."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    place = draw.choice((draw.randrange(8), draw.randrange(8 + length), draw.randrange(len(raw)), len(raw) - 1))
    if draw.random() < 0.1:
        path.write_bytes(raw + bytes(draw.randrange(1, 64)))
        return "with bytes after its end"
    path.write_bytes(raw[:place])
    return f"cut at {place} of {len(raw)}"


def flip_header(path: Path, draw: Random) -> str:
    """One to three bits of the header are others."""
    raw = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", raw[:8])
    places = [draw.randrange(8 + length) for _ in range(draw.randrange(1, 4))]
    for place in places:
        raw[place] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(raw))
    return f"bits at {places} of the header"


def replace_file(path: Path, draw: Random) -> str:
    """Something else stands where the file was."""
    size = path.stat().st_size
    kind = draw.choice(("a pointer", "nothing", "a web page", "empty", "a folder", "zeros"))
    path.unlink()
    match kind:
        case "a pointer":
            oid = f"{draw.randrange(16**64):064x}"
            path.write_text(LFS_POINTER.format(oid=oid, size=size), encoding="utf-8")
        case "a web page":
            path.write_text(WEB_PAGE, encoding="utf-8")
        case "empty":
            path.write_bytes(b"")
        case "a folder":
            path.mkdir()
        case "zeros":
            path.write_bytes(bytes(size))
    return f"{path.name}: {kind}"


def break_text(path: Path, draw: Random) -> str:
    """A file of JSON is cut, in another encoding, another kind of value, or has some bits that are others."""
    raw = path.read_bytes()
    kind = draw.choice(("cut", "UTF-16", "a mark before it", "a list", "a number", "null", "bits", "twice"))
    changed = {
        "cut": raw[: draw.randrange(len(raw))],
        "UTF-16": raw.decode().encode("utf-16"),
        "a mark before it": b"\xef\xbb\xbf" + raw,
        "a list": b"[" + raw + b"]",
        "a number": b"7\n",
        "null": b"null",
        "twice": raw + raw,
    }
    if kind == "bits":
        flipped = bytearray(raw)
        for _ in range(draw.randrange(1, 4)):
            flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(flipped))
    else:
        path.write_bytes(changed[kind])
    return f"{path.name}: {kind}"


def change_value(path: Path, draw: Random) -> str:
    """One value of a JSON file is gone, of another type, or another."""
    whole: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    holder, key = _some_place(whole, draw)
    old = holder[key]
    kind = draw.choice(("gone", "type", "value", "value"))
    if kind == "gone":
        del holder[key]
    elif kind == "type":
        holder[key] = draw.choice(("many", None, [], {}, [1, 2], {"a": 1}, -1, 0.5, True, "", "7", [None]))
    elif isinstance(old, bool):
        holder[key] = not old
    elif isinstance(old, int):
        holder[key] = draw.choice((0, -1, old + 1, max(1, old // 2), old * 2, old * 8, 1))
    elif isinstance(old, float):
        holder[key] = draw.choice((0.0, -1.0, old * 1000, float("nan"), float("inf"), 1e308))
    elif isinstance(old, str):
        holder[key] = draw.choice(("", old.upper(), old + "x", "unknown", "../" + old, "\x00"))
    elif isinstance(old, list):
        holder[key] = draw.choice(([], old * 2, old[:-1], [*old, None]))
    else:
        holder[key] = 1
    path.write_text(json.dumps(whole), encoding="utf-8")
    return f"{path.name}: {key}: {json.dumps(old)[:40]} -> {json.dumps(holder.get(key, 'gone'))[:40]}"


def _some_place(whole: dict[str, object], draw: Random) -> tuple[dict[str, object], str]:
    """A dictionary in `whole`, or itself, and one of its keys."""
    key = draw.choice(sorted(whole))
    inner = whole[key]
    if isinstance(inner, dict) and inner and draw.random() < 0.7:
        return _some_place(inner, draw)
    return whole, key


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
