"""What an archive may at most contain, whatever its format, and the refusals that all share."""

from __future__ import annotations

from dataclasses import dataclass

from workers.importing.names import shown
from workers.importing.refusals import ImportRefused

# What passes from the reader to the writer at once.
CHUNK_BYTES = 1 << 18
REPACK = "Pack the model's folder again with a current program and upload that archive."
REUPLOAD = "Check that the archive opens on your computer, then upload it again."
# Below this many bytes of output a high ratio harms nobody and is common (configs, empty weights).
_RATIO_FREE_BYTES = 1 << 20

_NESTED = (
    ".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".lz4", ".cab", ".iso",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may at most contain. Sizes in bytes; depth in path components."""

    max_entries: int = 10_000
    max_depth: int = 16
    max_total_bytes: int = 1 << 40
    max_ratio: int = 200


def refuse_nested(path: str) -> None:
    """Raises `ImportRefused` for the path of an archive inside the archive."""
    if path.lower().endswith(_NESTED):
        raise ImportRefused(
            "nested_archive",
            f"{shown(path)} is an archive inside the archive; it would not be unpacked.",
            "Unpack it first, then pack the model's files into one archive.",
        )


def refuse_ratio(what: str, size: int, packed: int, most: int) -> None:
    """Raises `ImportRefused` where `packed` bytes become too many."""
    if size > _RATIO_FREE_BYTES and size > most * max(packed, 1):
        raise ImportRefused(
            "compression_ratio",
            f"{what} would grow to more than {most} times its packed size, as a "
            "decompression bomb does.",
            "Leave the file out, or pack the model without compression.",
        )


def refuse_total(total: int, limits: ArchiveLimits) -> None:
    """Raises `ImportRefused` where the files are larger together than is allowed."""
    if total > limits.max_total_bytes:
        raise ImportRefused(
            "too_large",
            f"Unpacked, the archive would have {total} bytes; allowed are "
            f"{limits.max_total_bytes}.",
            "Import a smaller model, or ask the operator to raise the limit.",
        )


def damaged(reason: str) -> ImportRefused:
    """The structure contradicts itself."""
    return ImportRefused("forged_structure", reason, REPACK)


def truncated(reason: str) -> ImportRefused:
    """The file ends before it should."""
    return ImportRefused("truncated", reason, REUPLOAD)


def undecodable(what: str) -> ImportRefused:
    """Compressed data does not decompress."""
    return ImportRefused(
        "corrupt", f"{what} cannot be unpacked: its compressed data is damaged.", REUPLOAD
    )


def too_many_entries(count: int, most: int) -> ImportRefused:
    """More entries than allowed."""
    return ImportRefused(
        "too_many_entries",
        f"The archive holds {count} entries or more; allowed are {most}.",
        "Leave out what does not belong to the model, such as checkpoints and data sets.",
    )


def empty() -> ImportRefused:
    """Not a single file."""
    return ImportRefused(
        "empty",
        "The archive contains no files.",
        "Pack the folder that holds config.json and the weights.",
    )
