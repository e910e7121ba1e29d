"""Whether training on sampled answers (RL, on-policy distillation) can run here. Light: this loads no model code."""

import importlib.metadata
from typing import Final

from offmodel.errors import RequestError

TRL: Final = "1.16.0"
"""The one version of TRL that `on_policy` is written for: it overrides private methods. Pinned in pyproject.toml."""


def require_trl() -> None:
    """See that GRPO and distillation can run; imports nothing, so that a plan can ask.

    Raises:
        RequestError: TRL is not installed, or in another version.
    """
    remedy = 'install the extra `rl` beside `cpu` or `gpu`: python -m pip install -e ".[rl]"'
    try:
        found = importlib.metadata.version("trl")
    except importlib.metadata.PackageNotFoundError as error:
        raise RequestError(f"training on sampled answers needs TRL {TRL}, which is not installed; {remedy}") from error
    if found != TRL:
        raise RequestError(f"training on sampled answers needs TRL {TRL}, and {found} is installed; {remedy}")
