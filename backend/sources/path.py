"""Models in directories of the server, below roots that the operator has named.

A path is resolved first, and what it resolves to must lie below a root. Files are then opened
component by component from the root, following no link: whoever swaps a directory for a link
between the look and the opening gets an error, not another file.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from backend.sources.errors import FetchRefused
from backend.sources.rows import is_model_file, is_model_folder

MOST_FILES = 10_000
_MOST_DEPTH = 16
_CARD_BYTES = 1 << 20
# What the JSON files of a model's folder are known to say about it.
_CARD_FIELDS = (
    "_name_or_path", "architectures", "model_type", "torch_dtype", "dtype", "license",
    "max_position_embeddings", "vocab_size", "hidden_size", "num_hidden_layers",
    "num_attention_heads", "num_key_value_heads", "base_model_name_or_path", "peft_type", "r",
    "lora_alpha", "target_modules", "quantization_config", "_class_name", "pipeline_tag",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PathFile:
    """A file: its path inside the model, where it really lies, and its size in bytes."""

    path: str
    real: Path
    size: int


@dataclass(frozen=True)
class PathModel:
    """What lies at a path. With `problems` it cannot be imported as it is."""

    real: Path
    files: list[PathFile]
    card: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def total_bytes(self) -> int:
        """All files together."""
        return sum(file.size for file in self.files)


def inspect_path(path: str, roots: Sequence[Path]) -> PathModel:
    """Looks at a directory or file, absolute or below one of the roots.

    Raises `FetchRefused` where it does not exist or lies outside the roots.
    """
    real = _real(path, roots)
    found = PathModel(real, [])
    if real.is_dir():
        for file, problem in _walk(real, roots):
            if problem is not None:
                found.problems.append(problem)
            elif file is not None:
                found.files.append(file)
    else:
        found.files.append(PathFile(real.name, real, real.stat().st_size))
    found.files.sort(key=lambda file: file.path)
    found.problems.extend(_unreadable(found.files, roots))
    names = [file.path for file in found.files if "/" not in file.path]
    if not found.files:
        found.problems.append(f"{real} holds no files.")
    elif not is_model_folder(names) and not any(map(is_model_file, names)):
        found.problems.append(
            f"{real} holds neither a config.json nor any other sign of a model that Loggia knows."
        )
    found.card.update(_card(found.files, roots))
    return found


def open_below(path: Path, roots: Sequence[Path]) -> BinaryIO:
    """The regular file at a resolved path, opened from its root without following a link.

    Raises `FetchRefused`, and `OSError` where it cannot be read.
    """
    return os.fdopen(_descriptor(path, roots), "rb")


def _descriptor(path: Path, roots: Sequence[Path]) -> int:
    root = _root_of(path, roots)
    if root is None:
        raise _outside(str(path), roots)
    parts = path.relative_to(root).parts
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = inner
        # O_NONBLOCK: a pipe in a file's place must not make us wait for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(parts[-1], flags, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FetchRefused(
            "not_a_file", f"{path} is not a regular file.", "Remove it from the directory."
        )
    return file


def _real(path: str, roots: Sequence[Path]) -> Path:
    if not roots:
        raise FetchRefused(
            "no_roots",
            "This server imports from no directory.",
            "Ask the operator to name directories in LOGGIA_IMPORT_ROOTS.",
        )
    if "\0" in path or not path.strip():
        raise FetchRefused("path_malformed", "This is not a path.", "Give a directory's path.")
    given = Path(path.strip())
    candidates = [given] if given.is_absolute() else [root / given for root in roots]
    for candidate in candidates:
        try:
            real = candidate.resolve(strict=True)
        except (OSError, RuntimeError):
            continue
        if _root_of(real, roots) is not None:
            return real
    if any(_root_of(Path(os.path.normpath(c)), roots, resolve=False) for c in candidates) and not (
        any(map(os.path.lexists, candidates))
    ):
        raise FetchRefused(
            "path_missing",
            f"{path.strip()[:300]} does not exist, or this server may not see it.",
            "Check the path for typing errors, and the directory's permissions.",
        )
    raise _outside(path.strip(), roots)


def _outside(path: str, roots: Sequence[Path]) -> FetchRefused:
    # Nothing is said of whether it exists: that is nobody's business out there.
    return FetchRefused(
        "path_outside",
        f"{path[:300]} does not lie below a directory from which models may be imported.",
        f"Use a path below {', '.join(map(str, roots))}.",
    )


def _root_of(path: Path, roots: Sequence[Path], *, resolve: bool = True) -> Path | None:
    for root in roots:
        known = Path(os.path.realpath(root)) if resolve else root
        if path != known and path.is_relative_to(known):
            return known
    return None


def _walk(top: Path, roots: Sequence[Path]) -> Iterator[tuple[PathFile | None, str | None]]:
    """Every file below, or a problem in its place."""
    waiting = [(top, "")]
    count = 0
    while waiting:
        folder, prefix = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield None, f"{prefix or '.'} cannot be read: {error.strerror}."
            continue
        for entry in entries:
            count += 1
            if count > 2 * MOST_FILES:
                yield None, f"The directory holds more than {MOST_FILES} files."
                return
            path = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if path.count("/") >= _MOST_DEPTH:
                    yield None, f"{path} lies more than {_MOST_DEPTH} folders deep."
                else:
                    waiting.append((Path(entry.path), f"{path}/"))
            else:
                yield _one(Path(entry.path), path, roots)


def _one(place: Path, path: str, roots: Sequence[Path]) -> tuple[PathFile | None, str | None]:
    try:
        real = place.resolve(strict=True)
        if _root_of(real, roots) is None:
            return None, f"{path} is a link that leads out of the directories for imports."
        facts = real.stat()
    except (OSError, RuntimeError) as error:
        return None, f"{path} cannot be followed: {getattr(error, 'strerror', None) or error}."
    if stat.S_ISDIR(facts.st_mode):
        return None, f"{path} is a link to a directory; only links to files are followed."
    if not stat.S_ISREG(facts.st_mode):
        return None, f"{path} is not a regular file."
    return PathFile(path, real, facts.st_size), None


def _unreadable(files: Sequence[PathFile], roots: Sequence[Path]) -> Iterator[str]:
    for file in files:
        try:
            os.close(_descriptor(file.real, roots))
        except OSError as error:
            yield f"{file.path} cannot be read: {error.strerror}."
        except FetchRefused as refusal:
            yield refusal.reason


def _card(files: Sequence[PathFile], roots: Sequence[Path]) -> dict[str, Any]:
    """What the model's JSON files say, the first that says it counting."""
    card: dict[str, Any] = {}
    for file in files:
        if not file.path.endswith(".json") or "/" in file.path or file.size > _CARD_BYTES:
            continue
        try:
            with open_below(file.real, roots) as source:
                content = json.loads(source.read(_CARD_BYTES))
        except (OSError, ValueError, RecursionError, FetchRefused):
            continue  # validation says what is wrong with it
        if isinstance(content, dict):
            for name in _CARD_FIELDS:
                if name in content:
                    card.setdefault(name, content[name])
    return card
