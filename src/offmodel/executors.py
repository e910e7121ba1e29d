"""Where a batch of steps runs: a fresh process on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from offmodel.progress import PROGRESS_FD
from offmodel.recipes import Recipe
from offmodel.settings import Settings
from offmodel.worker import PARENT, Event, Job


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: ids that are done, and a message for each that failed."""

    done: set[str]
    failed: dict[str, str]
    log: Path


# glibc gives large blocks back to the system and takes them anew, page by page, at every step of a model. With these a
# worker keeps them (`benchmarks/generation.py` tells what that is worth); other C libraries do not look.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)}

Executor = Callable[[Sequence[Recipe], Settings], Outcome]


def run_locally(recipes: Sequence[Recipe], settings: Settings) -> Outcome:
    """Run one worker process to its end. Its output goes to a log in the run folder, its progress to the terminal."""
    logs = settings.runs / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    stem = logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 1_000_000_000:09d}"
    job, log = stem.with_suffix(".json"), stem.with_suffix(".log")
    job.write_text(Job(recipes=list(recipes), settings=settings).model_dump_json(indent=2), encoding="utf-8")  # type: ignore[arg-type]
    with log.open("wb") as output:
        screen = os.dup(sys.stderr.fileno())
        worker = subprocess.Popen(
            [sys.executable, "-m", "offmodel.worker", str(job)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**KEEP_MEMORY, **os.environ, **_one_device(), PROGRESS_FD: str(screen), PARENT: str(os.getpid())},
            pass_fds=[screen],
            start_new_session=True,
        )
        os.close(screen)
        try:
            code = worker.wait()
        except BaseException:
            # An engine's own children die with the worker's session.
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            raise
    return _outcome(recipes, stem.with_suffix(".events"), code, log)


def _one_device() -> dict[str, str]:
    """One process uses one GPU: with several in sight transformers would split each batch over them."""
    return {
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
        "TOKENIZERS_PARALLELISM": "false",
    }


def _outcome(recipes: Sequence[Recipe], events: Path, code: int, log: Path) -> Outcome:
    """What the worker told; a step that it had started when it died has failed, later ones are simply not done."""
    lines = events.read_text(encoding="utf-8").splitlines() if events.exists() else []
    told = [event for line in lines if (event := _event(line))]
    last = {event.id: event for event in told}
    done = {event.id for event in last.values() if event.state == "done"}
    failed = {event.id: event.message for event in last.values() if event.state == "failed"}
    died = f"its process ended with {_describe_exit(code)}"
    failed |= {event.id: died for event in last.values() if event.state == "started"}
    if code != 0 and not told:
        failed |= {recipe.id: died for recipe in recipes}
    return Outcome(done, failed, log)


def _event(line: str) -> Event | None:
    try:
        return Event.model_validate_json(line)
    except ValidationError:  # torn, for the disk was full or the worker was killed while it wrote
        return None


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"signal {signal.Signals(-code).name}{hint}"
