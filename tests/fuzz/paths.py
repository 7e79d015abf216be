"""A bounded fuzzer of the readings of paths: `python -m tests.fuzz.paths --cases 100000 --seed 1`.

Puts paths together from what some server treats specially. Fails (exit status 1) where the readings
are not those of a second implementation, written for nothing but to be plain; where a path is
hidden and none of these is, or the other way round; and where a long path costs more than it may.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random
from time import thread_time
from urllib.parse import unquote_to_bytes

from lbproxy.routing.paths import (
    MAX_BYTES,
    MAX_DECODES,
    MAX_READINGS,
    DoubtfulPath,
    Visibility,
    readings,
    refuse_doubtful,
)

TOKENS = (
    rb"/ / / // \ ; ;x .. . a b admin adm status /api/status %2e %2f %5c %3b %25 %252e %253b %2525"
    rb" %3f %23 %41 %c4%b0 %e2%84%aa %c0%ae %00 % x: @ ~ ? .json \\ /.. /../ /./ %61 %c5%bf %2F %zz"
).split()
HIDE = (b"/admin", b"/api/status")
RULES = Visibility(HIDE)
LONGEST = 8100
LIMIT_S = 0.010  # ten times what was seen
SHOWN = 20


def _resolve(path: bytes) -> bytes:
    kept: list[bytes] = []
    segments = path[1:].split(b"/")
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise DoubtfulPath
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    end = [b""] if segments[-1] in (b".", b"..") else []
    return b"/" + b"/".join(kept + end)


STEPS: tuple[Callable[[bytes], bytes], ...] = (
    lambda path: re.sub(rb";[^/]*", b"", path),
    lambda path: path.replace(b"\\", b"/"),
    lambda path: re.sub(rb"/{2,}", b"/", path),
    lambda path: re.split(rb"[?#]", path, maxsplit=1)[0],
    lambda path: re.sub(rb"\A/[/\\][/\\]*[^/]*/?", b"/", path),
    _resolve,
)


def model(path: bytes) -> set[bytes] | None:
    """Return the readings, None for a doubtful path. Raises: OverflowError: there are too many."""
    if not path.startswith(b"/") or re.search(rb"%(?![0-9A-Fa-f]{2})", path):
        return None
    todo = [(path, 0)]
    seen: set[tuple[bytes, int]] = set(todo)
    try:
        for reading, decodes in todo:
            if re.search(rb"[\x00-\x1f\x7f\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]", reading):
                return None
            found = [(step(reading), decodes) for step in STEPS]
            if decodes < MAX_DECODES:
                found.append((unquote_to_bytes(reading), decodes + 1))
            for each in found:
                if each not in seen:
                    seen.add(each)
                    todo.append(each)
            if len(seen) > 20 * MAX_READINGS:
                raise OverflowError
    except DoubtfulPath:
        return None
    return {reading for reading, _ in seen}


def check(path: bytes, outcomes: Counter[str]) -> str | None:
    """Return what is wrong with what becomes of a path, None where nothing is."""
    try:
        expected = model(path)
    except OverflowError:
        expected = {b""} | {b"%d" % n for n in range(MAX_READINGS)}
    try:
        ours = set(readings(path))
    except DoubtfulPath as doubt:
        outcomes["doubtful"] += 1
        bounded = "too many" in str(doubt)
        if expected is not None and not bounded:
            return f"{path!r} is doubtful: {doubt}; the model has {expected}"
        if bounded and expected is not None and len(expected) < MAX_READINGS / 2:
            return f"{path!r} has but {len(expected)} readings"
        return None
    outcomes["read"] += 1
    if ours != expected:
        return f"{path!r}: {ours}; the model has {expected}"
    refuse_doubtful(path)  # what has readings is never refused
    below = tuple(each + b"/" for each in HIDE)
    hidden = any((each.lower() + b"/").startswith(below) for each in ours if each.isascii())
    if hidden and not RULES.hidden(path):
        return f"{path!r} is not hidden"
    return None


def cost(path: bytes) -> float:
    """Return the CPU seconds of all that is asked about a path, the better of three tries."""
    best = 1.0
    for _ in range(3):
        began = thread_time()
        for ask in (RULES.hidden, refuse_doubtful):
            with suppress(DoubtfulPath):
                ask(path)
        best = min(best, thread_time() - began)
    return best


def main() -> int:
    """Returns: 0 where every case is right, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random = Random(arguments.seed)
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    worst = (0.0, b"")
    for number in range(arguments.cases):
        unit = b"".join(random.choices(TOKENS, k=random.randint(1, 8)))
        path = b"/" + unit
        if found := check(path, outcomes):
            wrong.append(found)
        if number % 20 == 0:
            before = b"/x" * random.choice((1, 1000)) + random.choice((b"", b"/%61;a//"))
            long = before + unit * ((LONGEST - len(before)) // len(unit))
            worst = max(worst, (cost(long), long[:2200]))
    print(f"{arguments.cases} paths, seed {arguments.seed}: {dict(outcomes)}")
    print(f"the worst of the long ones: {worst[0] * 1000:.2f} ms, {worst[1][-120:]!r}")
    if worst[0] > LIMIT_S:
        wrong.append(f"more than {LIMIT_S} s for {MAX_BYTES} bytes of readings")
    for text in wrong[:SHOWN]:
        print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
