"""What the untrained student and its arms answered to the same problem, side by side as an HTML table.

Model output is not trusted: it is escaped, and stands in `code`, where no page looks for formulas or links either.
"""

import html
import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from analysis.load import load
from analysis.style import condition, in_order
from offmodel.errors import RequestError
from offmodel.evaluation.registry import load_items
from offmodel.nearest import unknown
from offmodel.paths import EVALUATION_TASKS, RESULTS
from offmodel.results import ARM_KEYS, RUN_KEYS, UNTRAINED, is_floor, parameters, with_answers
from offmodel.style import FOREIGN

Outcome = Literal["kept", "lost", "gained", "never"]
# By whether the untrained student and the arm are right.
OUTCOMES: dict[tuple[bool, bool], Outcome] = {
    (True, True): "kept",
    (True, False): "lost",
    (False, True): "gained",
    (False, False): "never",
}
MARKS = ["repeats the problem", "adds nothing", "in steps", "cut", "no answer found"]
# Words in a row that an answer shares with its problem before it counts as repeating it. Arithmetic prompts end with
# "the number that is the answer", six words with which an answer may well begin.
REPEATED_WORDS = 7
# Share of an answer's words that are the problem's from which on it adds nothing.
OLD_WORDS = 0.9
# An answer of at least this many times the tokens, or at most this part of them, has changed its length.
LENGTH_RATIO = 2
LEGEND = (
    "Bold: not as the untrained student's answer, that is another verdict, half its tokens or fewer or twice as many, "
    f"or a mark gained or lost. Marks: repeats the problem, {REPEATED_WORDS} words in a row of it; adds nothing, "
    f"repeats it and has {100 * OLD_WORDS:.0f} % of its words or more from there; in steps, as "
    "`offmodel.style_measures` says; cut, ended by the token limit; no answer found, no number at all, or where "
    "formulas are compared neither a box nor “the answer is” (the last formula is judged all the same). Teacher "
    f"probability: that the teacher wrote it, by a classifier of style; bold where it crosses {FOREIGN}."
)
_FIELD = re.compile(r"\{\{\s*(\w+)(?:\[(\d+)\])?(?:\s*\|\s*trim)?\s*\}\}")
_CELL = ' style="text-align: left; vertical-align: top"'


def read_answers(
    preset: str | Path,
    experiment: str,
    student: str | None = None,
    teacher: str | None = None,
    seed: int | None = None,
) -> pd.DataFrame:
    """The answers of one student, untrained and taught by itself and by one teacher, with scores and style.

    A row for each arm, task and problem: the columns of the items table, `response`, `label` (the arm's, for people),
    `drawn` (the number of problems of the task), and `steps` and `teacher_probability`, null where no style was
    measured. What is not named is the first there is.

    Raises:
        RequestError: the results or their answers are not there, lack what is named, or hold several answers of an arm
            to one problem.
        RunError: the results do not keep the results contract.
    """
    results = load(preset, experiment)
    folder = preset if isinstance(preset, Path) else RESULTS / preset
    path = folder / experiment / "answers.parquet"
    if not path.is_file():
        raise RequestError(f"there is no {path}; `python experiments/{experiment}.py --preset {folder.name}` makes it")
    items = results.items[~results.items["arm"].map(is_floor)]
    student = _one_of("untrained student", items.loc[items["arm"] == UNTRAINED, "student"], student)
    items = items[items["student"] == student]
    foreign = items.loc[items["teacher"] != student, "teacher"]
    teacher = _one_of("teacher", foreign, teacher)
    items = items[(items["arm"] == UNTRAINED) | items["teacher"].isin([student, teacher])]
    trained = items["arm"] != UNTRAINED
    seed = int(_one_of("seed", items.loc[trained, "seed"], seed))
    items = items[((items["seed"] == seed) | ~trained) & (items["sample"] == items["sample"].min())]
    keys = [*ARM_KEYS, *RUN_KEYS, *parameters(items), "task", "item"]
    table = with_answers(items, pd.read_parquet(path))
    measures = ["steps", "teacher_probability"]
    if results.style is None:
        table[measures] = float("nan")
    else:
        style = results.style[results.style["compared_with"] == teacher]
        table = table.merge(style[[*keys, *measures]], on=keys, how="left", validate="one_to_one")
    twice = table.duplicated(["arm", "task", "item"])
    if twice.any():
        arm = table.loc[twice, "arm"].iloc[0]
        raise RequestError(f"arm {arm} answered a problem several times, with other parameters; choose items of one")
    table = in_order(table)
    drawn = table.groupby("task")["item"].transform("nunique")
    return table.assign(label=[condition(arm).label for arm in table["arm"]], drawn=drawn).reset_index(drop=True)


