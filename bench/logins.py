"""`make load`: whole logins by Locust through the demo; not 0 unless every step met the owner."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from bench.affinity import Tally, judge, sticky_results
from bench.processes import BenchError, free_ports, running

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "out" / "logins"
# Beyond the run itself: Locust's start, its last logins and its summary.
GRACE_S = 40


def main(arguments: list[str] | None = None) -> int:
    """Returns: 0; 1 where affinity did not hold or the run could not be made."""
    parser = argparse.ArgumentParser(prog="python -m bench.logins", description=__doc__)
    parser.add_argument("--users", type=int, default=20, help="at a time (%(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="that it lasts (%(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        tally, sticky = run(options.out, users=options.users, seconds=options.seconds)
    except BenchError as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    asked = tally.owner + len(tally.others)
    share = 100 * tally.owner / asked if asked else 0.0
    nodes = ", ".join(f"{node} {count}" for node, count in sorted(tally.by_node.items()))
    print(f"{tally.logins:,} logins ({nodes})")
    print(f"{tally.owner:,} of {asked:,} requests of a session hit its owner ({share:.1f} %)")
    print(f"lbproxy_sticky_total: {', '.join(f'{k} {v:,}' for k, v in sorted(sticky.items()))}")
    reasons = judge(tally, sticky)
    for reason in reasons:
        print(f"load: {reason}", file=sys.stderr)
    return 1 if reasons else 0


def run(folder: Path, *, users: int, seconds: int) -> tuple[Tally, dict[str, int]]:
    """Let that many users log in through a demo of our own, on free ports.

    Returns: what the users counted, and lbproxy_sticky_total by result.
    Raises: BenchError: the demo or Locust did not run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    https, http, admin = free_ports(3)
    demo = [sys.executable, "-m", "lbproxy", "demo", "--dir", str(folder)]
    demo += [f"--https-port={https}", f"--http-port={http}", f"--admin-port={admin}"]
    with running("demo", demo, core=None, ports=[https, admin], log=folder / "demo.log"):
        tally = _locust(folder, f"https://localhost:{https}", users, seconds)
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
    return tally, sticky_results(metrics)


def _locust(folder: Path, host: str, users: int, seconds: int) -> Tally:
    counts = folder / "tally.json"
    counts.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "locust", "-f", str(ROOT / "bench" / "locustfile.py")]
    argv += ["--headless", "--only-summary", "--host", host, "--users", str(users)]
    argv += ["--spawn-rate", str(users), "--run-time", f"{seconds}s", "--stop-timeout", "10"]
    env = os.environ | {"LOGINS_CA": str(folder / "ca.pem"), "LOGINS_TALLY": str(counts)}
    env["PYTHONPATH"] = str(ROOT)
    try:
        subprocess.run(argv, cwd=ROOT, env=env, timeout=seconds + GRACE_S, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError("Locust did not end") from None
    if not counts.exists():
        raise BenchError("Locust counted nothing")
    return Tally(**json.loads(counts.read_text()))


if __name__ == "__main__":
    # Ends a run like Ctrl-C does: through every `finally`, so that no child is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    sys.exit(main())
