"""The tokens that have armed an exposure: each works once, for as long as the controller runs."""

import hashlib
from array import array
from bisect import bisect_left, insort


class UsedTokens:
    """A set that holds eight bytes a token: nights of exposures must not make a controller grow.

    It holds digests. Two of a million tokens share one with a probability of 3e-8; the second would
    then be refused, never armed twice.
    """

    def __init__(self) -> None:
        self._digests: array[int] = array("Q")

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, token: str) -> bool:
        digest = _digest(token)
        index = bisect_left(self._digests, digest)
        return index < len(self._digests) and self._digests[index] == digest

    def add(self, token: str) -> None:
        """Remember a token."""
        if token not in self:
            insort(self._digests, _digest(token))


def _digest(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest())
