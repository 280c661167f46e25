"""Requests a minute for each key: a token bucket, kept as one number.

The number is the time at which the bucket will be full again (the generic cell rate algorithm).
It lives in memory that the gateway's processes share, so that several of them keep one limit.
"""

from __future__ import annotations

import math
import mmap
import struct

_SLOT = struct.Struct("d")
# Keys beyond this number share buckets with the oldest ones. The memory is taken only when used.
_SLOTS = 1 << 17
_MINUTE = 60.0


class RateLimits:
    """Buckets of all keys, each addressed by the key's ordinal.

    Made before the processes are, because they inherit the memory. Two processes that take from
    one bucket in the same microsecond may let one request more pass.
    """

    def __init__(self) -> None:
        self._full_at = mmap.mmap(-1, _SLOTS * _SLOT.size)

    def take(self, ordinal: int, requests_per_minute: int, now: float) -> int:
        """Takes one request at `now` (monotonic seconds); 0, or the seconds to wait for the next.

        A bucket holds a minute's requests.
        """
        offset = ordinal % _SLOTS * _SLOT.size
        cost = _MINUTE / requests_per_minute
        stored: float = _SLOT.unpack_from(self._full_at, offset)[0]
        full_at = max(stored, now) + cost
        excess = full_at - now - _MINUTE
        if excess > 1e-6:
            return math.ceil(excess)
        _SLOT.pack_into(self._full_at, offset, full_at)
        return 0
