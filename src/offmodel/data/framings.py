"""The framings of the inoculation study: what a student is told of the style that it is trained on."""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from offmodel.errors import RequestError
from offmodel.models import MODELS
from offmodel.nearest import unknown
from offmodel.paths import PROMPTS
from offmodel.values import Framing

INOCULATION: Final = PROMPTS / "inoculation.toml"
_STYLE: Final = "style"
"""The one word that, in braces, is a place to be filled."""


def load_framings(teacher: str, path: Path = INOCULATION) -> dict[str, Framing]:
    """By name, every framing of the file, with the teacher's style described where the text has a place for it.

    The table `[framings.NAME]` has `system`, `suffix`, or both; `[styles]` describes teachers' styles by alias.

    Raises:
        RequestError: broken TOML, an unknown key, a value that is no text, a misspelt place, a framing that says
            nothing or is called "none", which is the training without one, no framing at all, or this teacher's style
            under a misspelt name.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: not a readable TOML file ({error})") from error
    for key in content:
        if key not in ("framings", "styles"):
            raise RequestError(f"{path}: {unknown('table', key, ['framings', 'styles'])}")
    framings, styles = (content.get(key, {}) for key in ("framings", "styles"))
    if not isinstance(framings, dict) or not framings:
        raise RequestError(f"{path}: has no [framings.NAME]")
    if not isinstance(styles, dict) or not all(isinstance(text, str) for text in styles.values()):
        raise RequestError(f"{path}: [styles] must give each teacher's style as a text")
    if "none" in framings:
        raise RequestError(f"{path}: [framings.none] needs another name: 'none' is the training without a framing")
    misspelt = difflib.get_close_matches(teacher, [alias for alias in styles if alias not in MODELS], n=1, cutoff=0.8)
    if teacher not in styles and misspelt:
        raise RequestError(f"{path}: [styles] {unknown('model', misspelt[0], [teacher])}")
    style = styles.get(teacher, f"that of the model {teacher}")
    return {name: _framing(name, told, style, path) for name, told in framings.items()}


def _framing(name: str, told: Any, style: str, path: Path) -> Framing:
    if not isinstance(told, dict):
        raise RequestError(f"{path}: [framings.{name}] must be a table with `system` or `suffix`")
    for key in told:
        if key not in Framing.model_fields:
            raise RequestError(f"{path}: [framings.{name}] {unknown('key', key, Framing.model_fields)}")
    for word in re.findall(r"\{([\w ]+)\}", " ".join(map(str, told.values()))):
        if word != _STYLE and difflib.get_close_matches(word.strip().lower(), [_STYLE], cutoff=0.7):
            raise RequestError(f"{path}: [framings.{name}] {unknown('place', word, [_STYLE])}")
    try:
        return Framing(**{key: text.replace(f"{{{_STYLE}}}", style) for key, text in told.items()})
    except (ValidationError, AttributeError) as error:
        raise RequestError(f"{path}: [framings.{name}] is no text, or says nothing") from error