def count_outcomes(answers: pd.DataFrame) -> pd.DataFrame:
    """How many problems each trained arm kept, lost, gained and never had: a row for each task and arm."""
    found = _outcomes(answers)
    counts = found.groupby(["task_title", "label"], sort=False)["outcome"].value_counts().unstack(fill_value=0)
    rows = pd.MultiIndex.from_frame(found[["task_title", "label"]].drop_duplicates(), names=["task", "arm"])
    return counts.reindex(index=rows, columns=list(OUTCOMES.values()), fill_value=0).rename_axis(columns=None)


def count_marks(answers: pd.DataFrame) -> pd.DataFrame:
    """How often each arm's answers have each of `MARKS`, in per cent, and their mean length: rows as `count_outcomes`.

    Only tasks whose answers are written; nothing repeats a problem whose text is not at hand.
    """
    rows = []
    for (task, _), group in answers[answers["kind"] == "generate"].groupby(["task", "label"], sort=False):
        problems = _problems(str(task), int(group["drawn"].iloc[0]))
        flags = [_flags(row, problems.get(row["item"], ("", ""))[0]) for row in _rows(group)]
        row: dict[str, Any] = {"task": group["task_title"].iloc[0], "arm": group["label"].iloc[0]}
        row["tokens"] = group["response_tokens"].mean()
        rows.append(row | {mark: 100 * sum(one[mark] for one in flags) / len(flags) for mark in MARKS})
    return pd.DataFrame(rows).set_index(["task", "arm"])


def choose_items(answers: pd.DataFrame, task: str, outcome: Outcome, n: int, arm: str = "off_model_sft") -> list[str]:
    """The first `n` problems with that outcome, in the order in which they were drawn: nobody picks them by their text.

    Raises:
        RequestError: there are no answers of the arm to the task.
    """
    found = _outcomes(answers)
    found = found[(found["task"] == task) & (found["arm"] == arm)]
    if found.empty:
        raise RequestError(f"there are no answers of arm '{arm}' to task '{task}'")
    return [str(item) for item in found.loc[found["outcome"] == outcome, "item"].head(n)]


def side_by_side(answers: pd.DataFrame, task: str, items: Sequence[str], longest: int = 400) -> str:
    """HTML: each problem with its right answer, and below it what each arm wrote; `LEGEND` says what the marks mean.

    Args:
        answers: from `read_answers`.
        task: a task of these answers.
        items: ids of its problems.
        longest: characters after which an answer is cut short.

    Raises:
        RequestError: there are no answers to one of the items.
    """
    own = answers[answers["task"] == task]
    problems = _problems(task, int(own["drawn"].iloc[0])) if len(own) else {}
    blocks = []
    for item in items:
        rows = _rows(own[own["item"] == item])
        if not rows:
            raise RequestError(f"there are no answers to item '{item}' of task '{task}'")
        asked, solution = problems.get(item, ("", ""))
        before = next(row for row in rows if row["arm"] == UNTRAINED)
        cells = [
            [f"<th{_CELL}>{html.escape(row['label'])}</th>" for row in rows],
            [f"<td{_CELL}>{' · '.join(_marks(row, before, asked))}</td>" for row in rows],
            [f"<td{_CELL}>{_text(row['response'], longest)}</td>" for row in rows],
        ]
        body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in cells)
        blocks.append(f"{_heading(task, before, asked, solution)}\n<table>\n{body}\n</table>")
    return "\n".join(blocks)


