"""How each kind of recipe is made: weights fetched, prompts answered, students trained, problems scored."""

from offmodel.builders.bench import COMPLETIONS, PREFERENCES
from offmodel.builders.workshop import Workshop

__all__ = ["COMPLETIONS", "PREFERENCES", "Workshop"]
