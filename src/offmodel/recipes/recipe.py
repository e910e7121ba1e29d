"""What every recipe is: a frozen value with a readable id and the artefacts that it needs."""

import hashlib

from offmodel.values import Value


class Recipe(Value):
    """A value that is made by work and kept on disk as one artefact."""

    @property
    def label(self) -> str:
        """The readable part of the id; nothing is ever parsed back out of it."""
        raise NotImplementedError

    @property
    def id(self) -> str:
        return f"{self.label}-{hashlib.sha256(self.canonical().encode()).hexdigest()[:10]}"

    def parents(self) -> tuple["Recipe", ...]:
        """The artefacts that must be there before this one can be made."""
        return ()
