"""`lbproxy run --watch`: what changes is followed, without anybody asking."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from lbproxy.runtime.watching import EVERY_S
from tests.integration.house import free_port
from tests.integration.test_process import PATIENCE_S, Lab
from tests.integration.test_process import lab as lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.test_process import Process

BOTH = pytest.mark.parametrize("workers", [1, 2])


async def watching(lab: Lab, **sections: Any) -> Process:
    lab.configure((await lab.stage.node()).port, state_file=False, **sections)
    process = await lab.start("run", "--watch", "-c", str(lab.file))
    await process.says("lbproxy.process: serving")
    return process


@BOTH
async def test_a_file_that_changes_is_followed(lab: Lab, workers: int) -> None:
    process = await watching(lab, workers=workers)
    text = lab.file.read_text()
    lab.file.write_text(text + "limits: {body: 1KiB}\n")
    await process.says("reloaded: limits.body 16MiB -> 1KiB")
    # As an editor does it.
    other = lab.file.with_name("lbproxy.yaml.new")
    other.write_text(text + "limits: {body: 2KiB}\n")
    os.rename(other, lab.file)
    await process.says("reloaded: limits.body 1KiB -> 2KiB")
    assert (await process.get()).status == 200
    process.send(signal.SIGTERM)
    assert await process.ends() == 0


@BOTH
async def test_a_bad_file_changes_nothing_and_is_said_once(lab: Lab, workers: int) -> None:
    process = await watching(lab, workers=workers)
    text = lab.file.read_text()
    lab.file.write_text(text + "nonsense: 1\n")
    await process.says("nonsense: unknown key")
    await asyncio.sleep(5 * EVERY_S)  # the time in which it would be said again
    assert process.text.count("nonsense: unknown key") == 1
    assert (await process.get()).status == 200
    lab.file.write_text(text + "limits: {body: 1KiB}\n")
    await process.says("reloaded: limits.body 16MiB -> 1KiB")


@BOTH
async def test_a_file_that_it_names_is_followed_as_well(
    lab: Lab, tmp_path: Path, workers: int
) -> None:
    """A swap of a whole folder, as Kubernetes makes it: the names stay, and lead elsewhere."""
    authority = trustme.CA()
    folders = []
    for number in range(2):
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        made = authority.issue_cert("localhost", common_name=f"number {number}")
        made.private_key_pem.write_to_path(folder / "key.pem")
        made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        folders.append(folder)
    (tmp_path / "..data").symlink_to(folders[0])
    for name in ("key.pem", "cert.pem"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    port = free_port()
    certificates = [{"cert": "cert.pem", "key": "key.pem"}]
    listener = {"name": "a", "bind": f"127.0.0.1:{port}", "tls": {"certificates": certificates}}
    process = await watching(lab, workers=workers, listeners=[listener])

    async def served() -> bytes | None:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        _, writer = await asyncio.open_connection("localhost", port, ssl=context)
        try:
            found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(True)
            return found
        finally:
            writer.close()

    before = await served()
    (tmp_path / "..data_tmp").symlink_to(folders[1])
    os.rename(tmp_path / "..data_tmp", tmp_path / "..data")
    await process.says("nothing has changed but what files hold that it names")
    assert await served() != before
    # What is gone for good is said, and costs nobody anything.
    shutil.rmtree(folders[1])
    await process.says("not reloaded, the old configuration holds")
    async with asyncio.timeout(PATIENCE_S):
        assert await served() != before


async def test_without_it_nobody_looks(lab: Lab) -> None:
    lab.configure((await lab.stage.node()).port, state_file=False)
    process = await lab.serving()
    lab.file.write_text(lab.file.read_text() + "limits: {body: 1KiB}\n")
    await asyncio.sleep(4 * EVERY_S)  # the time in which it would be seen
    assert "reload" not in process.text
