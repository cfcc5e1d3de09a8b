"""What a fuzz target is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """Something that takes octets from strangers, and what must hold for any of them.

    Attributes:
        check: runs the input and raises when something does not hold, usually AssertionError.
        allowed: the only exceptions that the input may cause; everything else is a finding.
        seeds: inputs to begin with, besides those in the corpus.
        tokens: pieces that mean something to the target, for the mutations to put in.
        guided: whether what it tests is Python, whose lines reached tell which inputs are new.
    """

    check: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    seeds: Callable[[], Sequence[bytes]]
    tokens: Sequence[bytes] = ()
    guided: bool = False

    def run(self, data: bytes) -> None:
        """Check one input; an allowed exception is an answer like any other."""
        try:
            self.check(data)
        except self.allowed:
            return
