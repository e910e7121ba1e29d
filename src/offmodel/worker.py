"""One batch of steps in one fresh process: `python -m offmodel.worker JOB.json`.

The process ends with its batch, so that an engine's memory is really given back. A step that fails is reported and the
others go on; what has been reported survives the process.
"""

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from pydantic import BaseModel

from offmodel.builders import Workshop
from offmodel.errors import RequestError, RunError
from offmodel.models import add_own_models
from offmodel.progress import terminal
from offmodel.provenance import provenance
from offmodel.recipes import AnyRecipe
from offmodel.settings import Settings
from offmodel.store import Store

# Names the process id of the study, with which its worker ends.
PARENT = "OFFMODEL_PARENT"


class Job(BaseModel):
    """What a worker is handed: the recipes to make, in order, and how to run."""

    recipes: list[AnyRecipe]
    settings: Settings


class Event(BaseModel):
    """What a worker tells of a step, one JSON line each: `started` and then `done` or `failed`."""

    id: str
    state: str
    message: str = ""


def work(job: Job, events: Path) -> None:
    """Make every recipe of the job that is not there yet; append events to a file as they happen."""
    add_own_models(job.settings.own_models)
    store = Store(job.settings.runs)
    screen = terminal()
    with events.open("a", encoding="utf-8", buffering=1) as told, Workshop(store, job.settings) as workshop:

        def tell(recipe_id: str, state: str, message: str = "") -> None:
            told.write(Event(id=recipe_id, state=state, message=message).model_dump_json() + "\n")

        for recipe in job.recipes:
            tell(recipe.id, "started")
            started = time.time()
            try:
                made = store.make(
                    recipe,
                    lambda out, scratch, recipe=recipe: workshop.build(recipe, out, scratch),
                    lambda recipe=recipe, started=started: provenance(recipe, started, **workshop.details),
                    on_wait=lambda recipe=recipe: print(f"{recipe.id}: another run is making it; waiting", file=screen),
                )
            except Exception as error:  # a step may fail in any way that a model library can; the others go on
                traceback.print_exc()
                tell(recipe.id, "failed", one_line(error))
                continue
            print(
                f"{recipe.id}: {'made' if made else 'made by another run'} in {time.time() - started:.0f} s",
                file=screen,
            )
            tell(recipe.id, "done")


def one_line(error: BaseException) -> str:
    """An error as one line for the person at the terminal; the traceback is in the log."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, RequestError | RunError) else f"{type(error).__name__}: {text[:300]}"


def die_with_parent() -> None:
    """End this process soon after its study was killed, so that a restarted study finds the locks free."""
    parent = int(os.environ[PARENT])  # asked after seconds of imports, getppid() could already name its heir

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    die_with_parent()
    job_file = Path(sys.argv[1])
    work(Job.model_validate(json.loads(job_file.read_text(encoding="utf-8"))), job_file.with_suffix(".events"))
