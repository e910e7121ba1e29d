"""Where things lie in a checkout of this repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ROOT / "data" / "prompts"
TASK_ITEMS = ROOT / "data" / "tasks"
RESULTS = ROOT / "data" / "results"
RUNS = ROOT / "data" / "runs"
EXPERIMENTS = ROOT / "experiments"
PRESETS = EXPERIMENTS / "presets"
EVALUATION_TASKS = Path(__file__).resolve().parent / "evaluation" / "tasks"


def snapshot_folder(parent: Path, step: int) -> Path:
    """Where the weights after a step are kept, in the working folder and in the result."""
    return parent / f"snapshot-{step}"
