"""Makes a server of TensorFlow reachable at the address that was configured, and nowhere else.

`tf.train.Server` listens on every address of the machine: "0.0.0.0" is written in its C++, whatever the configuration
says. Here a socket filter has the kernel drop what is sent to another address, before the listening socket sees it. It
needs no privilege. To those who try, the port seems to be closed by a firewall.
"""

import contextlib
import ctypes
import ipaddress
import os
import socket
import struct
import sys

from bn_graph.cluster.tf_config import Task
from bn_graph.errors import InputError

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# Instructions of classic BPF, https://docs.kernel.org/networking/filter.html
_LOAD_WORD, _LOAD_BYTE, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x30, 0x54, 0x15, 0x06
_IP_HEADER = 2**32 - 0x100000  # SKF_NET_OFF: offsets count from the IP header, not from TCP's
_DESTINATION = {4: 16, 6: 24}  # offset in the IP header


def local_addresses(task: Task) -> list:
    """The addresses of the host of `task`, as `ipaddress` has them, where its port can be opened on this machine.

    Raises `InputError` where the host is unknown, is not this machine, or the port is in use.
    """
    try:
        address_infos = socket.getaddrinfo(task.host, task.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InputError(f"TF_CONFIG: {task}: unknown host: {getattr(error, 'strerror', None) or error}") from None
    addresses = []
    for family, kind, _, _, socket_address in address_infos:
        with socket.socket(family, kind) as trial:
            try:
                trial.bind((socket_address[0], 0, *socket_address[2:]))
            except OSError:
                continue  # not of this machine; or a name with two addresses, one of which this system does not have
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what an earlier server left is no obstacle
            try:
                trial.bind(socket_address)
            except OSError as error:
                raise InputError(f"TF_CONFIG: {task}: the port cannot be opened: {error.strerror}") from None
        addresses.append(ipaddress.ip_address(socket_address[0].partition("%")[0]))
    if not addresses:
        raise InputError(f"TF_CONFIG: {task}: this task is this process, and the address is not one of this machine")
    return addresses


def restrict_to(port: int, addresses: list) -> None:
    """Lets the server that listens on `port` in this process be reached at `addresses` only.

    Call it when the server is made and not yet started. Who has connected to another address by then is cut off.

    addresses: as `local_addresses` returns them.

    Raises `InputError` where the system cannot do it.
    """
    if any(address.is_unspecified for address in addresses):
        return  # 0.0.0.0 names every address
    if sys.platform != "linux":
        raise InputError(
            "TF_CONFIG: TensorFlow would listen on every address of this machine, and only on Linux can it be kept"
            " from that; if that is meant, name 0.0.0.0"
        )
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _filter_program(addresses))
    buffer = ctypes.create_string_buffer(program)
    argument = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    for server in _sockets(port):
        if server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            server.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, argument)
            server.setblocking(False)  # it does not block; Python would all the same wait in accept
            with contextlib.suppress(BlockingIOError):
                while True:
                    server.accept()[0].close()
    for connected in _sockets(port):
        local = ipaddress.ip_address(connected.getsockname()[0].partition("%")[0])
        local = getattr(local, "ipv4_mapped", None) or local
        if not local.is_unspecified and local not in addresses:
            connected.shutdown(socket.SHUT_RDWR)


def _filter_program(addresses):
    """A program of classic BPF, which accepts the packets whose destination is one of `addresses`.

    It returns how many bytes of a packet are accepted: all, or 0.
    """
    program = []
    for address in addresses:
        words = struct.unpack(f"!{len(address.packed) // 4}I", address.packed)
        offset = _IP_HEADER + _DESTINATION[address.version]
        test = [(_LOAD_BYTE, 0, 0, _IP_HEADER), (_AND, 0, 0, 0xF0), (_JUMP_IF_EQUAL, 0, None, address.version << 4)]
        for place, word in enumerate(words):
            test += [(_LOAD_WORD, 0, 0, offset + 4 * place), (_JUMP_IF_EQUAL, 0, None, word)]
        test.append((_RETURN, 0, 0, 2**32 - 1))
        # Where something differs, jump to the test of the next address.
        program += [
            (code, yes, len(test) - at - 1 if no is None else no, value)
            for at, (code, yes, no, value) in enumerate(test)
        ]
    return [*program, (_RETURN, 0, 0, 0)]


def _sockets(port):
    """The TCP sockets of this process with the local port. Each is a duplicate, which is closed before the next one."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            duplicate = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # closed since, or not a kind of socket that Python knows
            continue
        with duplicate:
            if duplicate.family in (socket.AF_INET, socket.AF_INET6) and duplicate.getsockname()[1] == port:
                yield duplicate
