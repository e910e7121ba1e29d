"""Reads the results of experiments under one preset."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from offmodel.errors import RequestError
from offmodel.paths import RESULTS
from offmodel.results import score_table


class NothingToDrawError(RequestError):
    """These results lack what the figure shows."""


@dataclass(frozen=True)
class Results:
    """`items`: a row per arm × seed × item × sample. `scores`: a row per arm × task. Columns: `offmodel.results`.

    `style`: a row per answer and the teacher that it is compared with (`offmodel.style`); None where no style was
    measured. `likelihoods`: a row per answer that was read, `probabilities`: a row per reading and bin of its tokens'
    probabilities, `curves`: a row per step of each arm's last training (`offmodel.collect`); None where there is none.
    `answers`: what was answered, a row per item as in `items`, and `guesses`: what answers to other problems would have
    got there (`offmodel.guessing`); None but where several answers to a problem were drawn.
    """

    items: pd.DataFrame
    scores: pd.DataFrame
    style: pd.DataFrame | None = None
    likelihoods: pd.DataFrame | None = None
    probabilities: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    answers: pd.DataFrame | None = None
    guesses: pd.DataFrame | None = None


def has_results(folder: Path, experiment: str) -> bool:
    """Whether the folder of a preset's results has those of an experiment."""
    return (folder / experiment / "items.parquet").is_file()


def load_those(folder: Path, experiments: Iterable[str], loaded: Mapping[str, Results] | None) -> dict[str, Results]:
    """Of these experiments those that are `loaded`, or have results in the folder of a preset's; by name, each read and
    scored once."""
    known = dict(loaded or {})
    there = [name for name in dict.fromkeys(experiments) if name in known or has_results(folder, name)]
    return {name: known[name] if name in known else load(folder, name) for name in there}


def load(preset: str | Path, experiment: str) -> Results:
    """The results of an experiment ("01_degradation"), of a preset by name or from any folder given as a Path.

    The scores are computed from the items, so that figures cannot disagree with an edited `scores.csv`.

    Raises:
        RequestError: the results are not there or cannot be read.
        RunError: they do not keep the results contract.
    """
    folder = preset if isinstance(preset, Path) else RESULTS / preset
    path = folder / experiment / "items.parquet"
    command = f"python experiments/{experiment}.py --preset {folder.name.removesuffix('.part')}"
    if not path.is_file():
        raise RequestError(f"there is no {path}; `{command}` makes it")
    more = {name: path.with_name(f"{name}.parquet") for name in ("style", "likelihoods", "probabilities", "curves")}
    try:
        items = pd.read_parquet(path)
        # Texts are large, and only a vote needs them.
        if "sample" in items and items["sample"].nunique() > 1:
            more |= {name: path.with_name(f"{name}.parquet") for name in ("answers", "guesses")}
        found = {name: pd.read_parquet(table) for name, table in more.items() if table.is_file()}
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot read {path.parent} ({error}); delete it and make it again: `{command}`") from error
    return Results(items, score_table(items), **found)
