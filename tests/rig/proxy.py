"""A TCP proxy before a Kafka broker that loses answers: the broker has written, nobody hears it."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

from backend.embedded.broker import EmbeddedBroker
from tests.rig.ports import free_port
from tests.rig.servers import BrokerServer

_PRODUCE = 0


class AnswerSwallower:
    """Forwards everything, but swallows the answers to some produce requests and hangs up.

    Every `every`-th produce request loses its answer, `cuts` times in all.
    """

    def __init__(self, target: int, *, every: int, cuts: int) -> None:
        self._target = target
        self._every = every
        self._cuts = cuts
        self._seen = 0
        self.done = 0
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, answers: int) -> None:
        """So many more answers get lost."""
        with self._guard:
            self._cuts += answers

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            broker = socket.create_connection(("127.0.0.1", self._target))
        except OSError:  # the broker is down
            client.close()
            return
        swallow = threading.Event()
        threading.Thread(target=self._answer, args=(client, broker, swallow), daemon=True).start()
        try:
            while True:
                frame = _frame(client)
                if struct.unpack_from(">h", frame, 4)[0] == _PRODUCE and self._is_due():
                    swallow.set()
                broker.sendall(frame)
        except OSError:
            broker.close()

    def _is_due(self) -> bool:
        with self._guard:
            self._seen += 1
            return self.done < self._cuts and self._seen % self._every == 0

    def _answer(
        self, client: socket.socket, broker: socket.socket, swallow: threading.Event
    ) -> None:
        try:
            while True:
                frame = _frame(broker)
                if swallow.is_set():
                    with self._guard:
                        self.done += 1
                    client.shutdown(socket.SHUT_RDWR)
                    broker.close()
                    return
                client.sendall(frame)
        except OSError:
            client.close()


def _frame(source: socket.socket) -> bytes:
    """One message of Kafka's protocol with its length. Raises `OSError` at the end."""
    head = _exactly(source, 4)
    return head + _exactly(source, struct.unpack(">i", head)[0])


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = source.recv(size - len(data))
        if not piece:
            raise OSError("the other end has hung up")
        data += piece
    return data


class _Advertised(EmbeddedBroker):
    """A broker that tells its clients to come to another port."""

    def __init__(self, port: int, advertised: int) -> None:
        super().__init__(port)
        self._advertised = advertised

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._advertised}"

    @property
    def command(self) -> list[str]:
        return [
            f"--listener-url=tcp://127.0.0.1:{self.port}" if "--listener-url" in word else word
            for word in super().command
        ]


class LossyBroker(BrokerServer):
    """A broker behind an `AnswerSwallower`."""

    def __init__(self, log: Path, *, every: int = 1, cuts: int = 0) -> None:
        super().__init__(log)
        port = free_port()
        self.proxy = AnswerSwallower(port, every=every, cuts=cuts)
        self.embedded = _Advertised(port, self.proxy.port)

    def restart(self) -> None:
        super().kill()
        self.start()

    def kill(self) -> None:
        self.proxy.close()
        super().kill()
