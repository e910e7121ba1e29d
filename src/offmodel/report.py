"""What a study leaves when it ends: the tidy results, where they came from, the printed table, the figures."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from offmodel.presets import Preset
from offmodel.provenance import of_results
from offmodel.results import write_results
from offmodel.store import Store
from offmodel.study import Experiment, Measurement


def write_report(
    experiment: Experiment,
    preset: Preset,
    cells: Sequence[Measurement],
    items: pd.DataFrame,
    store: Store,
    folder: Path,
) -> None:
    """Write results, provenance and figures into `folder`, print the table, and say where everything is.

    Raises:
        RunError: the items do not keep the results contract.
    """
    # Drawing is asked for last and takes a second to import, so a plan or a wrong request does not wait for it.
    from analysis.make_all import draw
    from analysis.tables import print_scores

    scores = write_results(items, folder)
    provenance = {
        "command": f"python experiments/{experiment.name}.py --preset {preset.name}",
        "preset": preset.model_dump(mode="json"),
        "seeds": sorted({int(seed) for seed in items["seed"]}),
        **of_results([cell.scores for cell in cells], store),
    }
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    figures = draw(folder.parent, folder, only=experiment.figures)
    print(f"\n{print_scores(scores)}")
    engines = sorted({made["engine"] for made in provenance["artefacts"].values() if "engine" in made})
    if len(engines) > 1:
        print(f"\nwarning: answers of {' and '.join(engines)} are compared here; they round differently")
    print(f"\nresults: {folder}")
    print("\n".join(f"figure:  {path}" for path in figures if path.suffix == ".png"))
