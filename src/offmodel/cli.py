"""The one command line of all numbered scripts: plan, run, print the table, draw the figures."""

import argparse
import errno
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from offmodel.collect import collect
from offmodel.errors import RequestError, RunError
from offmodel.executors import run_locally
from offmodel.report import write_report
from offmodel.request import Request
from offmodel.results import is_floor
from offmodel.runner import run
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
    asked = Request.of(experiment, options)
    preset, settings, store, plan = asked.preset, asked.settings, asked.store, asked.plan
    print(f"{experiment.name}: {experiment.question}")
    print(f"preset {preset.name}: {preset.description}; seeds {asked.new_seeds}\n")
    print(plan.describe(settings), flush=True)
    if options.plan:
        return 0
    asked.check_means()
    report = run(plan, settings, run_locally)
    if report.failed:
        print(f"\n{report.describe_failures()}", file=sys.stderr)
    items = collect(experiment, asked.cells, store, asked.earlier.scores if asked.earlier else {})
    folder = store.root / "results" / (preset.name if asked.complete else f"{preset.name}.part") / experiment.name
    if not items.empty and not items["arm"].map(is_floor).all():
        write_report(experiment, asked, items, folder)
    made = f"{len(report.made)} artefacts made" if report.made else "all artefacts were there, no model was loaded"
    print(f"\n{made} in {time.monotonic() - started:.0f} s; they are in {settings.runs}")
    if report.failed:
        return 1
    if asked.published:
        _publish(folder, asked.published)
        print(f"published: {asked.published}")
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
