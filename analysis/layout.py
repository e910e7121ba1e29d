"""Panels and a caption placed in inches, so that text keeps its size whatever the number of rows and panels."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

CAPTION_SIZE = 6.0  # points
_CAPTION_LINE = 0.118  # inches


@dataclass(frozen=True)
class Margins:
    """Inches left free around the panels, and between them."""

    left: float
    right: float
    top: float
    bottom: float
    across: float = 0.0
    down: float = 0.0


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width in inches of a line of text, `size` in points."""
    font = FontProperties(size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def panels(
    rows: int, columns: int, width: float, panel_height: float, margins: Margins, caption: str
) -> tuple[Figure, list[Axes]]:
    """A figure `width` inches wide with rows × columns panels, row by row, and the caption below them."""
    lines = _wrapped(caption, width - 0.1)
    below = margins.bottom + _CAPTION_LINE * len(lines) + 0.06
    height = margins.top + rows * panel_height + (rows - 1) * margins.down + below
    panel_width = (width - margins.left - margins.right - (columns - 1) * margins.across) / columns
    figure = Figure(figsize=(width, height))
    axes = []
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        x = margins.left + column * (panel_width + margins.across)
        y = height - margins.top - panel_height - row * (panel_height + margins.down)
        axes.append(figure.add_axes((x / width, y / height, panel_width / width, panel_height / height)))
    for number, line in enumerate(lines):
        y = (len(lines) - number - 1) * _CAPTION_LINE + 0.06
        figure.text(0.05 / width, y / height, line, fontsize=CAPTION_SIZE, va="bottom", gid="caption")
    return figure, axes


def spread(wanted: list[float], gap: float) -> list[float]:
    """Positions near the wanted ones, at least `gap` apart, in the same order: for labels beside the ends of lines."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [wanted[i] for i in order]
    for _ in range(200):  # push neighbours apart evenly until none overlap
        moved = False
        for i in range(len(placed) - 1):
            short = gap - (placed[i + 1] - placed[i])
            if short > 1e-6:
                placed[i] -= short / 2
                placed[i + 1] += short / 2
                moved = True
        if not moved:
            break
    result = list(wanted)
    for position, i in zip(placed, order, strict=True):
        result[i] = position
    return result


def axes_width(ax: Axes) -> float:
    """Width of a panel in inches."""
    figure = ax.get_figure(root=True)
    return ax.get_position().width * (figure.get_figwidth() if figure else 1.0)


def _wrapped(caption: str, width: float) -> list[str]:
    """The caption in lines no wider than `width` inches."""
    lines: list[str] = []
    for word in caption.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, CAPTION_SIZE) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
