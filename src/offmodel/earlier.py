"""Published results to which other seeds are added, as if one run had made them all.

A study of several seeds may be made seed by seed, on several machines. What is published is not made again: its scores
are taken from its tables, its trainings and readings too.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from offmodel.cells import Measurement
from offmodel.errors import RequestError
from offmodel.results import ARM_KEYS, ITEM_NOTES, MEASURED, RUN_KEYS, parameters

# What an answer is, whichever arm it is shown under: the columns of a scores artefact, and `home_logprob`.
_ANSWER = ["item", "level", *MEASURED, "sample", *ITEM_NOTES, "response", "home_logprob"]


@dataclass(frozen=True)
class Earlier:
    """`scores` has the answers of each scores artefact, by its id, with the columns that `collect` reads from one."""

    folder: Path
    seeds: list[int]
    scores: dict[str, pd.DataFrame]

    @classmethod
    def read(cls, folder: Path, more: Sequence[int]) -> "Earlier":
        """What is published in a folder of `data/results`, to which `more` seeds are to be added.

        Raises:
            RequestError: nothing is there, it cannot be read, or it has one of those seeds.
        """
        if not (folder / "items.parquet").is_file():
            raise RequestError(
                f"--publish with --seeds adds seeds to {folder}, and nothing is there: leave out --seeds"
            )
        try:
            items = _answers(folder)
        except (OSError, ValueError, KeyError) as error:
            raise RequestError(f"cannot read {folder} ({error}); leave out --seeds to make it again") from error
        seeds = sorted({int(seed) for seed in items["seed"]})
        for seed in more:
            if seed in seeds:
                raise RequestError(
                    f"seed {seed} is in {folder} already: leave it out, or all of --seeds to make it anew"
                )
        kept = [name for name in _ANSWER if name in items]
        scores = {
            str(name): rows[kept].drop_duplicates(["item", "sample"], ignore_index=True)
            for name, rows in items.groupby("scores_id", sort=False)
        }
        return cls(folder, seeds, scores)

    def check(self, cells: Sequence[Measurement]) -> None:
        """Raise RequestError where the cells of its seeds are not those that were published."""
        for cell in cells:
            if cell.arm.seed in self.seeds and cell.scores.id not in self.scores:
                raise RequestError(
                    f"{self.folder} has no {cell.scores.id}: it is of another preset, or of an earlier version of the "
                    "task; leave out --seeds to make all seeds anew"
                )

    def with_its_own(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """The table of that name of the new seeds, behind what is published of it."""
        path = self.folder / f"{name}.parquet"
        return pd.concat([pd.read_parquet(path), table], ignore_index=True) if path.is_file() else table

    def with_its_provenance(self, told: dict[str, Any]) -> dict[str, Any]:
        """`provenance.of_results` of the new seeds and of what is published."""
        path = self.folder / "provenance.json"
        published = json.loads(path.read_text(encoding="utf-8"))
        environments = [*published["environments"]]
        numbers = []
        for environment in told["environments"]:
            if environment not in environments:
                environments.append(environment)
            numbers.append(environments.index(environment))
        made = {name: {**one, "environment": numbers[one["environment"]]} for name, one in told["artefacts"].items()}
        # What is published stands for its scores, also where this run made the same artefact again.
        return {"artefacts": dict(sorted({**made, **published["artefacts"]}.items())), "environments": environments}


def _answers(folder: Path) -> pd.DataFrame:
    """The items of a folder of results with what was answered, and how likely the untrained student finds it."""
    items, answers = (pd.read_parquet(folder / f"{name}.parquet") for name in ("items", "answers"))
    keys = [*ARM_KEYS, *parameters(items), *RUN_KEYS, "task", "item"]
    joined = items.merge(answers, on=keys, how="left", validate="one_to_one")
    if not (folder / "style.parquet").is_file():
        return joined.assign(home_logprob=float("nan"))
    read = pd.read_parquet(folder / "style.parquet")[["scores_id", "sample", "item", "home_logprob"]]
    read = read.drop_duplicates(["scores_id", "sample", "item"])
    return joined.merge(read, on=["scores_id", "sample", "item"], how="left", validate="many_to_one")
