"""A bounded fuzzer of the HTTP/1 codecs: `python -m tests.fuzz.http1 --cases 100000 --seed 1`.

Bends the messages of the corpus and lets lbproxy and h11 read the result. Fails (exit status 1)
where a message that lbproxy accepts is read differently by h11, where anything but a refusal is
raised, or where a message that comes in two pieces is read differently from one in a single piece.
"""

from __future__ import annotations

import argparse
import traceback
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_body import ChunkedReader
from lbproxy.wire.http1_head import GET, HEAD
from lbproxy.wire.partial_head import PartialHead
from lbproxy.wire.request_head import RequestHead
from tests.fuzz import corpus
from tests.fuzz.mutate import mutate
from tests.fuzz.readings import (
    BODY_LIMITS,
    DROPS,
    LIMITS,
    Head,
    Refused,
    compare_body,
    compare_request,
    compare_response,
    h11_request,
    h11_response,
    our_request,
    our_response,
)

SHOWN = 20  # differences printed in full


@dataclass(slots=True)
class Tally:
    """What became of the cases. `stricter`: accepted by h11 and refused by us, by our reason."""

    outcomes: Counter[str] = field(default_factory=Counter)
    stricter: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)


def _in_pieces(data: bytes, random: Random) -> RequestHead | Refused | None:
    """Return lbproxy's reading of a request that comes in pieces, as a connection reads it."""
    at = random.randint(0, len(data))
    ours = our_request(data[:at])
    while ours is None and at < len(data):
        held = PartialHead(LIMITS, data[:at])
        while at < len(data):
            step = random.choice((1, 2, 7, 60))
            piece, at = data[at : at + step], min(at + step, len(data))
            if held.feed(piece):
                break
        else:
            return None
        ours = our_request(held.whole())
    return ours


def _outcome(read: RequestHead | Refused | None) -> str:
    if isinstance(read, Refused):
        return "refused"
    return "incomplete" if read is None else f"accepted, {read.end} bytes"


def _request(data: bytes, random: Random, tally: Tally) -> str | None:
    ours = our_request(data)
    whole, apart = _outcome(ours), _outcome(_in_pieces(data, random))
    # A fault in a line may wait for the end of its line, never for its acceptance.
    if whole != apart and not (whole == "refused" and apart == "incomplete"):
        return f"in pieces {apart}, whole {whole}"
    if isinstance(ours, Refused):
        tally.outcomes[f"request refused: {ours.reason}"] += 1
        if isinstance(h11_request(data), Head):
            tally.stricter[f"request: {ours.reason}"] += 1
        return None
    if ours is None:
        tally.outcomes["request incomplete"] += 1
        return None
    tally.outcomes["request accepted"] += 1
    piece = data[: random.randrange(ours.end)]
    if our_request(piece) is not None:
        return f"a piece of an accepted request: {piece!r}"
    return compare_request(data)


def _response(data: bytes, random: Random, tally: Tally) -> str | None:
    method, method_id = random.choice(((b"GET", GET), (b"GET", GET), (b"HEAD", HEAD)))
    ours = our_response(data, method_id)
    if isinstance(ours, Refused):
        tally.outcomes[f"response refused: {ours.reason}"] += 1
        if isinstance(h11_response(data, method), Head):
            tally.stricter[f"response: {ours.reason}"] += 1
        return None
    if ours is None:
        tally.outcomes["response incomplete"] += 1
        return None
    tally.outcomes["response accepted"] += 1
    piece = data[: random.randrange(ours.end)]
    if our_response(piece, method_id) is not None:
        return f"a piece of an accepted response: {piece!r}"
    return compare_response(data, method, method_id)


def _feed(pieces: list[bytes]) -> tuple[bytes, bool, bytes, int] | None:
    """Return payload, completeness, trailers and the number of bytes left over; None: refused."""
    reader = ChunkedReader(BODY_LIMITS, DROPS)
    payload = b""
    left = 0
    try:
        for piece in pieces:
            if reader.done:
                left += len(piece)
                continue
            payload += reader.feed(piece, 0)
            left = len(piece) - reader.position
    except BadHead:
        return None
    return payload, reader.done, reader.trailers, left


def _body(data: bytes, random: Random, tally: Tally) -> str | None:
    whole = _feed([data])
    outcome = "refused" if whole is None else "accepted" if whole[1] else "incomplete"
    tally.outcomes[f"body {outcome}"] += 1
    cut = random.randint(0, len(data))
    apart = _feed([data[:cut], data[cut:]])
    # A fault in a trailer line may wait for the end of its line, never for its acceptance.
    if apart != whole and not (whole is None and apart is not None and not apart[1]):
        return f"cut at {cut}: {apart}; whole: {whole}"
    return compare_body(data)


def run(cases: int, seed: int) -> Tally:
    """Run the cases; the same seed makes the same cases."""
    random = Random(seed)
    tally = Tally()
    requests = corpus.GOOD_REQUESTS * 12 + [data for _, data, _ in corpus.BAD_REQUESTS]
    responses = corpus.GOOD_RESPONSES * 6 + [data for _, data, _ in corpus.BAD_RESPONSES]
    bodies = [data for data, _ in corpus.GOOD_BODIES] * 8 + [
        data for _, data, _ in corpus.BAD_BODIES
    ]
    kinds = ((_request, requests), (_request, requests), (_response, responses), (_body, bodies))
    for _ in range(cases):
        check, seeds = random.choice(kinds)
        data = mutate(random, random.choice(seeds), seeds)
        try:
            difference = check(data, random, tally)
        except Exception:  # whatever it is, it is what is looked for
            tally.crashes.append(f"{data!r}\n{traceback.format_exc()}")
            continue
        if difference is not None:
            tally.differences.append(f"{data!r}\n  {difference}")
    return tally


def main() -> int:
    """Run what the command line asks for and print the tally; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description="fuzz the HTTP/1 codecs against h11")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tally = run(arguments.cases, arguments.seed)
    for name, count in sorted(tally.outcomes.items()):
        print(f"{count:8}  {name}")
    for name, count in sorted(tally.stricter.items()):
        print(f"{count:8}  h11 accepts, we refuse: {name}")
    for finding in (tally.differences + tally.crashes)[:SHOWN]:
        print(finding)
    print(
        f"{arguments.cases} cases, seed {arguments.seed}: "
        f"{len(tally.differences)} with two readings, {len(tally.crashes)} crashes"
    )
    return 1 if tally.differences or tally.crashes else 0


if __name__ == "__main__":
    raise SystemExit(main())
