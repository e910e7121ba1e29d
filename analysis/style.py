"""How a condition looks, once for all figures and tables: label, colour, marker, and its place in the order.

Colours are those of Okabe & Ito (2008), told apart with any colour vision; a colour that two conditions share is told
apart by the marker. Fonts ship with matplotlib, so that a figure has the same bytes on every machine.
"""

from typing import Any, NamedTuple

import pandas as pd
from matplotlib.typing import RcKeyType

from offmodel.errors import RequestError
from offmodel.results import is_floor, parameters

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE, GREY = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F",
)  # fmt: skip

COLUMN_WIDTH, PAGE_WIDTH = 3.3, 6.75  # inches: one column and both of a two-column paper

RC: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # TrueType outlines: text stays text, as publishers ask
    "ps.fonttype": 42,
    "savefig.dpi": 300,
}


class Condition(NamedTuple):
    label: str
    colour: str
    marker: str
    order: int


CONDITIONS = {
    name: Condition(label, colour, marker, order)
    for order, (name, label, colour, marker) in enumerate(
        [
            ("untrained", "untrained", BLACK, "o"),
            ("on_model_sft", "on-model SFT", BLUE, "s"),
            ("off_model_sft", "off-model SFT", VERMILION, "v"),
            ("off_model_dft", "off-model DFT", PURPLE, "D"),
            ("off_model_dft_sentence", "DFT, whole sentence", PURPLE, "d"),
            ("off_model_dft_geometric", "DFT, geometric mean", PURPLE, "p"),
            ("off_model_iw_sft", "off-model iw-SFT", ORANGE, "v"),
            ("off_model_asft", "off-model ASFT", GREEN, "D"),
            ("off_model_sft_kl", "off-model SFT + KL", VERMILION, "D"),
            ("off_model_flow", "off-model FLOW", SKY, "v"),
            ("off_model_stm", "off-model STM", SKY, "D"),
            ("off_model_clip", "off-model, least likely left out", GREEN, "v"),
            ("off_model_eaft", "off-model EAFT", ORANGE, "D"),
            ("off_model_sed", "off-model SED", YELLOW, "D"),
            ("sft", "SFT", VERMILION, "v"),
            ("dft", "DFT", PURPLE, "D"),
            ("iw_sft", "iw-SFT", ORANGE, "v"),
            ("asft", "ASFT", GREEN, "D"),
            ("off_model_mixed", "off-model, mixed with own", BLUE, "v"),
            ("off_model_more", "more off-model SFT", VERMILION, "<"),
            ("on_model_repair", "on-model repair", GREEN, "^"),
            ("on_policy_distillation", "on-policy distillation", BLUE, "D"),
            ("third_model_repair", "third model's answers", SKY, ">"),
            ("random_words", "random words", GREY, "x"),
            ("prefill", "prefill", ORANGE, "P"),
            ("prefill_reversed", "untrained, given off-model beginning", BLACK, "p"),
            ("inoculation", "inoculation", SKY, "h"),
            ("untrained_framed", "untrained, framed", BLACK, "H"),
            ("rl", "RL", GREEN, "*"),
            ("rft", "RFT", BLUE, "^"),
            ("offline_dft", "offline DFT", PURPLE, "s"),
            ("offline_iw_sft", "offline iw-SFT", ORANGE, "s"),
            ("solutions_sft", "SFT, their solutions", VERMILION, "s"),
            ("solutions_dft", "DFT, their solutions", PURPLE, "v"),
            ("dpo", "DPO", SKY, "s"),
            ("grpo", "GRPO, online", GREEN, "s"),
            ("floor_echo", "echo of the prompt", GREY, "|"),
            ("floor_constant", "constant answer", GREY, "|"),
            ("floor_shuffled", "answers shuffled", GREY, "|"),
        ]
    )
}


# The lines of one arm that a parameter sets apart: whose beginning a prefill is.
OPENINGS = {
    "untrained": Condition("untrained's beginning", GREEN, "^", 0),
    "untrained, another problem": Condition("untrained's, another problem", SKY, ">", 1),
    "its own": Condition("own beginning", VERMILION, "<", 2),
    "teacher": Condition("teacher's beginning", PURPLE, "D", 3),
}


def opening_condition(opening: str) -> Condition:
    """How a prefill with this beginning looks.

    Raises:
        RequestError: the beginning is not among `OPENINGS`.
    """
    if opening not in OPENINGS:
        raise RequestError(f"opening '{opening}' has no label or colour; add it to analysis/style.py")
    return OPENINGS[opening]


def condition(arm: str) -> Condition:
    """How an arm looks: one that is not among the conditions is grey, named as its script names it, and comes last."""
    return CONDITIONS.get(arm, Condition(arm.replace("_", " "), GREY, "8", len(CONDITIONS)))


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The rows by task and student as they come, then by the order of the conditions; teachers stay as they come."""
    ranks = pd.DataFrame({
        "task": pd.factorize(table["task"])[0],
        "floor": table["arm"].map(is_floor),
        "student": pd.factorize(table["student"])[0],
        "arm": [condition(arm).order for arm in table["arm"]],
    }, index=table.index)  # fmt: skip
    return table.loc[ranks.sort_values(list(ranks.columns), kind="stable").index]


def details(table: pd.DataFrame, only_teacher_too: bool = True) -> list[str]:
    """What tells rows of one arm apart, for each row: teacher, adapter and parameters where they differ; else "".

    A teacher that is the student itself is left out; so is, if asked, one that all off-model rows of the table share.
    """
    off_model = table["teacher"].notna() & (table["teacher"] != table["student"])
    names = ["teacher"] if only_teacher_too or table.loc[off_model, "teacher"].nunique() > 1 else []
    by_arm = table.groupby("arm")
    names += [name for name in ["adapter", *parameters(table)] if (by_arm[name].nunique(dropna=False) > 1).any()]
    texts = []
    for (_, row), other in zip(table.iterrows(), off_model, strict=True):
        here = [name for name in names if pd.notna(row[name]) and (other or name != "teacher")]
        texts.append(", ".join(_value(name, row[name]) for name in here))
    return texts


def _value(name: str, value: Any) -> str:
    if name in ("teacher", "adapter"):
        return str(value)
    return f"{name} = {value:g}" if isinstance(value, int | float) else f"{name} = {value}"
