"""Over how many of its sockets a group spreads new connections.

By itself the kernel spreads them over all. A program attached to the group, in the classic BPF that
needs no privilege, can leave out the last ones: they get no new connections, and may be closed when
those that wait there are accepted. It can also look at the core that a connection comes in by.

Source: Linux, socket(7), SO_ATTACH_REUSEPORT_CBPF; Documentation/networking/filter.rst.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
from collections.abc import Sequence

from lbproxy.runtime.sockets import Sockets

_SO_ATTACH_REUSEPORT_CBPF = 51
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K: over so many steps if so, over so many if not
_MODULO = 0x94  # BPF_ALU | BPF_MOD | BPF_K
_RETURN = 0x16  # BPF_RET | BPF_A
_RETURN_NUMBER = 0x06  # BPF_RET | BPF_K
_CORE = 0xFFFFF000 + 36  # SKF_AD_OFF + SKF_AD_CPU: the core that handles the packet
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM: a random number
_PROGRAM = struct.Struct("@HP")


_log = logging.getLogger("lbproxy.process")


def is_shared(sock: socket.socket) -> bool:
    """Return True if a TCP socket is one of a group, be it the only one."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


def spread_over(sockets: Sockets) -> None:
    """Have every group give new connections to the members that it has here, and to no others."""
    for name, members in sockets.listeners.items():
        if members[0].family != socket.AF_UNIX and is_shared(members[0]):
            try:
                spread(members[0], len(members))
            except OSError as error:
                _log.warning(
                    "listener %s: connections that begin now may be lost: %s", name, error.strerror
                )


def spread(member: socket.socket, count: int, cores: Sequence[int] = ()) -> None:
    """Have a group give new connections to its first members only.

    Args: member: any of the group; count: how many of them, in the order in which they joined;
    cores: the core that each is for: it gets the connections that come in by that one. Those of
    other cores may be anybody's. Raises: OSError: the kernel does not let us.
    """
    steps = [(_LOAD_WORD, 0, 0, _CORE)] if cores else []
    for number, core in enumerate(cores):
        steps += [(_JUMP_EQUAL, 0, 1, core), (_RETURN_NUMBER, 0, 0, number)]
    steps += [(_LOAD_WORD, 0, 0, _RANDOM), (_MODULO, 0, 0, count), (_RETURN, 0, 0, 0)]
    code = b"".join(_INSTRUCTION.pack(*step) for step in steps)
    memory = ctypes.create_string_buffer(code, len(code))
    program = _PROGRAM.pack(len(steps), ctypes.addressof(memory))
    member.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)
