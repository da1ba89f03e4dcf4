"""How often a place of the virtual sample was exposed before."""

from array import array
from bisect import bisect_left, bisect_right


class Visits:
    """Counts the exposures of cells, in eight bytes an exposure."""

    def __init__(self) -> None:
        self._keys: array[int] = array("Q")  # sorted, one for each exposure

    def count(self, cell: tuple[int, int]) -> int:
        """Count an exposure; return how many there were of this cell before.

        Parameters
        ----------
        cell : tuple of int
            Column and row of the cell; they repeat after 2**32 of them.
        """
        key = cell[0] % 2**32 << 32 | cell[1] % 2**32
        first = bisect_left(self._keys, key)
        before = bisect_right(self._keys, key) - first
        self._keys.insert(first, key)
        return before
