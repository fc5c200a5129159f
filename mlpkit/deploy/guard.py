"""Who may ask: holders of the token or, without one, programs on this machine."""

import base64
import hmac
import ipaddress
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from mlpkit.deploy.refusal import Refusal
from mlpkit.errors import ConfigError

SHORTEST = 8  # characters of a token

OPEN = ("/health",)  # to everybody, since what watches over a server mostly has no token


@dataclass(frozen=True)
class Guard:
    """The rule by which requests are let in.

    Attributes:
        token: which each request must have; None: it needs none.
        only_local: whether the host in the address must be this machine. Otherwise a page of the web could
            read the answers, if the name of its host is made to mean 127.0.0.1.
    """

    token: str | None = None
    only_local: bool = False

    def check(self, request: HTTPConnection) -> None:
        """Let a request in.

        Raises:
            Refusal: it may not.
        """
        if self.only_local and not is_loopback(host_of(request.headers.get("host", "localhost"))):
            raise Refusal(
                403,
                "the address names another host; ask 127.0.0.1, or start the server with --token",
            )
        if self.token is None or request.scope["path"] in OPEN:
            return
        if not hmac.compare_digest(_token_of(request).encode(), self.token.encode()):
            raise Refusal(401, "the token is missing or wrong; send the header Authorization: Bearer TOKEN")


def guard_for(host: str, token: str | None, no_auth: bool) -> Guard:
    """Return the rule for a server on a host.

    Raises:
        ConfigError: the host is not this machine alone, and there is neither a token nor --no-auth; or both.
    """
    if token is not None and no_auth:
        raise ConfigError("--no-auth: there is a token (--token or MLPKIT_TOKEN); leave out one of them")
    if token is not None and (
        len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token
    ):
        raise ConfigError(f"--token: must be {SHORTEST} or more ASCII characters without spaces")
    local = is_loopback(host)
    if not local and token is None and not no_auth:
        raise ConfigError(
            f"--host={host}: others could use the model; give --token TEXT (or set MLPKIT_TOKEN), "
            "or --no-auth if they may"
        )
    return Guard(token, only_local=local and token is None and not no_auth)


def host_of(address: str) -> str:
    """Return the host of `host:port`."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.rpartition(":")[0] if address.count(":") == 1 else address


def is_loopback(host: str) -> bool:
    """Whether a host is a name or an address that only this machine reaches."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token_of(request: HTTPConnection) -> str:
    """Return the token of a request: a bearer's, or the password that a browser has asked for."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return value.strip() if scheme.lower() == "bearer" else ""
