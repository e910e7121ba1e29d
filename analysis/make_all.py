"""Draws every figure, and writes every table, whose results are there: `python -m analysis.make_all` does it for all
committed presets."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.figures import FIGURES
from analysis.load import NothingToDrawError, Results, has_results, load
from analysis.models_table import markdown_models
from analysis.objectives_text import markdown_t6
from analysis.reasoning_text import markdown_t2, markdown_t3
from analysis.recovery_text import WAYS_BACK, markdown_t4
from analysis.style import RC
from analysis.versus_text import DFT_OR_SFT, markdown_t5
from offmodel.errors import RequestError, RunError
from offmodel.paths import RESULTS

OUT = Path(__file__).resolve().parent / "figures"

# Table id: as in FIGURES, and the function writes Markdown.
TABLES: dict[str, tuple[str, Callable[[Results], str]]] = {
    "T2": ("16_dft", markdown_t2),
    "T3": ("17_offline_rl", markdown_t3),
    "T6": ("18_objectives", markdown_t6),
}
# Tables that go over several experiments of one preset, whichever are there: the function is given the folder of all,
# and what has been read of it.
OVERVIEWS: dict[str, tuple[tuple[str, ...], Callable[[Path, Mapping[str, Results]], str]]] = {
    "T4": (WAYS_BACK, markdown_t4),
    "T5": (DFT_OR_SFT, markdown_t5),
}


def draw(results_folder: Path, out_folder: Path, only: Sequence[str] | None = None) -> list[Path]:
    """Draw the figures (those in `only`, else all) of one preset's results as PDF and PNG, and its tables as Markdown;
    return the files written.

    `results_folder` holds a folder for each experiment, as `data/results/<preset>` does. A figure is left out when its
    experiment has no results there or they lack what it shows; an overview shows what is there.

    Raises:
        RequestError: an id in `only` that is no figure.
        RunError: results do not keep the results contract.
    """
    known = [*FIGURES, *TABLES, *OVERVIEWS]
    for name in only or ():
        if name not in known:
            raise RequestError(f"there is no figure '{name}'; the figures are {', '.join(known)}")
    written: list[Path] = []
    loaded: dict[str, Results] = {}
    for name in known if only is None else only:
        try:
            made = _made(name, results_folder, loaded)
        except NothingToDrawError as reason:
            print(f"{name} not drawn: {reason}", file=sys.stderr)
            continue
        if made is None:
            continue
        out_folder.mkdir(parents=True, exist_ok=True)
        if isinstance(made, str):
            written.append(out_folder / f"{name}.md")
            written[-1].write_text(f"{made}\n", encoding="utf-8")
        else:
            written += save(made, out_folder / name)
    return written


def _made(name: str, results_folder: Path, loaded: dict[str, Results]) -> Figure | str | None:
    """One figure or table, None where there are no results; `loaded` keeps what was read for the next one."""
    if name in OVERVIEWS:
        experiments, overview = OVERVIEWS[name]
        there = any(has_results(results_folder, one) for one in experiments)
        return overview(results_folder, loaded) if there else None
    known: dict[str, tuple[str, Callable[[Results], Figure | str]]] = {**FIGURES, **TABLES}
    experiment, function = known[name]
    if not has_results(results_folder, experiment):
        return None
    if experiment not in loaded:
        loaded[experiment] = load(results_folder, experiment)
    return function(loaded[experiment])


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PDF and PNG, without dates, so that the same results give the same bytes."""
    paths = [stem.parent / f"{stem.name}.pdf", stem.parent / f"{stem.name}.png"]
    with mpl.rc_context(RC):
        figure.savefig(paths[0], metadata={"CreationDate": None})
        figure.savefig(paths[1], metadata={"Software": None})
    return paths


def main() -> int:
    """Draw all committed presets into `analysis/figures/<preset>/`, write the table of models, and print each file."""
    try:
        drawn = [path for folder in sorted(RESULTS.glob("*/")) for path in draw(folder, OUT / folder.name)]
        if not drawn:
            command = "python experiments/01_degradation.py --preset pocket"
            raise RequestError(f"there are no results in {RESULTS}; `{command}` makes some")
    except (RequestError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1
    table = OUT / "T1.md"  # the models, which belong to no preset
    table.write_text(f"{markdown_models()}\n", encoding="utf-8")
    for path in [*drawn, table]:
        print(path.relative_to(OUT.parents[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
