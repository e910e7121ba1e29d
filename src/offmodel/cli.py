"""The one command line of all numbered scripts: plan, run, print the table, draw the figures."""

import argparse
import errno
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from offmodel.cells import collect_arms, collect_readings, measurements, own_answers, requested_tasks, wanted
from offmodel.collect import chats, collect
from offmodel.earlier import Earlier, published_seeds
from offmodel.engines.api import check_key
from offmodel.engines.provider import ApiModel
from offmodel.errors import RequestError, RunError
from offmodel.executors import run_locally
from offmodel.models import MODELS
from offmodel.paths import RESULTS
from offmodel.plan import make_plan
from offmodel.presets import Preset, load_preset
from offmodel.recipes import Completions
from offmodel.report import write_report
from offmodel.results import is_floor
from offmodel.runner import run
from offmodel.settings import Settings, choose_engine
from offmodel.store import Store
from offmodel.study import Experiment


def main(experiment: Experiment, arguments: Sequence[str] | None = None) -> None:
    """Run a numbered script's command line and exit: 0 well, 1 a step failed, 2 a wrong request, 130 interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    options = _parser(experiment).parse_args(arguments)
    try:
        code = _study(experiment, options)
    except RequestError as error:
        code = _complain(error, 2)
    except RunError as error:
        code = _complain(error, 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            raise
        code = _complain(RunError(f"{error.strerror}: {error.filename or options.runs}; what is finished is kept"), 1)
    except KeyboardInterrupt:
        code = _complain(RunError("interrupted; the same command goes on from here"), 130)
    sys.exit(code)


def _parser(experiment: Experiment) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"experiments/{experiment.name}.py", description=experiment.question)
    add = parser.add_argument
    add(
        "--preset",
        default="pocket",
        help="a file of experiments/presets, or the path of one of your own (default: pocket)",
    )
    add("--plan", action="store_true", help="print what would run, what is there and what it costs; run nothing")
    add("--seeds", type=_seeds, metavar="0,1,2", help="instead of the preset's seeds")
    add("--only", type=_names, metavar="ARM,ARM", help="only these arms (and untrained)")
    add("--tasks", type=_names, metavar="TASK,TASK", help="instead of the preset's tasks")
    add("--limit", type=_positive, metavar="N", help="at most N problems of each task: the first N of the full draw")
    add(
        "--data", type=Path, metavar="DIR", help="a mirror of the public data sets, instead of the hub ($OFFMODEL_DATA)"
    )
    add(
        "--models",
        type=Path,
        metavar="DIR",
        help="where models are looked for before the hub, laid out as hub ids ($OFFMODEL_MODELS)",
    )
    add("--runs", type=Path, metavar="DIR", help="where artefacts are kept (default: data/runs, or $OFFMODEL_RUNS)")
    add(
        "--engine", choices=["auto", "vllm", "transformers"], default="auto", help="default: vLLM where it is installed"
    )
    add(
        "--publish",
        action="store_true",
        help="also write the results to data/results, where figures and notebooks read; with --seeds they are added to "
        "the seeds that are there",
    )
    return parser


def _study(experiment: Experiment, options: argparse.Namespace) -> int:
    started = time.monotonic()
    preset = load_preset(options.preset)
    part = bool(options.only or options.tasks or options.limit)
    if options.publish and part:
        raise RequestError("--publish is for a whole preset: leave out --only, --tasks and --limit")
    if options.publish and options.preset.endswith(".toml"):
        raise RequestError(f"--publish is for a preset of experiments/presets: put {options.preset} there, and name it "
                           f"--preset {Path(options.preset).stem}")  # fmt: skip
    settings = _settings(preset, options)
    size = preset.of_script(experiment.name)
    published, new = RESULTS / preset.name / experiment.name, options.seeds or size.seeds
    earlier = Earlier.read(published) if options.publish and options.seeds else None
    if options.publish and not earlier and (lost := sorted(set(published_seeds(published)) - set(new))):
        raise RequestError(f"{published} has seeds {lost} too, which would be lost: name all seeds in the preset")
    seeds = list(dict.fromkeys([*earlier.seeds, *new])) if earlier else new
    arms = collect_arms(experiment, preset, seeds, settings.data, options.only)
    tasks = requested_tasks(preset, options.tasks or size.tasks, options.limit, settings.data, experiment.tasks)
    cells = measurements(arms, tasks, preset.reading)
    store = Store(settings.runs)
    readings = collect_readings(experiment, preset, seeds, settings.data) if not options.only else []
    there = earlier.scores if earlier else {}
    if earlier:
        readings = [one for one in readings if one.seed not in earlier.seeds or not earlier.has(one.likelihood)]
    to_make = wanted([cell for cell in cells if cell.scores.id not in there], readings)
    if earlier and earlier.style:
        to_make += [*chats(cells), *own_answers(preset, seeds, settings.data)]
    plan = make_plan(to_make, store)
    if earlier:
        earlier.check(cells, plan)
    print(f"{experiment.name}: {experiment.question}\npreset {preset.name}: {preset.description}; seeds {new}\n")
    print(plan.describe(settings.device_batch), flush=True)
    if options.plan:
        return 0
    store.check_writable(plan.bytes)
    for step in plan.missing:
        if isinstance(step.recipe, Completions):
            source = MODELS[step.recipe.model.student].source
            if isinstance(source, ApiModel):
                check_key(source)
    report = run(plan, settings, run_locally)
    if report.failed:
        print(f"\n{report.describe_failures()}", file=sys.stderr)
    items = collect(experiment, cells, store, there)
    # A part of a preset must not take the place of the whole.
    part = part or bool(options.seeds and not earlier)
    folder = store.root / "results" / (f"{preset.name}.part" if part else preset.name) / experiment.name
    if not items.empty and not items["arm"].map(is_floor).all():
        own = own_answers(preset, seeds, settings.data)
        write_report(experiment, preset, cells, readings, own, items, store, folder, earlier)
    made = f"{len(report.made)} artefacts made" if report.made else "all artefacts were there, no model was loaded"
    print(f"\n{made} in {time.monotonic() - started:.0f} s; they are in {settings.runs}")
    if report.failed:
        return 1
    if options.publish:
        _publish(folder, published)
        print(f"published: {published}")
    return 0


def _publish(folder: Path, published: Path) -> None:
    """Put results in the place of those that were published, whole or not at all."""
    beside = published.with_name(f".{published.name}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for path in folder.iterdir():
        if path.suffix in (".parquet", ".csv", ".json"):  # figures are drawn from these
            shutil.copyfile(path, beside / path.name)
    shutil.rmtree(published, ignore_errors=True)
    beside.rename(published)


def _settings(preset: Preset, options: argparse.Namespace) -> Settings:
    chosen: dict[str, Any] = {
        **preset.run.model_dump(),
        "engine": choose_engine(options.engine),
        "own_models": preset.models,
    }
    for name in ("data", "models", "runs"):
        if getattr(options, name) is not None:
            chosen[name] = getattr(options, name).expanduser().resolve()
    return Settings(**chosen)


def _complain(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in _names(text)]
    except ValueError:
        seeds = []
    if not seeds or not all(0 <= seed < 2**32 for seed in seeds):
        raise argparse.ArgumentTypeError(f"expected whole numbers such as 0,1,2 below 2 to the 32nd, found '{text}'")
    return list(dict.fromkeys(seeds))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found '{text}'")
    return int(text)
