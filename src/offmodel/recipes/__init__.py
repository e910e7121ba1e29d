"""The vocabulary: models, data sets of completions and scores as small frozen values that say how each is made.

A recipe holds only what changes its result. Its id is a readable name plus a hash of its canonical JSON, parents
included, so the same recipe in two experiments is one artefact. A change of meaning in the code that makes an artefact
bumps the `version` of its recipe. How it is run (engine, devices, folders) is kept in `offmodel.settings`.
"""

from typing import Annotated

from pydantic import Field, TypeAdapter

from offmodel.recipes.data import Accepted, Completions, Mixture, Preferences, Scrambled, Solutions, SolutionsInstead
from offmodel.recipes.models import (
    Base,
    Changed,
    Distilled,
    Preferred,
    Reinforced,
    Scripted,
    Snapshot,
    Trained,
    WithWeights,
)
from offmodel.recipes.readings import Likelihood, Prefill, Scores
from offmodel.recipes.recipe import Recipe

__all__ = [
    "Accepted",
    "AnyRecipe",
    "Base",
    "Changed",
    "Completions",
    "Data",
    "Distilled",
    "Likelihood",
    "Mixture",
    "Model",
    "Preferences",
    "Preferred",
    "Prefill",
    "Recipe",
    "Reinforced",
    "Scores",
    "Scrambled",
    "Scripted",
    "Snapshot",
    "Solutions",
    "SolutionsInstead",
    "Trained",
    "WithWeights",
    "parse",
]

Model = Annotated[WithWeights | Scripted, Field(discriminator="kind")]
Data = Annotated[
    Completions | Scrambled | Mixture | Solutions | Accepted | SolutionsInstead, Field(discriminator="kind")
]
AnyRecipe = Annotated[
    WithWeights | Scripted | Data | Preferences | Scores | Likelihood,
    Field(discriminator="kind"),
]

for _recipe in (
    *(Trained, Reinforced, Preferred, Distilled, Snapshot, Scripted),
    *(Completions, Scrambled, Mixture, Accepted, SolutionsInstead, Preferences),
    *(Prefill, Scores, Likelihood),
):
    _recipe.model_rebuild(_types_namespace=globals())

_any_recipe: TypeAdapter[AnyRecipe] = TypeAdapter(AnyRecipe)


def parse(text: str) -> AnyRecipe:
    """The recipe that a canonical JSON text describes.

    Raises:
        pydantic.ValidationError: the text is no recipe of this version of the code.
    """
    return _any_recipe.validate_json(text)
