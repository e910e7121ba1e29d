"""What reinforcement learning may be told, and that TRL is asked for before anything is loaded."""

import importlib.metadata
import subprocess
import sys
import tomllib

import pytest
from pydantic import ValidationError

from offmodel.errors import RequestError
from offmodel.paths import ROOT
from offmodel.training.rewards import REWARDS
from offmodel.training.rl import TRL, require_trl
from offmodel.values import DPO, RL, RewardName


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"group": 1}, "greater than or equal to 2"),
        ({"snapshots": (2, 1)}, "different steps in order"),
        ({"updates": 4, "snapshots": (2, 5)}, "beyond the 4 updates"),
        ({"snapshots": (0,)}, "greater than 0"),
        ({"temperature": 0}, "greater than 0"),
        ({"reward": "nice"}, "'number', 'formula' or 'format'"),
        ({"clip": 0.2}, "Extra inputs"),
    ],
)
def test_wrong_settings(wrong: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RL(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"beta": 0}, "greater than 0"),
        ({"beta": 11}, "less than or equal to 10"),
        ({"method": "full"}, "should be 'lora'"),
    ],
)
def test_wrong_settings_of_dpo(wrong: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DPO(**wrong)


def test_every_reward_that_can_be_named_is_there() -> None:
    assert set(RewardName.__args__) == set(REWARDS)


def test_settings_survive_their_text() -> None:
    settings = RL(updates=8, snapshots=(2, 4), reward="format", seed=3)
    assert RL.model_validate_json(settings.canonical()) == settings


def test_the_pinned_version_is_the_one_it_is_written_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["rl"] == [f"trl=={TRL}"]
    assert f"trl=={TRL}" in (ROOT / "requirements" / "cpu.txt").read_text().split()


@pytest.mark.parametrize("installed", [None, "1.17.0"])
def test_trl_that_is_missing_or_another_is_one_line(monkeypatch: pytest.MonkeyPatch, installed: str | None) -> None:
    def version(name: str) -> str:
        if installed is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(RequestError, match=r"needs TRL .* install the extra `rl`") as caught:
        require_trl()
    assert "\n" not in str(caught.value)


def test_settings_and_rewards_load_neither_torch_nor_trl() -> None:
    code = (
        "import sys, offmodel.training.rl, offmodel.training.rewards, offmodel.data.problems\n"
        "sys.exit(bool({'torch', 'trl', 'transformers', 'vllm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
