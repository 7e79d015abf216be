"""`python -m bench`: measure side by side. A full run writes docs/bench/, a part bench/out/."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from bench import report
from bench.figures import Figures, Measurement
from bench.peers import PEERS
from bench.peers.lbproxy import before
from bench.processes import BenchError, cores, raise_file_limit
from bench.scenarios import AIMS, SCENARIOS, Plan, opened

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "out"
DOCS = ROOT / "docs" / "bench"
TOOLS = {"taskset": "util-linux", "nginx": "nginx-light", "wrk": "wrk", "h2load": "nghttp2-client"}
QUICK = Plan(repeats=1, seconds=2, idle=2000)


def main(arguments: list[str] | None = None) -> int:
    """Returns: 0; 1 where the run could not be made; 3 with `--strict` where an aim is missed."""
    console = Console()
    options = _options(arguments)
    try:
        return _run(console, options)
    except BenchError as error:
        console.print(f"bench: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130


def _options(arguments: list[str] | None) -> argparse.Namespace:
    names = ", ".join(each.name for each in SCENARIOS)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", metavar="A,B", help=f"scenarios: {names}")
    parser.add_argument("--peers", metavar="A,B", help=f"proxies: {', '.join(PEERS)}")
    parser.add_argument(
        "--before", metavar="CHECKOUT", type=Path, help="another lbproxy, compiled there, beside us"
    )
    parser.add_argument("--repeats", type=int, help=f"of each measurement ({Plan().repeats})")
    parser.add_argument("--seconds", type=int, help=f"a measurement lasts ({Plan().seconds})")
    parser.add_argument("--quick", action="store_true", help="one short repeat, to see it work")
    parser.add_argument("--publish", action="store_true", help="write docs/bench/ in any case")
    parser.add_argument("--strict", action="store_true", help="exit code 3 where an aim is missed")
    return parser.parse_args(arguments)


def _chosen(text: str | None, known: list[str], what: str) -> list[str]:
    if text is None:
        return known
    wanted = [each.strip() for each in text.split(",") if each.strip()]
    if unknown := [each for each in wanted if each not in known]:
        raise BenchError(f"unknown {what} {', '.join(unknown)}; there are {', '.join(known)}")
    return [each for each in known if each in wanted]


def _run(console: Console, options: argparse.Namespace) -> int:
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            raise BenchError(f"{tool} is missing: apt install {package}")
    scenario_names = _chosen(options.only, [each.name for each in SCENARIOS], "scenario")
    peer_names = _chosen(options.peers, list(PEERS), "peer")
    missing = [name for name in peer_names if PEERS[name].find() is None]
    peers = tuple(PEERS[name] for name in peer_names if name not in missing)
    if options.before is not None:
        peers += (before(options.before),)
        if peers[-1].find() is None:
            raise BenchError(f"{options.before} holds no .venv/bin/lbproxy: run make build there")
    if missing and options.peers is not None:
        raise BenchError(f"not installed: {', '.join(missing)}")
    if missing:
        console.print(f"without {', '.join(missing)}, which is not installed", style="yellow")

    base = QUICK if options.quick else Plan()
    plan = Plan(
        repeats=options.repeats or base.repeats,
        seconds=options.seconds or base.seconds,
        idle=base.idle,
    )
    OUT.mkdir(parents=True, exist_ok=True)
    measurements: list[Measurement] = []
    with opened(
        OUT, cores(), raise_file_limit(), peers, plan, lambda line: console.print(line, style="dim")
    ) as bench:
        for scenario in SCENARIOS:
            if scenario.name in scenario_names:
                measurements.extend(scenario.measure(bench))

    figures = Figures(measurements)
    verdicts = figures.judge(AIMS)
    titles = {each.name: each.title for each in SCENARIOS}
    about = report.machine({peer.name: peer.version() for peer in peers})
    page = report.markdown(figures, verdicts, titles, about, repeats=plan.repeats, crowd=plan.idle)
    whole = not (options.only or options.peers or options.before or options.quick)
    target = DOCS if whole or options.publish else OUT
    target.mkdir(parents=True, exist_ok=True)
    (target / "results.md").write_text(page)
    (target / "results.json").write_text(report.data(figures, verdicts, about))
    report.plot(figures, titles, target / "cpu.svg")
    console.print(Markdown(page))
    console.print(f"written to {target.relative_to(ROOT)}")
    return 3 if options.strict and not all(each.held for each in verdicts) else 0


if __name__ == "__main__":
    # Ends a run like Ctrl-C does: through every `finally`, so that no child is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    sys.exit(main())
