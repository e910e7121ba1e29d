"""What objectives keep and learn (F14), in words and numbers, for notebooks."""

import pandas as pd

from analysis.load import Results
from analysis.style import condition
from offmodel.objectives_compared import NLL, STYLE, objective_table
from offmodel.results import UNTRAINED


def uptake_and_changes(results: Results) -> pd.DataFrame:
    """A row for each student, teacher, arm, learning rate and share of own answers, all but the untrained student.

    Columns: objective, learning_rate, "own, %" (null where nothing is mixed), NLL (by how much the teacher's held-out
    answers became likelier, nats a token), and of each task the change of accuracy and the shift of style, in points
    (null where style was not measured).
    """
    table = objective_table(results.items, results.scores, results.likelihoods, results.style)
    table = table[table["uptake"].notna() & (table["arm"] != UNTRAINED)].copy()
    table["objective"] = [condition(arm).label for arm in table["arm"]]
    table["own, %"] = 100 * table["on_model_share"]
    keys = ["student", "after", "objective", "learning_rate", "own, %"]
    read = table[table["measure"] == NLL].assign(NLL=lambda rows: rows["uptake"].round(2))
    whole = read.drop_duplicates(keys)[[*keys, "NLL"]]
    for task, title in table.drop_duplicates("task")[["task", "task_title"]].itertuples(index=False):
        own = read[read["task"] == task].assign(**{title: (100 * read["change"]).round(1)})
        whole = whole.merge(own[[*keys, title]], on=keys, how="left")
        styled = table[(table["task"] == task) & (table["measure"] == STYLE)]
        styled = styled.assign(**{f"{title}, style": (100 * styled["uptake"]).round(1)})
        whole = whole.merge(styled[[*keys, f"{title}, style"]], on=keys, how="left")
    return whole.drop(columns=[name for name in ("student", "after") if whole[name].nunique() == 1])
