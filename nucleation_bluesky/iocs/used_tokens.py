"""The tokens that have armed an exposure: each works once, for as long as the controller runs."""

import hashlib
from array import array
from bisect import bisect_left

_ROOM = 32_768  # tokens


class UsedTokens:
    """A set that holds eight bytes a token: nights of exposures must not make a controller grow.

    It holds digests. Two of a million tokens share one with a probability of 3e-8; the second would
    then be refused, never armed twice. There is room for a long night from the start.
    """

    def __init__(self) -> None:
        self._digests: array[int] = array("Q", bytes(8 * _ROOM))  # sorted, as far as used
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def __contains__(self, token: str) -> bool:
        digest = _digest(token)
        index = bisect_left(self._digests, digest, 0, self._used)
        return index < self._used and self._digests[index] == digest

    def add(self, token: str) -> None:
        """Remember a token."""
        if token in self:
            return
        if self._used == len(self._digests):
            self._digests.frombytes(bytes(8 * _ROOM))
        digest = _digest(token)
        index = bisect_left(self._digests, digest, 0, self._used)
        with memoryview(self._digests) as view:  # moves in place; a slice would be a copy
            view[index + 1 : self._used + 1] = view[index : self._used]
        self._digests[index] = digest
        self._used += 1


def _digest(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest())
