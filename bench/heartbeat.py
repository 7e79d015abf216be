"""lbproxy as a child that knows how long its event loop was busy without a turn for others.

`python -m bench.heartbeat CONFIG`. A callback runs every millisecond and notes the CPU time since
the last one: CPU time, so that what else the machine does is no block of ours. For each line on
standard input the longest such time since the last line is printed, in milliseconds; the end of
the input ends the process.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import thread_time

import uvloop

from lbproxy.config.read import load_config
from lbproxy.runtime.collector import quiet_collector
from lbproxy.runtime.service import Service

BEAT_S = 0.001


async def main(path: Path) -> None:
    loop = asyncio.get_running_loop()
    config = load_config(path).config
    assert config is not None, "the bench wrote a configuration that is wrong"
    service = Service(config)
    service.open()
    await service.start()
    quiet_collector()
    longest = 0.0
    last = thread_time()

    def beat() -> None:
        nonlocal longest, last
        now = thread_time()
        longest = max(longest, now - last)
        last = now
        loop.call_later(BEAT_S, beat)

    beat()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("ready", flush=True)
    while await reader.readline():
        print(f"{longest * 1000:.3f}", flush=True)
        longest = 0.0
    await service.stop()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
