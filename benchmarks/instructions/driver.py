"""Calls every case under callgrind and has it write its counts; `callgrind` starts this.

::

    valgrind --tool=callgrind ... python -m benchmarks.instructions.driver REQUESTS [CASE...]
"""

from __future__ import annotations

import ctypes
import gc
import operator
import sys
from collections import deque
from itertools import chain

from benchmarks.instructions.cases import CALLS, ROUND, Case, cases
from benchmarks.instructions.dumps import EMPTY, label

# More of the longest message than there are gaps for it in the heap.
GAPS = 2000
LONGEST_OCTETS = 1400

WARM_UP = slice(0, ROUND)
SHORT = slice(ROUND, 2 * ROUND)
LONG = slice(2 * ROUND, 4 * ROUND)

# A function in C that does next to nothing with two arguments.
EMPTY_CASE = Case(EMPTY, operator.is_, ([None] * CALLS, [None] * CALLS))


class Counter:
    """Callgrind's counting, through the library made of requests.c."""

    def __init__(self, library: str) -> None:
        requests = ctypes.CDLL(library)
        self._begin = requests.count_begin
        self._begin.argtypes = ()
        self._begin.restype = None
        self._end = requests.count_end
        self._end.argtypes = (ctypes.c_char_p,)
        self._end.restype = None

    def run(self, case: Case, part: slice) -> None:
        """Make some of a case's calls; only those after the warm-up are written down."""
        columns = [column[part] for column in case.columns]
        name = label(case.name, case.units, len(columns[0])).encode()
        calls = map(case.call, *columns)
        nowhere = deque[object](maxlen=0)
        self._begin()
        nowhere.extend(calls)
        if part is not WARM_UP:
            self._end(name)


def main(library: str, *names: str) -> None:
    """Count the named cases, or all."""
    counter = Counter(library)
    gc.disable()
    for case in chain((EMPTY_CASE,), cases()):
        if names and case.name not in (EMPTY, *names):
            continue
        # A block of more than 1 KiB is searched for among the heap's gaps, at a cost that varies
        # with them; while these fill the gaps, it comes from the heap's end and goes back there.
        filling = [bytes(LONGEST_OCTETS) for _ in range(GAPS)]
        counter.run(case, WARM_UP)
        counter.run(case, SHORT)
        counter.run(case, LONG)
        del filling


if __name__ == "__main__":
    main(*sys.argv[1:])
