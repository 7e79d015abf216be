"""A trial says whether ticket keys can be set, whatever happens to the process that tries.

Each one runs in a process of its own: the trial forks, and a fork wants one thread.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

TRY = """
import logging
import ssl, _ssl, os, time
from lbproxy.proxy.transport import tickets
from lbproxy.runtime.supervisor import ticket_trial

logging.basicConfig(format="%%(message)s")
ticket_trial.LIMIT_S = 1
%s
print(ticket_trial.ticket_keys_work(), len(os.listdir("/proc/self/task")))
"""


def tried(harm: str) -> tuple[str, str]:
    """Return what a trial finds, and what it says. Args: harm: is done before."""
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", TRY % harm],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip(), ran.stderr


def test_a_process_with_threads_does_not_try() -> None:
    harm = """
import threading
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
ticket_trial.fork = None
"""
    assert tried(harm) == ("False 2", "")


def test_ticket_keys_can_be_set_here_unless_it_says_why_not() -> None:
    found, said = tried("")
    assert (found, said) == ("True 1", "") or (found == "False 1" and "cannot be told" in said)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        ("tickets._pointer = lambda context: 16", "it is built in another way (a trial ended with"),
        ("tickets._pointer = lambda context: time.sleep(60)", "(a trial ended with -14)"),
        ("tickets._GET_KEYS = 1", "its OpenSSL takes none"),
        ("tickets._SET_KEYS = tickets._GET_KEYS", "sessions do not resume by them"),
        ("ticket_trial.set_keys = lambda context, keys: None", "sessions do not resume by them"),
        (
            "ticket_trial.set_keys = lambda context, keys: tickets.set_keys(context, bytes(80))",
            "sessions do not resume by them",
        ),
        ("os.memfd_create = lambda name: os.open('/nowhere', 0)", "it cannot be tried here"),
        ("del _ssl.__file__", "its OpenSSL is built into the program"),
        ("_ssl.__file__ = '/nowhere'", "its OpenSSL takes none"),
    ],
)
def test_what_goes_wrong_is_said_once_and_harms_nobody(harm: str, why: str) -> None:
    found, said = tried(harm)
    assert found == "False 1"
    (line,) = said.splitlines()
    assert why in line
    assert "cannot be told the keys of session tickets" in line
