"""How often a place of the virtual sample was exposed before."""

from array import array
from bisect import bisect_left, bisect_right

_ROOM = 32_768  # exposures


class Visits:
    """Counts the exposures of cells, in eight bytes each; room for a night from the start."""

    def __init__(self) -> None:
        # one for each exposure, sorted as far as used
        self._keys: array[int] = array("Q", bytes(8 * _ROOM))
        self._used = 0

    def count(self, cell: tuple[int, int]) -> int:
        """Count an exposure; return how many there were of this cell before.

        Parameters
        ----------
        cell : tuple of int
            Column and row of the cell; they repeat after 2**32 of them.
        """
        key = cell[0] % 2**32 << 32 | cell[1] % 2**32
        first = bisect_left(self._keys, key, 0, self._used)
        before = bisect_right(self._keys, key, 0, self._used) - first
        if self._used == len(self._keys):
            self._keys.frombytes(bytes(8 * _ROOM))
        with memoryview(self._keys) as view:  # moves in place; a slice would be a copy
            view[first + 1 : self._used + 1] = view[first : self._used]
        self._keys[first] = key
        self._used += 1
        return before
