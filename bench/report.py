"""What a run says: a table for people, the data, and a plot of CPU time a request."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figures, Quantity, Verdict

TITLES = {
    Quantity.CPU_US: "CPU µs a request",
    Quantity.RATE: "requests/s",
    Quantity.P50_MS: "p50 ms",
    Quantity.P99_MS: "p99 ms",
    Quantity.MIB_S: "MiB/s",
    Quantity.GROWTH_MIB: "memory growth MiB",
    Quantity.CONNECTION_KIB: "KiB a connection",
    Quantity.BUSIEST_SHARE: "busiest worker, %",
}
# The quantity that a scenario is about, of which ratios are shown.
RATIO_OF = (Quantity.CPU_US, Quantity.MIB_S, Quantity.CONNECTION_KIB)
BESIDE = ("nginx", "haproxy")
COLOURS = {"lbproxy": "#1b6ca8"}
OTHER_COLOUR = "#b8b8b8"
INTRODUCTION = """\
One run of `make bench`: every proxy does the same work with one worker on one core (sticky by the
route in a cookie, forwarded fields set, kept-alive connections to the nodes, access log into a
file, metrics where it has them); load and origin share another core. CPU time is that of all of a
proxy's processes, user and system. Logs are buffered but for HAProxy's, which writes each line to
standard output at once. Figures are medians of {repeats} repeats in turns; ratios are medians, too,
of the ratio in each repeat. A crowd is {crowd:,} connections and is counted once. Only the ratios
carry over to another machine."""
PLOTTED = ("keepalive", "tls", "handshake")


def machine(versions: Mapping[str, str | None]) -> dict[str, str]:
    """What ran where: enough to judge the figures by, nothing that names the machine."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "openssl of python": ssl.OPENSSL_VERSION.split(" ")[1],
    }
    found |= {name: version for name, version in versions.items() if version}
    found |= {tool: _tool_version(tool) for tool in ("wrk", "h2load", "curl")}
    return found


def _processor() -> str:
    with suppress(OSError):
        model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if model:
            return model[1]
    return platform.machine()


def _tool_version(tool: str) -> str:
    if shutil.which(tool) is None:
        return "not installed"
    flag = "-v" if tool == "wrk" else "--version"
    asked = subprocess.run([tool, flag], capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"\d+\.\d+(?:\.\d+)?", asked.stdout + asked.stderr)
    return found.group() if found else "unknown"


def number(value: float) -> str:
    """A figure with about three digits that mean something."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return (
        f"{value:.0f}"
        if abs(value) >= 100
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
    )


def table(figures: Figures, scenario: str) -> list[str]:
    """The scenario as lines of a Markdown table: medians, and ratios to nginx and HAProxy."""
    quantities = figures.quantities(scenario)
    main = next(each for each in RATIO_OF if each in quantities)
    beside = [name for name in BESIDE if name in figures.contestants(scenario)]
    head = ["", *(TITLES[each] for each in quantities), *(f"x {name}" for name in beside)]
    lines = [_row(head), _row(["---", *("---:" for _ in head[1:])])]
    for contestant in figures.contestants(scenario):
        cells = [f"**{contestant}**" if contestant.startswith("lbproxy") else contestant]
        for quantity in quantities:
            value = figures.median(scenario, contestant, quantity)
            cells.append("" if value is None else number(value))
        for name in beside:
            ratio = figures.ratio(scenario, contestant, main, name)
            cells.append("" if ratio is None else f"{ratio:.2f}")
        lines.append(_row(cells))
    return lines


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def verdict_line(verdict: Verdict, titles: Mapping[str, str]) -> str:
    """An aim and what came out, as one sentence."""
    aim = verdict.aim
    bound = "at least" if aim.at_least else "at most"
    figure = f"{aim.factor:g}" if aim.of is None else f"{aim.factor:.2f} x {aim.of}"
    came = number(verdict.reached) if aim.of is None else f"{verdict.reached:.2f} x"
    word = "held" if verdict.held else "**missed**"
    return (
        f"{titles[aim.scenario]}, {TITLES[aim.quantity]}: {bound} {figure};"
        f" came out at {came}: {word}"
    )


def markdown(
    figures: Figures,
    verdicts: Iterable[Verdict],
    titles: Mapping[str, str],
    about: Mapping[str, str],
    *,
    repeats: int,
    crowd: int,
) -> str:
    """The whole page."""
    lines = [
        "# Side by side",
        "",
        *INTRODUCTION.format(repeats=repeats, crowd=crowd).splitlines(),
        "",
        "![CPU time a request](cpu.svg)",
        "",
    ]
    for scenario in figures.scenarios():
        lines += [f"## {titles[scenario]}", "", *table(figures, scenario), ""]
    lines += ["## Aims", ""]
    lines += [f"- {verdict_line(verdict, titles)}" for verdict in verdicts]
    lines += ["", "## Machine and versions", "", "| | |", "|---|---|"]
    lines += [_row(pair) for pair in about.items()]
    return "\n".join(lines) + "\n"


def data(figures: Figures, verdicts: Iterable[Verdict], about: Mapping[str, str]) -> str:
    """Every repeat, for another program."""
    results: dict[str, dict[str, dict[str, list[float]]]] = {}
    for scenario in figures.scenarios():
        results[scenario] = {
            contestant: {
                quantity.value: [
                    round(value, 3) for value in figures.values(scenario, contestant, quantity)
                ]
                for quantity in figures.quantities(scenario)
                if figures.values(scenario, contestant, quantity)
            }
            for contestant in figures.contestants(scenario)
        }
    aims = [
        {
            "scenario": each.aim.scenario,
            "contestant": each.aim.contestant,
            "quantity": each.aim.quantity.value,
            "bound": "at_least" if each.aim.at_least else "at_most",
            "factor": each.aim.factor,
            "of": each.aim.of,
            "reached": round(each.reached, 3),
            "held": each.held,
        }
        for each in verdicts
    ]
    measured = datetime.now(UTC).strftime("%Y-%m-%d")
    document = {"measured": measured, "machine": dict(about), "results": results, "aims": aims}
    return json.dumps(document, indent=1) + "\n"


def plot(figures: Figures, titles: Mapping[str, str], path: Path) -> None:
    """Bars of CPU time a request, shorter is better; nothing where that was not measured."""
    import matplotlib as mpl

    mpl.use("svg")
    # Letters as outlines look the same everywhere; a fixed salt keeps unchanged parts unchanged.
    mpl.rcParams.update({"svg.hashsalt": "lbproxy", "font.size": 10})
    from matplotlib import pyplot

    shown = [
        name
        for name in PLOTTED
        if name in figures.scenarios() and Quantity.CPU_US in figures.quantities(name)
    ]
    if not shown:
        return
    picture, axes = pyplot.subplots(
        1, len(shown), figsize=(4 * len(shown), 3), squeeze=False, layout="constrained"
    )
    for axis, scenario in zip(axes[0], shown, strict=True):
        medians = [
            (figures.median(scenario, who, Quantity.CPU_US) or 0.0, who)
            for who in figures.contestants(scenario)
        ]
        medians.sort(reverse=True)
        bars = axis.barh(
            [who for _, who in medians],
            [value for value, _ in medians],
            color=[COLOURS.get(who, OTHER_COLOUR) for _, who in medians],
        )
        axis.bar_label(bars, fmt="%.1f", padding=3)
        axis.set_title(titles[scenario], fontsize=11)
        axis.set_xlabel("CPU µs a request (shorter is better)")
        axis.margins(x=0.18)
        axis.spines[["top", "right"]].set_visible(False)
    picture.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(picture)
