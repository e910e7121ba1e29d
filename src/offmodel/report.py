"""What a study leaves when it ends: the tidy results, where they came from, the printed table, the figures.

`items.parquet` and `scores.csv` (see `offmodel.results`), `answers.parquet` (what was answered, by arm, seed, task and
item), `guesses.parquet` (see `offmodel.guessing`; where several answers to a problem were drawn), `style.parquet` (see
`offmodel.style`), `likelihoods.parquet` and `probabilities.parquet` (see
`offmodel.collect.read_answers` and `token_probabilities`; where an experiment reads answers), `curves.parquet` (the
trainings, step by step), `provenance.json`.
"""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pandas as pd

from offmodel.cells import Measurement, wanted
from offmodel.collect import chat_answers, chats, read_answers, token_probabilities, training_curves
from offmodel.errors import RunError
from offmodel.evaluation.registry import TASKS
from offmodel.guessing import guess_table
from offmodel.provenance import of_results
from offmodel.request import Request
from offmodel.results import ARM_KEYS, RUN_KEYS, is_floor, parameters, write_results
from offmodel.study import Experiment
from offmodel.style import style_table

_ANSWER = [*ARM_KEYS, *RUN_KEYS, "task", "item", "response"]


def write_report(experiment: Experiment, asked: Request, items: pd.DataFrame, folder: Path) -> None:
    """Write results, provenance and figures into `folder`, print the table, and say where everything is.

    `items` have those of `asked.earlier` among them; its other tables are gone on with.

    Raises:
        RunError: the items do not keep the results contract.
    """
    # Drawing is asked for last and takes a second to import, so a plan or a wrong request does not wait for it.
    from analysis.make_all import draw
    from analysis.tables import print_scores

    cells, readings, own = asked.cells, asked.readings, asked.own
    store, earlier = asked.store, asked.earlier
    new = [cell for cell in cells if not earlier or cell.scores.id not in earlier.scores]
    trained = [cell for cell in new if not earlier or not earlier.has(cell.arm.model)]
    scored = items.drop(columns=["response", "home_logprob"])
    scores = write_results(scored, folder)
    items[[*_ANSWER, *parameters(scored)]].to_parquet(folder / "answers.parquet", index=False)
    (folder / "style.parquet").unlink(missing_ok=True)
    if own:
        _write_style(items, chat_answers(cells, store, own), folder / "style.parquet")
    tables = {
        "guesses": guess_table(items, _right_numbers(cells, asked.settings.data)),
        "likelihoods": read_answers(experiment, readings, store),
        "probabilities": token_probabilities(experiment, readings, store),
        "curves": training_curves(experiment, trained, store),
    }
    for name, table in tables.items():
        whole = earlier.with_its_own(table, name) if earlier else table
        if not whole.empty:
            whole.to_parquet(folder / f"{name}.parquet", index=False)
    provenance = {
        "command": asked.command,
        "preset": asked.preset.model_dump(mode="json"),
        "seeds": sorted({int(seed) for seed in items["seed"]}),
        **of_results([*wanted(new, readings), *chats(new), *own], store),
    }
    if earlier:
        provenance = earlier.with_its_provenance(provenance) if new or readings else earlier.provenance
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    figures = draw(folder.parent, folder, only=experiment.figures)
    print(f"\n{print_scores(scores)}")
    if (given := int(items.get("prefill_answers", pd.Series(dtype=bool)).eq(True).sum())) > 0:
        print(f"\n{given} answers were given away by their beginning: they count above, and not in F8")
    engines = sorted({made["engine"] for made in provenance["artefacts"].values() if "engine" in made})
    if len(engines) > 1:
        print(f"\nwarning: answers of {' and '.join(engines)} are compared here; they round differently")
    print(f"\nresults: {folder}")
    shown = {".png": "figure: ", ".md": "table:  "}
    print("\n".join(f"{shown[path.suffix]} {path}" for path in figures if path.suffix in shown))


def _right_numbers(cells: Sequence[Measurement], data: Path | None) -> dict[str, dict[str, Fraction]]:
    """By task and item, what is right where a number is, of tasks to whose problems several answers were drawn."""
    from offmodel.evaluation.harness import right_numbers

    drawn = {cell.task.task.name: cell.scores for cell in cells if cell.scores.samples > 1}
    return {name: right_numbers(scores, data) for name, scores in drawn.items() if TASKS[name].scorer == "number"}


def _write_style(items: pd.DataFrame, answers: dict[str, pd.DataFrame], path: Path) -> None:
    """Measure the style of all generated answers; a study too small for that has no style, and says so."""
    generated = items[(items["kind"] == "generate") & ~items["arm"].map(is_floor)]
    try:
        style_table(generated, answers).to_parquet(path, index=False)
    except RunError as reason:
        print(f"\nstyle not measured: {reason}")
