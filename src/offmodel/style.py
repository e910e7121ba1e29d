"""How far each arm's answers have moved towards its teacher's style, and whether the moved answers are the wrong ones.

The rules are in `offmodel.style_measures`; here are the tables made of them. Off-model arms are compared with their own
teacher; the untrained student and arms taught by itself with each teacher of that student, once for each.
`style_table` needs scikit-learn (the extra `models`), the tables made from it do not. Only tasks whose answers are
generated have a style.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from offmodel import statistics
from offmodel.errors import RunError
from offmodel.results import ARM_KEYS, BOOTSTRAP_SEED, UNTRAINED, parameters
from offmodel.style_measures import SURFACE, Openings, StyleClassifier, surface

MEASURES = [*SURFACE, "student_opening", "teacher_opening", "teacher_probability", "home_logprob"]
CLASSIFIER = ["classifier_accuracy", "classifier_low", "classifier_high", "classifier_n"]
STYLE_COLUMNS = ["compared_with", *MEASURES, "teacher_openings_from", *CLASSIFIER]
FOREIGN = 0.5  # an answer of at least this teacher_probability is judged foreign in style, of less home
_NEEDED = [*ARM_KEYS, "seed", "task", "item", "response", "correct"]


def style_parameters(table: pd.DataFrame) -> list[str]:
    """The columns of answers, or of a style table, that are an arm's own parameters; as `results.parameters`."""
    return [name for name in parameters(table) if name not in (*STYLE_COLUMNS, "response")]


