"""Whole or not there: sealed folders, locks, cache entries, disk."""

from frostline.storage.bounded import EntryInUse, bounded_entry, default_bound, entry_bytes, used_at
from frostline.storage.cache_entry import cache_trouble, cached_entry, open_entry
from frostline.storage.code import DECIDING_PARTS, code_sha256
from frostline.storage.disk import NO_SPACE, disk_trouble, require_room
from frostline.storage.file_hash import file_sha256, known_hashes, remember_hashes
from frostline.storage.folder_lock import LOCK_FILE, is_locked, take_lock
from frostline.storage.mapped import let_go_of, mapped_bytes
from frostline.storage.sealed import (
    SEAL_FILE,
    Facts,
    SealBrokenError,
    Sealed,
    flush_folder,
    open_sealed,
    place_folder,
    remove_abandoned,
    remove_whole,
    replace_file,
    seal,
    time_on_disk,
    write_file,
)

__all__ = [
    "DECIDING_PARTS",
    "LOCK_FILE",
    "NO_SPACE",
    "SEAL_FILE",
    "EntryInUse",
    "Facts",
    "SealBrokenError",
    "Sealed",
    "bounded_entry",
    "cache_trouble",
    "cached_entry",
    "code_sha256",
    "default_bound",
    "disk_trouble",
    "entry_bytes",
    "file_sha256",
    "flush_folder",
    "is_locked",
    "known_hashes",
    "let_go_of",
    "mapped_bytes",
    "open_entry",
    "open_sealed",
    "place_folder",
    "remember_hashes",
    "remove_abandoned",
    "remove_whole",
    "replace_file",
    "require_room",
    "seal",
    "take_lock",
    "time_on_disk",
    "used_at",
    "write_file",
]
