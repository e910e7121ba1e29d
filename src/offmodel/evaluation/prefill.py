"""The beginnings that answers are given: tokens of another model's answers to the same problems, or to others."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from offmodel.data.chat import ChatFormat
from offmodel.errors import RunError
from offmodel.evaluation.answerers import shuffled
from offmodel.recipes import Prefill


def openings(
    prefill: Prefill, answers: pd.DataFrame, items: list[str], chat: ChatFormat, own: bool
) -> dict[str, list[int]]:
    """By item, the first `prefill.tokens` ids of its answer, or fewer where the answer is shorter, its end included.

    Args:
        answers: the source's `items.parquet`.
        items: the problems that are asked.
        chat: how the model is talked to that goes on from here.
        own: whether the source speaks the same tokens; the text of another's answer is encoded anew.

    Raises:
        RunError: the source has no answer, or no tokens of an answer, for a problem.
    """
    known: dict[str, Mapping[Any, Any]] = {str(row["item"]): row for row in answers.to_dict("records")}
    missing = [item for item in items if item not in known]
    if missing:
        others = f" and {len(missing) - 1} more problems" if len(missing) > 1 else ""
        raise RunError(
            f"{prefill.source.id} has no answer to '{missing[0]}'{others}, so nothing can begin an answer to it; "
            "delete it and score that model again"
        )
    ids = [_ids(known[item], chat, own, prefill) for item in items]
    if prefill.of_another:
        ids = shuffled(ids, [])
    return {item: one[: prefill.tokens] for item, one in zip(items, ids, strict=True)}


def _ids(row: Mapping[Any, Any], chat: ChatFormat, own: bool, prefill: Prefill) -> list[int]:
    if not own:
        return chat.answer_ids(row["response"]) + ([] if row["truncated"] else chat.end_ids)
    if not len(row.get("response_ids", ())):
        raise RunError(f"{prefill.source.id} keeps no tokens of its answers; delete it and score that model again")
    return [int(token) for token in row["response_ids"]]
