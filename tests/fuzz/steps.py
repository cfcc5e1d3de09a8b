"""Octets read as a row of small numbers, so that any input means some sequence of steps."""


class Steps:
    """Reads numbers from `data`; behind its end they are all 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, end: int) -> int:
        """The next number, 0 to `end` - 1; it takes as many octets as `end` needs."""
        octets = ((end - 1).bit_length() + 7) // 8
        value = int.from_bytes(self._data[self._at : self._at + octets], "little")
        self._at += octets
        return value % end

    def signed(self, reach: int) -> int:
        """The next number, -`reach` to `reach`."""
        return self.number(2 * reach + 1) - reach

    def take(self, octets: int) -> bytes:
        """The next octets, fewer at the end."""
        taken = self._data[self._at : self._at + octets]
        self._at += octets
        return taken
