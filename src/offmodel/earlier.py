"""Published results that are added to, so that the seeds and tasks of a study can be made on several machines.

Scores that are published are taken from there, and so are the trainings and readings of their seeds. What is not
published but needed, answers of the untrained models to chat prompts against which style is measured, is made again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offmodel.cells import Measurement
from offmodel.errors import RequestError, RunError
from offmodel.plan import Plan
from offmodel.recipes import Recipe
from offmodel.results import ITEM_NOTES, MEASURED, answered_items

# What an answer is, whichever arm it is shown under: the columns of a scores artefact, and `home_logprob`.
_ANSWER = ["item", "level", *MEASURED, "sample", *ITEM_NOTES, "response", "home_logprob"]
_TABLES = ["likelihoods", "probabilities", "curves"]


def published_seeds(folder: Path) -> list[int]:
    """The seeds of the results in a folder of `data/results`, as they come there; none where nothing is published.

    Raises:
        RequestError: what is there cannot be read.
    """
    path = folder / "items.parquet"
    try:
        return pd.read_parquet(path, columns=["seed"])["seed"].unique().tolist() if path.is_file() else []
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> RequestError:
    return RequestError(f"cannot read {folder} ({error}); delete it and make all seeds again")


@dataclass(frozen=True)
class Earlier:
    """`scores` has the answers of each scores artefact, by its id, with the columns that `collect` reads from one;
    `tables` the further tables of the results by name; `style` tells whether style was measured."""

    folder: Path
    seeds: list[int]
    scores: dict[str, pd.DataFrame]
    tables: dict[str, pd.DataFrame]
    style: bool
    provenance: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Earlier":
        """What is published in a folder of `data/results`.

        Raises:
            RequestError: nothing is there, or it cannot be read.
        """
        try:
            seeds = published_seeds(folder)
            if not seeds:
                raise RequestError(
                    f"--publish with --seeds adds seeds to {folder}, and nothing is there: name all seeds in the preset"
                )
            items = answered_items(folder)
            style, measured = folder / "style.parquet", False
            if style.is_file():
                read = pd.read_parquet(style, columns=["scores_id", "sample", "item", "home_logprob"])
                measured = not read.empty
                items = items.merge(read.drop_duplicates(), on=["scores_id", "sample", "item"], how="left")
            else:
                items["home_logprob"] = np.nan
            tables = {name: folder / f"{name}.parquet" for name in _TABLES}
            found = {name: pd.read_parquet(path) for name, path in tables.items() if path.is_file()}
            provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
            if not {"artefacts", "environments"} <= set(provenance):
                raise ValueError("provenance.json lists no artefacts")
        except (OSError, ValueError, RunError) as error:
            raise _unreadable(folder, error) from error
        kept = [name for name in _ANSWER if name in items]
        scores = {
            str(name): rows[kept].drop_duplicates(["item", "sample"], ignore_index=True)
            for name, rows in items.groupby("scores_id", sort=False)
        }
        return cls(folder, seeds, scores, found, measured, provenance)

    def has(self, recipe: Recipe) -> bool:
        """Whether the artefact went into what is published."""
        return recipe.id in self.provenance["artefacts"]

    def check(self, cells: Sequence[Measurement], plan: Plan) -> None:
        """See that what is there belongs to the whole, and is not made again.

        Args:
            cells: of all seeds.
            plan: of what is not published.

        Raises:
            RequestError: it does not, or something new needs published answers as such: a prefill begins with them.
        """
        strange = sorted(set(self.scores) - {cell.scores.id for cell in cells})
        unread = [one.id for cell in cells if cell.scores.id in self.scores and (one := cell.likelihood)]
        if found := strange or [name for name in unread if name not in self.provenance["artefacts"]]:
            raise RequestError(
                f"{self.folder} is of another preset, or of other versions of its tasks: {found[0]} is in one of them "
                "alone; name all seeds in the preset and make them together"
            )
        if again := [step.recipe.id for step in plan.missing if step.recipe.id in self.scores]:
            raise RequestError(
                f"what is to be added needs {again[0]}, which is published and not in the run folder; name all seeds "
                "in the preset and make them together"
            )

    def with_its_own(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """The table of that name of the new seeds, behind what is published of it."""
        return pd.concat([self.tables[name], table], ignore_index=True) if name in self.tables else table

    def with_its_provenance(self, told: dict[str, Any]) -> dict[str, Any]:
        """Provenance of the new seeds, with the artefacts and environments of what is published; how that was made is
        under `added_to`. An artefact that was made again is told of as it was published."""
        environments = [*self.provenance["environments"]]
        numbers = []
        for environment in told["environments"]:
            if environment not in environments:
                environments.append(environment)
            numbers.append(environments.index(environment))
        made = {name: {**one, "environment": numbers[one["environment"]]} for name, one in told["artefacts"].items()}
        whole = {"artefacts": dict(sorted({**made, **self.provenance["artefacts"]}.items()))}
        how = {name: value for name, value in self.provenance.items() if name not in ("artefacts", "environments")}
        return {**told, "added_to": how, **whole, "environments": environments}
