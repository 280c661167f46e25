"""What a process of the gateway could not send before its end, for the next one on this machine."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError

from backend.contracts.generated.loggia.usage.v1.usage_pb2 import RequestAnswered
from backend.infra.logging import get_logger

_LENGTH = struct.Struct(">I")
_log = get_logger(__name__)


class Spool:
    """Files of records in one folder, each left by a process that has ended."""

    def __init__(self, folder: Path, source: str) -> None:
        self._folder = folder
        self._own = folder / f"{source}.records"
        self._claimed: list[tuple[Path, BinaryIO]] = []

    def leave(self, records: Iterable[RequestAnswered]) -> None:
        """Writes records for the next process. What it claimed itself is in its own file then."""
        values = [record.SerializeToString() for record in records]
        try:
            if values:
                self._folder.mkdir(parents=True, exist_ok=True)
                partial = self._own.with_suffix(".part")
                with partial.open("wb") as file:
                    for value in values:
                        file.write(_LENGTH.pack(len(value)) + value)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(self._own)
        except OSError as error:
            _log.error("usage records are lost", records=len(values), error=str(error))
            return
        self.forget_claimed()

    def claim(self) -> list[RequestAnswered]:
        """Records of processes that have ended; no other process gets them meanwhile.

        A file that cannot be read stays for a later process.
        """
        records: list[RequestAnswered] = []
        for path in sorted(self._folder.glob("*.records")):
            try:
                records.extend(self._claim(path))
            except OSError as error:
                _log.error("usage records cannot be read", file=str(path), error=str(error))
        return records

    def forget_claimed(self) -> None:
        """What was claimed is safe elsewhere. Records of a file that stays are only sent again."""
        for path, file in self._claimed:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                _log.error("usage records cannot be removed", file=str(path), error=str(error))
            file.close()
        self._claimed.clear()

    def _claim(self, path: Path) -> list[RequestAnswered]:
        with ExitStack() as opened:
            file = opened.enter_context(path.open("rb"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return []  # another process has it, this one too
            if not path.exists():
                return []  # another process had it
            records = _read(file, path)
            self._claimed.append((path, file))
            opened.pop_all()
        return records


def _read(file: BinaryIO, path: Path) -> list[RequestAnswered]:
    records = []
    while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
        try:
            records.append(RequestAnswered.FromString(file.read(_LENGTH.unpack(head)[0])))
        except DecodeError as error:
            _log.error("usage records are unreadable", file=str(path), error=str(error))
            break
    return records
