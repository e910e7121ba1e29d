"""Greedy answers that end in a loop: noticed, and written out to their limit instead of computed.

A small model that has said the same tokens several times over goes on so. With `fill_loops` under a preset's `[run]`
its answers are the same and come sooner, but for the few that would have left the loop after all:
`benchmarks/loops.py` counts them, and the scores that they change.
"""

from collections.abc import Sequence

# A loop has at least and at most so many tokens (one of fewer is also one of a multiple of them) and counts once it has
# come round so often. With shorter ones, numbers and tables would pass for loops.
SHORTEST, LONGEST, TIMES = 8, 96, 4


def loop(ids: Sequence[int]) -> int:
    """The tokens of the loop that an answer ends in, of the shortest if of several; 0 where it ends in none.

    The rule of vLLM's `RepetitionDetectionParams`, which stops an answer there.
    """
    for tokens in range(SHORTEST, min(LONGEST, len(ids) // TIMES) + 1):
        last = list(ids[-tokens:])
        if all(list(ids[-tokens * k : -tokens * (k - 1)]) == last for k in range(2, TIMES + 1)):
            return tokens
    return 0


def filled(ids: Sequence[int], tokens: int, length: int) -> tuple[int, ...]:
    """The answer with its last `tokens` again and again, until it has `length`."""
    last = ids[-tokens:]
    return (*ids, *(last[i % tokens] for i in range(length - len(ids))))