def common_answers(answers: pd.DataFrame, task: str, n: int = 3, longest: int = 100) -> str:
    """HTML: what each arm wrote to several problems of a task, word for word, the `n` most frequent answers first."""
    rows = []
    for label, group in answers[answers["task"] == task].groupby("label", sort=False):
        often = [(text, count) for text, count in Counter(group["response"]).most_common(n) if count > 1]
        rows += [[html.escape(str(label)), f"{count} of {len(group)}", _text(text, longest)] for text, count in often]
        rows += [] if often else [[html.escape(str(label)), f"0 of {len(group)}", "<i>no answer twice</i>"]]
    body = "\n".join(f"<tr>{''.join(f'<td{_CELL}>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n{body}\n</table>"


def repeats(problem: str, answer: str) -> bool:
    """Does the answer hold `REPEATED_WORDS` words in a row of the problem, whatever their case and punctuation?"""
    first, second = _words(problem), _words(answer)
    return SequenceMatcher(None, first, second, autojunk=False).find_longest_match().size >= REPEATED_WORDS


def adds_nothing(problem: str, answer: str) -> bool:
    """Does the answer repeat the problem and say little else, with `OLD_WORDS` of its words or more from there?"""
    old, words = set(_words(problem)), _words(answer)
    return repeats(problem, answer) and sum(word in old for word in words) >= OLD_WORDS * len(words)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _one_of(what: str, known: pd.Series, asked: Any) -> Any:
    """What was asked for, or the first there is."""
    values = list(known.dropna().unique())
    if not values:
        raise RequestError(f"these results have no {what}, so there is nothing to compare; run that arm too")
    if asked is None:
        return values[0]
    if asked not in values:
        raise unknown(what, str(asked), map(str, values))
    return asked


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _outcomes(answers: pd.DataFrame) -> pd.DataFrame:
    """The rows of the trained arms with their `outcome`."""
    before = answers[answers["arm"] == UNTRAINED].set_index(["task", "item"])["correct"].to_dict()
    trained = answers[answers["arm"] != UNTRAINED]
    keys = zip(trained["task"], trained["item"], trained["correct"], strict=True)
    return trained.assign(outcome=[OUTCOMES[bool(before[task, item]), bool(right)] for task, item, right in keys])


@cache
def _problems(task: str, n: int) -> dict[str, tuple[str, str]]:
    """By item, what was asked and the right answer ("" where rules decide); empty where the data set is not at hand."""
    try:
        rows = load_items(task, n)
        lines = (EVALUATION_TASKS / f"{task}.yaml").read_text(encoding="utf-8")
    except (RequestError, OSError):
        return {}
    # The prompt's template, filled as lm-eval does; its jinja is not part of the base install.
    block = lines.partition("doc_to_text: |-\n")[2]
    template = "\n".join(line[2:] for line in re.split(r"\n(?=\S)", block)[0].split("\n"))
    return {str(row["id"]): (_filled(template, row), _solution(row)) for row in rows}


def _filled(template: str, row: dict[str, Any]) -> str:
    return _FIELD.sub(lambda field: str(row[field[1]] if field[2] is None else row[field[1]][int(field[2])]), template)


def _solution(row: dict[str, Any]) -> str:
    if "choices" in row:
        return "ABCD"[row["answer"]]
    return str(row["answers"][0] if "answers" in row else row.get("answer", ""))


def _heading(task: str, row: dict[str, Any], asked: str, solution: str) -> str:
    level = f", level {row['level']}" if pd.notna(row["level"]) else ""
    name = f"<b>{html.escape(row['item'] + level)}</b>"
    if not asked:
        where = f"name a folder with {html.escape(task)} in <code>$OFFMODEL_DATA</code>"
        return f"<p>{name}: the problem's text is not here; {where}.</p>"
    right = f"<br>Right: <code>{html.escape(solution)}</code>" if solution else ""
    return f"<p>{name}<br>{_text(asked)}{right}</p>"


def _marks(row: dict[str, Any], before: dict[str, Any], asked: str) -> list[str]:
    """What there is to say of an answer, in bold where the untrained student's differs."""
    tokens, was = row["response_tokens"], before["response_tokens"]
    length = max(tokens, was) >= LENGTH_RATIO * max(1, min(tokens, was))
    marks = [_bold("right" if row["correct"] else "wrong", row["correct"] != before["correct"])]
    marks += [_bold(f"{tokens} token{'s' if tokens != 1 else ''}", length)]
    probability, first = row["teacher_probability"], before["teacher_probability"]
    if pd.notna(probability):
        crossed = pd.notna(first) and (probability >= FOREIGN) != (first >= FOREIGN)
        marks.append(_bold(f"teacher probability {probability:.2f}", crossed))
    now, then = _flags(row, asked), _flags(before, asked)
    for mark in MARKS:
        if now[mark] or then[mark]:
            marks.append(_bold(mark if now[mark] else f"no longer: {mark}", now[mark] != then[mark]))
    return marks


def _flags(row: dict[str, Any], asked: str) -> dict[str, bool]:
    """Which of `MARKS` an answer has."""
    answer = row["response"]
    found = [repeats(asked, answer), adds_nothing(asked, answer)]
    found += [row["steps"] == 1, row["truncated"], not row["answered"]]
    return dict(zip(MARKS, map(bool, found), strict=True))


def _bold(text: str, changed: bool) -> str:
    return f"<b>{text}</b>" if changed else text


def _text(text: str, longest: int | None = None) -> str:
    """Text of a model or a data set, made harmless: escaped, in `code`, and without characters that do not print.

    Those can turn the direction of what is written after them.
    """
    cut = text if longest is None or len(text) <= longest else text[:longest]
    plain = "".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in cut)
    rest = f" <i>… {len(text) - len(cut)} characters more</i>" if len(cut) < len(text) else ""
    return f"<code>{html.escape(plain).replace(chr(10), '<br>')}</code>{rest}" if plain else "<i>(empty)</i>"
