"""The plots of the report page, by matplotlib, as SVG that follows the page's colours (and files on demand).

Each function takes plain values and returns a Figure.  Colours are the light ones; `inline` turns them
into CSS variables, so that the same SVG is right on a light and on a dark page.  Text stays text.
Names come from configs: they are drawn as they are, never as mathematics or markup.
"""

import io
import math
import re
import statistics
from typing import NamedTuple

from harness.host import extras

INK, MUTED, GRID = "#1d2530", "#5b6673", "#d5dae0"
SERIES = ("#0b6bcb", "#c2410c", "#15803d", "#9333ea", "#a16207", "#0e7490", "#be123c", "#4d7c0f")
MARKERS = "osD^vPX*"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid",
             **{color: f"--s{index}" for index, color in enumerate(SERIES)}}
SETTINGS = {
    "svg.fonttype": "none", "svg.hashsalt": "tdx-sept-harness", "text.parse_math": False,
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 10,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GRID,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
    "axes.titlelocation": "left", "grid.color": GRID, "grid.linewidth": 0.7, "axes.axisbelow": True,
    "legend.frameon": False, "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "figure.constrained_layout.use": True, "lines.linewidth": 1.6, "lines.markersize": 5,
}
WIDE, NARROW = 8.6, 5.2          # inches, of 72 CSS pixels: of a page, and of a telephone, where panels stand below each other


def load_matplotlib(wanted_by: str = "report"):
    """matplotlib, without a screen.  Raises UsageError if it is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise extras.missing(wanted_by, "report") from None
    matplotlib.use("Agg")
    matplotlib.rcParams.update(SETTINGS)
    return matplotlib


def figure(rows=1, columns=1, height=3.0, width=WIDE):
    """(Figure, axes as a flat list)"""
    load_matplotlib()
    from matplotlib.figure import Figure
    made = Figure(figsize=(width, height))
    return made, list(made.subplots(rows, columns, squeeze=False).flat)


def plain_ticks(axis) -> None:
    """Decades as 1, 10, 100 k ...; matplotlib's own would be mathematics, which is switched off."""
    from matplotlib.ticker import FuncFormatter

    def plain(value, _):
        return f"{value:.0e}".replace("e+0", "e") if abs(value) >= 1e6 else f"{value:g}"

    axis.set_major_formatter(FuncFormatter(plain))


def style(index: int) -> dict:
    marker = MARKERS[(index + index // len(SERIES)) % len(MARKERS)]
    return {"color": SERIES[index % len(SERIES)], "marker": marker}


def inline(made, prefix: str, label: str) -> str:
    """A figure as an <svg> element for the page; ids get a prefix, since a page has several."""
    text = io.StringIO()
    made.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    made.set_layout_engine("none")                   # laid out now; files of it need not do it again
    svg = text.getvalue()
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{prefix}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def save(made, path) -> list:
    """As SVG and PNG files on white; returns their paths.  Raises OSError."""
    paths = [path.with_suffix(".svg"), path.with_suffix(".png")]
    made.savefig(paths[0], metadata={"Date": None}, facecolor="white")
    made.savefig(paths[1], dpi=150, facecolor="white")
    return paths


def write(made, path) -> None:
    """As one file, on white; its kind is that of the path's ending.  Raises OSError or ValueError."""
    dated = {".svg": "Date", ".pdf": "CreationDate"}.get(path.suffix)
    made.savefig(path, metadata={dated: None} if dated else {}, dpi=110, facecolor="white")


def curves(panels: list[tuple[str, str, list[tuple[str, list[tuple]]]]], x_name: str, title: str, tick=str):
    """Three panels a row, in each a line for every name; one legend for all.

    panels   (title, scale, [(name, [(x, [y, ...])])]): the line goes through the medians, a band from the
             least to the greatest; scale: "linear", "log", or "symlog", which is "log" down to the least
             value but 0, and has 0 below it
    tick     how a number at the left edge is written
    The values of x are evenly apart if they are words, and doubled from one step to the next if numbers.
    """
    from matplotlib.ticker import FuncFormatter
    made, axes = figure(-(-len(panels) // 3), 3, height=2.9 * -(-len(panels) // 3) + 0.4)
    steps = list(dict.fromkeys(x for _, _, lines in panels for _, line in lines for x, _ in line))
    counted = all(isinstance(x, int | float) and x > 0 for x in steps)
    for axis, (name, scale, lines) in zip(axes, panels):
        for number, (label, line) in enumerate(lines):
            drawn = [(x if counted else steps.index(x), statistics.median(ys), min(ys), max(ys))
                     for x, ys in line if ys]
            xs, middle, least, most = zip(*drawn) if drawn else ([], [], [], [])
            # (Without a point it is clipped, as the layout would make room for it at the figure's corner.)
            behind = len(lines) - 1 - number                 # its markers stand around those of the lines before it
            axis.plot(xs, middle, label=label, **style(number), markersize=3.5 + behind * min(1.8, 9 / len(lines)), fillstyle="none",
                      clip_on=not xs, zorder=2 + number / 100)
            axis.fill_between(xs, least, most, color=style(number)["color"], alpha=0.15, linewidth=0)
        known = [y for _, line in lines for _, ys in line for y in ys]
        _scale_y(axis, scale, [y for y in known if y])
        if not known:
            axis.set_xlim(*((min(steps), 2 * max(steps)) if counted else (0, len(steps))))
            axis.text(0.5, 0.5, "no run has it", transform=axis.transAxes, ha="center", va="center", color=MUTED)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value) if value >= 1 else f"{value:g}"))
        if counted:
            axis.set_xscale("log", base=2)
        axis.set_xticks(steps if counted else range(len(steps)), map(str, steps), fontsize=8.5)
        axis.minorticks_off()
        axis.tick_params(length=0, pad=6)                      # the grid says where
        axis.set_title(name)
        axis.set_xlabel(x_name)
        axis.grid(True)
    for axis in axes[len(panels):]:
        axis.set_visible(False)
    if len(panels[0][2]) > 1:
        made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    made.suptitle(title, fontsize=10)
    return made


def _scale_y(axis, scale: str, values: list[float]) -> None:
    """Set up the left edge for these values, none of them 0; see curves."""
    from matplotlib.ticker import LogLocator
    if scale == "linear" or not values:
        axis.set_ylim(bottom=0, top=None if any(values) else 1)
    elif scale == "log":
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 50 * min(values) else (1,)))
    else:
        first, last = (math.floor(math.log10(value)) for value in (min(values), max(values)))
        axis.set_yscale("symlog", linthresh=10.0 ** first, linscale=0.5)
        axis.set_ylim(bottom=0)
        axis.set_yticks([0, *(10.0 ** decade for decade in range(first, last + 2))])
        axis.set_ylim(top=2 * max(values))


