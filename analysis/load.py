"""Reads the results of one experiment under one preset."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from offmodel.errors import RequestError
from offmodel.paths import RESULTS
from offmodel.results import score_table


@dataclass(frozen=True)
class Results:
    """`items`: a row per arm × seed × item × sample. `scores`: a row per arm × task. Columns: `offmodel.results`."""

    items: pd.DataFrame
    scores: pd.DataFrame


def load(preset: str | Path, experiment: str) -> Results:
    """The results of an experiment ("01_degradation"), of a preset by name or from any folder given as a Path.

    The scores are computed from the items, so that figures cannot disagree with an edited `scores.csv`.

    Raises:
        RequestError: the results are not there or cannot be read.
        RunError: they do not keep the results contract.
    """
    folder = preset if isinstance(preset, Path) else RESULTS / preset
    path = folder / experiment / "items.parquet"
    command = f"python experiments/{experiment}.py --preset {folder.name}"
    if not path.is_file():
        raise RequestError(f"there is no {path}; `{command}` makes it")
    try:
        items = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot read {path} ({error}); delete it and make it again: `{command}`") from error
    return Results(items, score_table(items))
