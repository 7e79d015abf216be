"""A node that answers, hangs or upgrades, by the path: to be started as a module.

python -m tests.integration.quiet_node ADDRESS PORT
"""

from __future__ import annotations

import asyncio
import sys

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split()[1]
        print("asked", path.decode(), flush=True)
        if path == b"/hang":
            await asyncio.Event().wait()
        writer.write(_UPGRADE if path == b"/tunnel" else _ANSWER)
        if path == b"/tunnel":
            while data := await reader.read(1000):
                writer.write(data)


async def _main(host: str, port: int) -> None:
    server = await asyncio.start_server(_serve, host, port)
    print("serving", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
