"""A worker's workshop: it tells each kind of recipe to its builder, and keeps what is dear to start."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from offmodel.builders.bases import build_base
from offmodel.builders.bench import Bench
from offmodel.builders.data import build_accepted, build_completions, build_derived, build_preferences
from offmodel.builders.readings import build_likelihood, build_scores
from offmodel.builders.students import build_distilled, build_preferred, build_reinforced, build_trained
from offmodel.errors import RunError
from offmodel.loaded import Loaded
from offmodel.recipes import (
    Accepted,
    AnyRecipe,
    Base,
    Completions,
    Distilled,
    Likelihood,
    Mixture,
    Preferences,
    Preferred,
    Reinforced,
    Scores,
    Scrambled,
    Scripted,
    Snapshot,
    Solutions,
    SolutionsInstead,
    Trained,
)
from offmodel.settings import Settings
from offmodel.store import Store


class Workshop:
    """Makes recipes, one at a time, in one process. Use it in a `with` block, which drops merged checkpoints."""

    def __init__(self, store: Store, settings: Settings):
        self._bench = Bench(store, settings, Loaded(store, settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bench.loaded.close()

    @property
    def details(self) -> dict[str, Any]:
        """What provenance adds for the recipe that was built last."""
        return self._bench.details

    def build(self, recipe: AnyRecipe, out: Path, scratch: Path) -> None:
        """Write the artefact's files into `out`; `scratch` survives a killed run."""
        bench = self._bench
        bench.details = {}
        match recipe:
            case Base():
                build_base(recipe, out, scratch, bench.settings.models)
            case Completions():
                build_completions(bench, recipe, out, scratch)
            case Scrambled() | Mixture() | Solutions() | SolutionsInstead():
                build_derived(bench, recipe, out)
            case Accepted():
                build_accepted(bench, recipe, out, scratch)
            case Preferences():
                build_preferences(bench, recipe, out, scratch)
            case Trained():
                build_trained(bench, recipe, out, scratch)
            case Preferred():
                build_preferred(bench, recipe, out, scratch)
            case Reinforced():
                build_reinforced(bench, recipe, out, scratch)
            case Distilled():
                build_distilled(bench, recipe, out, scratch)
            case Scores():
                build_scores(bench, recipe, out, scratch)
            case Likelihood():
                build_likelihood(bench, recipe, out)
            case Scripted() | Snapshot():
                raise RunError(f"{recipe.id} is no artefact of its own")