def heat_map(panels: list[tuple[str, dict[tuple[str, str], float]]], share_name: str, width: float = WIDE):
    """One panel per policy: calls down, operands across, BUSY per attempt of the call in percent.

    panels   (policy, {(call, operand): percent})
    The depth of colour is logarithmic, as BUSY spans decades; the numbers are in the cells.
    """
    from matplotlib.patches import Rectangle
    calls = list(dict.fromkeys(call for _, cells in panels for call, _ in cells))
    operands = sorted({operand for _, cells in panels for _, operand in cells})
    columns = 2 if len(panels) > 1 and len(operands) <= 4 and width == WIDE else 1
    rows = -(-len(panels) // columns)
    made, axes = figure(rows, columns, rows * (0.95 + 0.3 * len(calls)), width)
    greatest = max((value for _, cells in panels for value in cells.values()), default=1)
    for axis in axes[len(panels):]:
        axis.set_visible(False)
    for place, (axis, (policy, cells)) in enumerate(zip(axes, panels)):
        axis.set_xlim(0, len(operands))
        axis.set_ylim(len(calls), 0)
        for (call, operand), value in cells.items():
            x, y = operands.index(operand), calls.index(call)
            if value > 0:
                depth = max(0.08, 0.6 * (1 + math.log10(value / greatest) / 4))
                axis.add_patch(Rectangle((x + 0.03, y + 0.06), 0.94, 0.88, facecolor=SERIES[1], alpha=depth,
                                         linewidth=0))
            shown = f"{value:.2g}" if value >= 0.01 else "<.01" if value else "0"
            axis.text(x + 0.5, y + 0.5, shown, ha="center", va="center", fontsize=8.5)
        names = [operand.replace(" ", "\n", 1) for operand in operands]
        axis.set_xticks([x + 0.5 for x in range(len(operands))], names, fontsize=8)
        axis.set_yticks([y + 0.5 for y in range(len(calls))], calls if place % columns == 0 else [],
                        fontsize=8.5)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title(f"{policy}: {share_name}")
    return made


def quantiles(panels: list[tuple[str, list[tuple[str, list[float | None]]]]], names: list[str], unit: str,
              colors: list[str], width: float = WIDE):
    """One panel per call, one line per policy: a distribution by its quantiles.

    panels   (call, [(policy, value at each of `names`)])
    """
    columns = min(2, len(panels)) if width == WIDE else 1
    rows = -(-len(panels) // columns)
    made, axes = figure(rows, columns, 0.5 + 2.2 * rows, width)
    for axis in axes[len(panels):]:
        axis.set_visible(False)
    seen = {}
    for axis, (call, lines) in zip(axes, panels):
        for policy, values in lines:
            # No line across a missing percentile: matplotlib leaves a gap where a value is NaN.
            points = [(x, float("nan") if value is None else value) for x, value in enumerate(values)]
            if any(value is not None for value in values):
                [seen[policy]] = axis.plot(*zip(*points), label=policy, **style(colors.index(policy)))
        axis.set_yscale("symlog", linthresh=1)
        plain_ticks(axis.yaxis)
        axis.set_ylim(bottom=0, top=max(1.05, axis.get_ylim()[1]))
        axis.set_xticks(range(len(names)), names)
        axis.set_title(call)
        axis.set_ylabel(unit)
        axis.grid(axis="y")
    _legend(made, seen)
    return made


def _legend(made, seen: dict) -> None:
    if seen:
        ncols = min(4 if made.get_figwidth() == WIDE else 2, len(seen))
        made.legend(seen.values(), seen.keys(), loc="outside lower center", ncols=ncols, fontsize=9)


def bars(values: list[tuple[str, float, float | None, float | None]], unit: str, colors: list[str], width: float = WIDE):
    """One bar per policy with its interval: (policy, median, low, high)."""
    made, [axis] = figure(height=0.9 + 0.32 * len(values), width=width)
    for y, (policy, median, low, high) in enumerate(values):
        axis.barh(y, median, height=0.6, color=SERIES[colors.index(policy) % len(SERIES)], alpha=0.75)
        if low is not None:
            axis.plot([low, high], [y, y], color=INK, linewidth=1.2, marker="|")
    axis.set_yticks(range(len(values)), [policy for policy, *_ in values])
    axis.invert_yaxis()
    axis.set_xlim(left=0)
    axis.set_xlabel(unit)
    axis.grid(axis="x")
    return made


def pareto(points: list[tuple[str, float, float]], x_name: str, y_name: str, colors: list[str], width: float = WIDE):
    """Policies as points, less of both is better; the line joins those that no other dominates."""
    made, [axis] = figure(height=3.8, width=width)
    front = pareto_front(points)
    corner = sorted((x, y) for policy, x, y in points if policy in front)
    axis.step([x for x, _ in corner], [y for _, y in corner], where="post", color=MUTED, linewidth=1,
              linestyle="--", zorder=1)
    seen = {}
    for policy, x, y in points:
        kept = policy in front
        [seen[policy + ("" if kept else " (dominated)")]] = axis.plot(
            x, y, linestyle="none", markersize=9, fillstyle="full" if kept else "none",
            **style(colors.index(policy)))
    least = max(1e-3, min((x for _, x, _ in points if x > 0), default=1))
    axis.set_xscale("symlog", linthresh=least)
    plain_ticks(axis.xaxis)
    axis.margins(0.1)
    axis.set_xlim(left=0)
    decades = range(math.ceil(math.log10(least)), math.floor(math.log10(axis.get_xlim()[1])) + 1)
    if decades:                                                # none between 0 and the first, where there is no room
        axis.set_xticks([0, *(10.0 ** decade for decade in decades)])
    axis.set_ylim(bottom=0)
    axis.set_xlabel(x_name)
    axis.set_ylabel(y_name)
    axis.grid()
    _legend(made, seen)
    return made


def pareto_front(points: list[tuple[str, float, float]]) -> set[str]:
    """Policies that no other is at least as good as in both, and better in one."""
    return {policy for policy, x, y in points
            if not any(u <= x and v <= y and (u < x or v < y) for _, u, v in points)}


class Nights(NamedTuple):
    """A panel of `nights`."""

    title: str
    numbers: list[float]         # of each night
    names: list[str]             # of each night: its date and commit
    points: list[int]            # the first night behind each change
    alarms: list[int]            # nights
    noise: float                 # standard deviation from night to night


def nights(panels: list[Nights], width: float = WIDE):
    """Series over nights: levels, and around them a band of two standard deviations of a night."""
    made, axes = figure(len(panels), 1, 0.4 + 2.2 * len(panels), width)
    for axis, panel in zip(axes, panels):
        last = len(panel.numbers)
        axis.plot(range(1, last + 1), panel.numbers, color=SERIES[0], marker="o", markersize=2.5, linewidth=0.9)
        bounds = [0, *panel.points, last]
        for begin, end in zip(bounds, bounds[1:]):
            middle = sorted(panel.numbers[begin:end])[(end - begin) // 2]
            axis.plot([begin + 0.5, end + 0.5], [middle, middle], color=SERIES[1], linewidth=1.4)
            axis.fill_between([begin + 0.5, end + 0.5], middle - 2 * panel.noise, middle + 2 * panel.noise, color=SERIES[1],
                              alpha=0.15, linewidth=0)
        for point in panel.points:
            axis.axvline(point + 0.5, color=SERIES[1], linestyle=":", linewidth=1)
        for alarm in panel.alarms:
            axis.axvline(alarm + 1, color=SERIES[6], linewidth=1.4)
        shown = _apart([0, last - 1, *panel.points, *panel.alarms], last / (width - 1) * 0.9)
        axis.set_xticks([night + 1 for night in shown], [panel.names[night] for night in shown], fontsize=8)
        axis.set_title(panel.title, fontsize=9)
        axis.grid(axis="y")
    return made


def _apart(wanted: list[int], least: float) -> list[int]:
    """Of these, in the order of their weight, those that are not nearer than that to one before."""
    kept: list[int] = []
    for each in wanted:
        if all(abs(each - other) >= least for other in kept):
            kept.append(each)
    return sorted(kept)
