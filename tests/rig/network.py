"""A network before PostgreSQL that can be dropped: nothing arrives any more, and nobody is told."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from contextlib import suppress
from typing import Any, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_SO_ATTACH_FILTER = 26
# One instruction of the classic packet filter: keep none of the packet's bytes.
_DROP = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))


class Network:
    """Passes bytes both ways. Once dropped, the kernel loses what clients send before TCP sees it,
    so that not even an acknowledgement comes back; no rights are needed for that."""

    def __init__(self, dsn: str) -> None:
        target: dict[str, Any] = conninfo_to_dict(dsn)
        self._target = (target["host"], int(target["port"]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=port)
        self._clients: list[socket.socket] = []
        self._dropped = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """From now on nothing arrives at either side."""
        self._dropped = True
        for client in self._clients:
            client.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(_DROP))
            )

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target, timeout=30)
                self._clients.append(client)
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and not self._dropped:
                sink.sendall(data)
            if not self._dropped:
                sink.shutdown(socket.SHUT_WR)
