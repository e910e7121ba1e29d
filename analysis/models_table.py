"""T1: every model that the project knows, where its weights come from, and which presets use it."""

import pandas as pd

from offmodel.engines.provider import ApiModel
from offmodel.models import MODELS
from offmodel.paths import PRESETS
from offmodel.presets import load_preset
from offmodel.weights.checkpoints import HubCheckpoint
from offmodel.weights.hub import HubGguf
from offmodel.weights.packages import PackagedGguf

_TALKED_TO = {"template": "chat template", "in_context": "worked examples", "api": "the provider's own"}


def models_table() -> pd.DataFrame:
    """One row for each model, in the order of `MODELS`, as text.

    Columns: alias, title, family, parameters, licence, source, chat ("worked examples": a base model that is shown some
    before each prompt), roles (student or teacher, and the presets in which it is that). Empty: none, or not published.

    Raises:
        RequestError: a preset cannot be read.
    """
    presets = [load_preset(path.stem) for path in sorted(PRESETS.glob("*.toml"))]
    rows = []
    for card in MODELS.values():
        roles = {
            "student": [preset.name for preset in presets if card.alias in preset.students],
            "teacher": [preset.name for preset in presets if card.alias in preset.teachers],
        }
        rows.append({
            "alias": card.alias,
            "title": card.title,
            "family": card.family,
            "parameters": _size(card.parameters),
            "licence": card.licence,
            "source": describe_source(card.source),
            "chat": _TALKED_TO.get(card.chat, card.chat),
            "roles": "; ".join(f"{role} in {', '.join(names)}" for role, names in roles.items() if names),
        })  # fmt: skip
    return pd.DataFrame(rows)


def markdown_models() -> str:
    """The table as Markdown, with aliases as code."""
    table = models_table()
    table["alias"] = [f"`{alias}`" for alias in table["alias"]]
    right = {"parameters": "---:"}
    lines = [
        f"| {' | '.join(table.columns)} |",
        f"|{'|'.join(right.get(name, '---') for name in table.columns)}|",
        *(f"| {' | '.join(row)} |" for row in table.to_numpy().tolist()),
    ]
    return "\n".join(lines)


def describe_source(source: object) -> str:
    """Where weights come from, in a few words; the name of its class for a kind that is not known here."""
    match source:
        case PackagedGguf(requirements=(first, *others)):
            return f"Python package {first.replace('==', ' ')}{f' and {len(others)} more' if others else ''}"
        case HubGguf(repository=repository, file=file):
            return f"hub: {repository}, {file}"
        case HubCheckpoint(repository=repository, commit=commit):
            return f"hub: {repository} at {commit[:7]}"
        case ApiModel(name=name, url=url):
            return f"network: {name} at {url}"
    return type(source).__name__


def _size(parameters: int) -> str:
    if not parameters:
        return ""
    millions = round(parameters / 1e6)
    return f"{parameters / 1e9:.1f} B" if millions >= 1000 else f"{millions} M"
