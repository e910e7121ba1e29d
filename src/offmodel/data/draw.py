"""Seeded samples of a benchmark, of which a smaller one is always the beginning of a larger one."""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from offmodel.errors import RequestError


def draw(
    rows: Sequence[dict[str, Any]], n: int, seed: int, strata: str | None = None, what: str = "items"
) -> list[dict[str, Any]]:
    """Draw `n` rows without replacement; the draw of 8 is exactly the first 8 of the draw of 200.

    With `strata`, systematic sampling over the strata: after a shuffle inside each stratum, its rows are spread evenly
    over [0, 1) from a random start, and all rows are taken in the order of these places. Every beginning of the result
    then holds each stratum in proportion to its size, within about one row; only draws far smaller than the number of
    strata lean towards the large ones.

    Args:
        rows: the whole data set, in a fixed order.
        n: how many to draw.
        seed: decides the draw, in the same way on every machine.
        strata: the column whose values are the strata.
        what: the rows' name in the error.

    Raises:
        RequestError: `n` is not positive or more than there are rows.
    """
    if not 1 <= n <= len(rows):
        raise RequestError(f"asked for {n} {what}, there are {len(rows)}; ask for 1 to {len(rows)}")
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups["" if strata is None else str(row[strata])].append(row)
    places: list[tuple[float, str, int]] = []
    for stratum, members in groups.items():
        # Seeding with text is the same in every process, which hash() of a tuple is not.
        generator = random.Random(f"draw/{seed}/{stratum}")
        generator.shuffle(members)
        start = generator.random()
        places += [((rank + start) / len(members), stratum, rank) for rank in range(len(members))]
    return [groups[stratum][rank] for _, stratum, rank in sorted(places)[:n]]
