"""Signals as bytes on a socket."""

from __future__ import annotations

import os
import select
import signal

import pytest

from lbproxy.signals import heard, hold_back, let_come


def test_a_signal_comes_as_its_number() -> None:
    with heard((signal.SIGUSR1,)) as sock:
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        os.kill(os.getpid(), signal.SIGUSR1)
        select.select([sock], [], [], 5.0)
        assert sock.recv(64) == bytes([signal.SIGUSR1])


def test_what_came_and_was_not_read_waits_when_signals_are_held_back() -> None:
    with heard((signal.SIGUSR1,)) as sock:
        os.kill(os.getpid(), signal.SIGUSR1)
        select.select([sock], [], [], 5.0)
        before = hold_back()
        try:
            assert signal.SIGUSR1 in signal.sigpending()
            with pytest.raises(BlockingIOError):
                sock.recv(1)
        finally:
            let_come(before)
        select.select([sock], [], [], 5.0)
        assert sock.recv(64) == bytes([signal.SIGUSR1])


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with heard((signal.SIGUSR1,)):
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert signal.getsignal(signal.SIGUSR1) is before
