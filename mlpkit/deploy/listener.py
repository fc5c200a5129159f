"""The socket on which the server listens."""

import errno
import socket

from mlpkit.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a host and port; port 0 is any free one.

    Raises:
        ConfigError: the port is in use, or the host is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise ConfigError(
            f"--host={host}: no such host; give an address of this machine, as 127.0.0.1"
        ) from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except PermissionError:
        listener.close()
        raise ConfigError(f"--port={port}: only the system may use it; choose one from 1024 on") from None
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"--port={port}: in use by another program; choose another, or 0 for any"
            ) from None
        raise ConfigError(f"--host={host}: not an address of this machine ({error.strerror})") from None
    listener.listen(2048)  # clients wait from now on, and are answered when the model is there
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the address at which a browser finds it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
