"""Where things lie in a checkout of this repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ROOT / "data" / "prompts"
TASK_ITEMS = ROOT / "data" / "tasks"
RESULTS = ROOT / "data" / "results"
RUNS = ROOT / "data" / "runs"
PRESETS = ROOT / "experiments" / "presets"
EVALUATION_TASKS = Path(__file__).resolve().parent / "evaluation" / "tasks"