def style_table(answers: pd.DataFrame, chat_answers: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row for each answer and model that it is compared with: the columns of `answers` but its text, and
    `STYLE_COLUMNS`. No rows where no student has a teacher other than itself.

    `answers` has a row for each arm × seed × item with the columns of `ARM_KEYS`, seed, task, item, response and
    correct, the untrained arm among them and no scripted floor; further columns are kept. `chat_answers` gives by alias
    what the untrained students and the teachers answered to the chat prompts: columns prompt_id and answer.
    `home_logprob`, of an answer under the untrained student, may be among them, and is null where it is not.
    `student_opening` and `teacher_opening` are those of `style_measures.Openings` on the same task. A teacher that was
    not asked the task itself is represented by its chat answers, from which its students learnt; the column
    `teacher_openings_from` ("task" or "chat") says which.

    Raises:
        RunError: a column, an arm or a model's chat answers are missing, or too few to tell two styles apart.
    """
    _check(answers)
    answers = answers.reset_index(drop=True)
    if "home_logprob" not in answers:
        answers = answers.assign(home_logprob=np.nan)
    rules = pd.DataFrame([surface(text) for text in answers["response"]], index=answers.index, columns=SURFACE)
    parts = []
    for student, teacher in _pairs(answers):
        for alias in (student, teacher):
            if alias not in chat_answers:
                raise RunError(f"there are no chat answers of {alias}; run the arm that is trained on them first")
        classifier = StyleClassifier.between(chat_answers[student], chat_answers[teacher], (student, teacher))
        own = (answers["student"] == student) & (~_off_model(answers) | (_foreign(answers) == teacher))
        probability = classifier.teacher_probability(answers.loc[own, "response"].tolist())
        measured = answers[own].assign(compared_with=teacher, teacher_probability=probability).join(rules)
        for _, rows in measured.groupby(["experiment", "task"], sort=False):
            openings = _openings(rows, answers, student, teacher, chat_answers[teacher])
            numbers = dict(zip(CLASSIFIER, [*classifier.accuracy, classifier.n], strict=True))
            parts.append(rows.assign(**openings, **numbers))
    kept = [str(name) for name in answers.columns if name not in ("response", "home_logprob")]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*kept, *STYLE_COLUMNS])
    return table[[*kept, *STYLE_COLUMNS]]


def style_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means of a style table: one row for each arm (with its parameters), seed, task and `compared_with`.

    `n` is the number of answers; the measures are means over them, teacher_probability over those with words and
    home_logprob over those that were read;
    `style_shift` is its mean change from the untrained student's answers to the same items (0 for that student).
    """
    controls = _controls(table)
    rows = []
    for _, group in _grouped(table, [*_arm(table), "seed", "task", "compared_with"]):
        row = {name: group[name].iloc[0] for name in [*_arm(table), "seed", "task", "compared_with"]}
        row |= {"n": len(group), "accuracy": float(group["correct"].mean())}
        row |= {name: float(group[name].mean()) for name in MEASURES}
        change = _by_item(group) - controls[_control_key(group)]
        row["style_shift"] = float(change["teacher_probability"].mean())
        rows.append(row | {name: group[name].iloc[0] for name in ["teacher_openings_from", *CLASSIFIER]})
    return pd.DataFrame(rows)


def style_effects(table: pd.DataFrame) -> pd.DataFrame:
    """Style shift against change of accuracy: a row for each trained arm, task and `compared_with`, over all seeds.

    shift: as `style_shift`, in [−1, 1], null where all answers are empty; change: of accuracy, over the `n` items, as
    the `difference` of the score table. Each has its 95 % interval, by bootstrap over items
    (`statistics.paired_difference`).
    """
    controls = _controls(table)
    rows = []
    for _, group in _grouped(table[table["arm"] != UNTRAINED], [*_arm(table), "task", "compared_with"]):
        row = _described(group)
        after, before = _by_item(group), controls[_control_key(group)]
        row |= {"n": len(after), "seeds": group["seed"].nunique()}
        for name, column in [("shift", "teacher_probability"), ("change", "correct")]:
            both = pd.concat([after[column], before[column]], axis=1).dropna()
            ends = (np.nan, np.nan, np.nan)
            if len(both):
                rng = np.random.default_rng(BOOTSTRAP_SEED)
                ends = statistics.paired_difference(both.iloc[:, 0], both.iloc[:, 1], rng)
            row |= dict(zip([name, f"{name}_low", f"{name}_high"], ends, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def accuracy_by_style(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each trained arm's answers judged home and foreign in style: two rows, `judged` "home" and "foreign",
    for each trained arm, task and `compared_with`.

    accuracy, low, high: Wilson over the `n` items that have such an answer, several seeds' answers to an item counting
    as one; null where n is 0. untrained: accuracy of the untrained student on those same items, since the items that
    are answered in one style may be the harder ones. An answer without words is in neither.
    """
    controls = _controls(table)
    rows = []
    for _, group in _grouped(table[table["arm"] != UNTRAINED], [*_arm(table), "task", "compared_with"]):
        foreign = group["teacher_probability"] >= FOREIGN
        home = group["teacher_probability"] < FOREIGN
        for judged, chosen in [("home", home), ("foreign", foreign)]:
            row = _described(group) | {"judged": judged, "n": group.loc[chosen, "item"].nunique()}
            right = _by_item(group[chosen])["correct"]
            ends = statistics.wilson(float(right.sum()), row["n"]) if row["n"] else (np.nan, np.nan, np.nan)
            row |= dict(zip(["accuracy", "low", "high"], ends, strict=True))
            row["untrained"] = float(controls[_control_key(group)]["correct"].reindex(right.index).mean())
            rows.append(row)
    return pd.DataFrame(rows)


def _check(answers: pd.DataFrame) -> None:
    missing = [name for name in _NEEDED if name not in answers.columns]
    if missing:
        raise RunError(f"the table of answers lacks the columns {', '.join(missing)}; collect the answers again")
    gaps = answers["response"].isna()
    if gaps.any():
        raise RunError(f"an answer of arm {answers.loc[gaps, 'arm'].iloc[0]} has no text; score that arm again")
    trained = answers[["experiment", "student", "task"]].drop_duplicates()
    untrained = answers.loc[answers["arm"] == UNTRAINED, ["experiment", "student", "task"]].drop_duplicates()
    for experiment, student, task in sorted(set(map(tuple, trained.values)) - set(map(tuple, untrained.values))):
        raise RunError(
            f"{experiment}: there are no untrained answers of {student} to {task} to compare with; score them"
        )


def _foreign(table: pd.DataFrame) -> pd.Series:
    """Whose style an arm may have taken up: that of its teacher, or where it goes on from an earlier training, `after`
    that one's, whoever taught it last."""
    return table["after"].where(table["after"].notna(), table["teacher"]) if "after" in table else table["teacher"]


def _off_model(table: pd.DataFrame) -> pd.Series:
    return _foreign(table).notna() & (_foreign(table) != table["student"])


def _pairs(answers: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Every (student, teacher) of two different models, as they come."""
    pairs = answers.assign(foreign=_foreign(answers)).loc[_off_model(answers), ["student", "foreign"]].drop_duplicates()
    yield from zip(pairs["student"], pairs["foreign"], strict=True)


def _openings(
    rows: pd.DataFrame, answers: pd.DataFrame, student: str, teacher: str, chat: pd.DataFrame
) -> dict[str, Any]:
    """The two opening columns of rows of one experiment and task."""
    first = rows.iloc[0]
    asked = (answers["experiment"] == first["experiment"]) & (answers["task"] == first["task"])
    untrained = answers[asked & (answers["arm"] == UNTRAINED)]
    home, foreign = (untrained[untrained["student"] == alias] for alias in (student, teacher))
    known = [Openings(home["response"].tolist(), home["item"].tolist())]
    known += [Openings(foreign["response"].tolist(), foreign["item"].tolist())] if len(foreign) else []
    known += [] if len(foreign) else [Openings(chat["answer"].tolist())]
    texts = list(zip(answers.loc[rows.index, "response"], rows["item"], strict=True))
    shares = [[openings.share(text, item) for text, item in texts] for openings in known]
    source = "task" if len(foreign) else "chat"
    return {"student_opening": shares[0], "teacher_opening": shares[1], "teacher_openings_from": source}


def _arm(table: pd.DataFrame) -> list[str]:
    return [*ARM_KEYS, *style_parameters(table)]


def _grouped(table: pd.DataFrame, keys: list[str]) -> Any:
    """Groups in the order in which they first appear; a null is a value like any other."""
    return table.groupby(keys, sort=False, dropna=False)


def _described(group: pd.DataFrame) -> dict[str, Any]:
    titles = [name for name in ["task_title"] if name in group.columns]
    return {name: group[name].iloc[0] for name in [*_arm(group), "task", *titles, "compared_with"]}


def _by_item(group: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds (and samples) of correctness and teacher_probability: rows sorted by item."""
    numbers = group[["correct", "teacher_probability"]].astype(float)
    return numbers.groupby(group["item"]).mean()


def _control_key(group: pd.DataFrame) -> tuple[Any, ...]:
    return tuple(group[["experiment", "student", "task", "compared_with"]].iloc[0])


def _controls(table: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    """`_by_item` of the untrained student, by `_control_key`."""
    keys = ["experiment", "student", "task", "compared_with"]
    return {key: _by_item(group) for key, group in _grouped(table[table["arm"] == UNTRAINED], keys)}
