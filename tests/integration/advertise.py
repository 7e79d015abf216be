"""An advertiser as a process of its own, for tests that run one in a network namespace.

    python -m tests.integration.advertise ADDRESS PORT [SETTINGS as JSON]

Logs on standard output, works without any privilege, and ends by TERM.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys

import uvloop

from lbproxy.config.sources import AdvertiseSettings
from lbproxy.control.mcmp.advertiser import Advertiser
from lbproxy.net import netlink
from lbproxy.net.multicast import parse_group
from lbproxy.net.sender import open_sender

NOBODY = 65534


async def advertise(advertiser: Advertiser) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await advertiser.start()
    await over.wait()
    await advertiser.stop()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(message)s")
    given = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    settings = AdvertiseSettings.model_validate(given)
    made = Advertiser(
        settings,
        open_sender(parse_group(settings.group).ip.version),
        (sys.argv[1], int(sys.argv[2])),
        "http",
    )
    # All files are read by now: the key, and what is imported late.
    assert netlink.read_interfaces()
    os.setuid(NOBODY)
    uvloop.run(advertise(made))
