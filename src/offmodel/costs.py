"""All interventions on one axis: what each costs in tokens, and the share of the loss that it brings back."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from offmodel.best_of_n import VOTE
from offmodel.inoculation import INOCULATION, PLAIN
from offmodel.pairs import OFF_MODEL, PAIR_KEYS
from offmodel.recovery import PREFILL, REPAIRS
from offmodel.rl_progress import RL

COST_COLUMNS = [
    *PAIR_KEYS, "intervention", "setting", "cost_kind", "cost_tokens", "sampled_tokens",
    "accuracy", "fraction", "low", "high", "p", "reason",
]  # fmt: skip
TRAINED, GIVEN, SAMPLED = "trained once", "given per problem", "sampled per problem"


def cost_table(
    repair: pd.DataFrame | None = None,
    prefill: pd.DataFrame | None = None,
    inoculation: pd.DataFrame | None = None,
    best_of_n: pd.DataFrame | None = None,
    rl: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """A row for each setting of each intervention, pair and task: `COST_COLUMNS`.

    The arguments are the tables of `offmodel.recovery`, `offmodel.inoculation`, `offmodel.best_of_n` and
    `offmodel.rl_progress`; the result of several is that of each, one after the other, so that experiments can also be
    put together afterwards.

    cost_kind and cost_tokens, beyond training and asking the damaged student plainly:
        "trained once": tokens of a further training, prompts and answers (repair, RL; inoculation needs no further one,
            and the words of its framing are not counted).
        "given per problem": tokens of the beginning, which somebody has to write (prefill).
        "sampled per problem": further answers × mean tokens of one (best of n).
    sampled_tokens are those of a further training that the student sampled itself meanwhile; null for the others. The
    kinds cannot be added up: the first is paid once, the others at every problem. `accuracy` is over the problems that
    the intervention's table compares; `p` is of its change from the damaged student, one arm at a time (null for best
    of n, which compares several answers with one); `reason` says why the fraction (low, high: 95 %) is
    undefined, or cost_tokens null.
    """
    makers: list[tuple[pd.DataFrame | None, Callable[[dict[str, Any]], dict[str, Any] | None]]] = [
        (repair, _repair),
        (prefill, _prefill),
        (inoculation, _inoculation),
        (best_of_n, _best_of_n),
        (rl, _rl),
    ]
    rows = []
    for table, cost in makers:
        for row in table.to_dict("records") if table is not None else ():
            if (own := cost({str(name): value for name, value in row.items()})) is not None:
                ends = {"low": row["fraction_low"], "high": row["fraction_high"]}
                shared = {name: row[name] for name in [*PAIR_KEYS, "accuracy", "fraction"]} | ends
                rows.append(shared | {"reason": row["reason"], "p": row.get("p")} | own)
    table = pd.DataFrame(rows, columns=COST_COLUMNS)
    table["reason"] = table["reason"].astype(object).where(table["reason"].notna(), None)
    numbers = ["chance", "cost_tokens", "sampled_tokens", "accuracy", "fraction", "low", "high", "p"]
    return table.astype(dict.fromkeys(numbers, float))


def _repair(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["arm"] not in REPAIRS:
        return None
    return {"intervention": row["arm"], "setting": f"k = {row['k']}"} | _trained(row)


def _trained(row: dict[str, Any]) -> dict[str, Any]:
    cost: dict[str, Any] = {"cost_kind": TRAINED}
    if pd.isna(row["training_tokens"]):
        missing = "without curves.parquet it is not known how many tokens were trained on"
        cost["reason"] = "; ".join(text for text in [row["reason"], missing] if pd.notna(text))
    return cost | {"cost_tokens": row["training_tokens"], "sampled_tokens": row["sampled_tokens"]}


def _prefill(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["arm"] != PREFILL or row["tokens"] == 0:  # the damaged student itself
        return None
    setting = f"{row['tokens']} tokens of {row['opening']}"
    return {"intervention": row["arm"], "setting": setting, "cost_kind": GIVEN, "cost_tokens": row["tokens"]}


def _inoculation(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["arm"] != INOCULATION or row["trained_with"] == PLAIN:
        return None
    setting = f"{row['framing']}, asked {'without' if row['asked_with'] == PLAIN else 'with'} it"
    return {"intervention": INOCULATION, "setting": setting, "cost_kind": TRAINED, "cost_tokens": 0}


def _best_of_n(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["arm"] != OFF_MODEL or row["k"] == 1:
        return None
    cost = {"intervention": "majority vote" if row["rule"] == VOTE else "pass@k", "setting": f"k = {row['k']}"}
    return cost | {"cost_kind": SAMPLED, "cost_tokens": (row["k"] - 1) * row["response_tokens"]}


def _rl(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["arm"] != RL or row["start"] != OFF_MODEL:
        return None
    rewarded = "the form alone" if row["reward"] == "format" else "right answers"
    return {"intervention": RL, "setting": f"{row['updates']} updates for {rewarded}"} | _trained(row)
