"""Which of several replicas a request goes to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from backend.gateway.metering import EngineTime

_MASK = 2**64 - 1
# An odd number without a pattern: multiplying by it spreads neighbours (Knuth's hashing).
_ODD = 0x9E3779B97F4A7C15


class Replica:
    """A running engine, and how this gateway is using it.

    An ejected one has broken a connection; it is not used until it answers again. At the endpoint
    of a shared one other models answer too.
    """

    __slots__ = (
        "_seed", "accelerators", "ejected", "endpoint", "outstanding", "replica_id", "revision",
        "shared", "time",
    )  # fmt: skip

    def __init__(
        self,
        replica_id: str,
        endpoint: str,
        revision: int = 0,
        accelerators: int = 0,
        *,
        shared: bool = False,
    ) -> None:
        self.replica_id = replica_id
        self.endpoint = endpoint
        self.revision = revision
        self.accelerators = accelerators
        self.shared = shared
        self.time = EngineTime()
        self.outstanding = 0
        self.ejected = False
        self._seed = _stable_number(replica_id.encode())

    def weight(self, conversation: int) -> int:
        """How much this replica is the conversation's own, beside others."""
        mixed = ((conversation ^ self._seed) * _ODD) & _MASK
        return ((mixed ^ (mixed >> 32)) * _ODD) & _MASK


def choose(replicas: Sequence[Replica], conversation: int | None, slack: int) -> Replica:
    """The conversation's own replica, if it is hardly busier than the least busy one, else that.

    Of equally busy ones it is the first. Its own is the one of the greatest weight, so that all
    processes agree, and that a replica which comes or goes moves no more than its share.
    """
    least = min(replicas, key=lambda replica: replica.outstanding)
    if conversation is None:
        return least
    own = max(replicas, key=lambda replica: replica.weight(conversation))
    return own if own.outstanding - least.outstanding <= slack else least


def conversation_of(token: str, beginning: bytes) -> int:
    """A number for what begins so under this key: the same for every request of it."""
    return _stable_number(token.encode("utf-8", "surrogateescape") + beginning)


def _stable_number(text: bytes) -> int:
    """The same in every process."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
