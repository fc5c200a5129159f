"""Connections that end: a client that is slow, or one too many, is cut."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from mlpkit.deploy.limits import ANSWER_SECONDS, MOST_CONNECTIONS, READING_SECONDS
from mlpkit.system.plain_json import to_json

PARTING_SECONDS = 1.0  # that a client has to take the last line

REASONS = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}


class Connection(H11Protocol):
    """uvicorn's protocol with a time limit for each request. Uvicorn itself limits idle connections only."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count the time, or refuse the connection."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._part(503, f"busy: {MOST_CONNECTIONS} connections are open; close some, or try again later")
        else:
            self._start_limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        self._stop_limit()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Begin to count the time of the next request with its first byte."""
        if self._limit is None:
            self._start_limit()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Stop counting; uvicorn closes a connection that stays idle."""
        self._stop_limit()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._part(400, "not a request of HTTP/1.1; send POST /predict with rows as JSON or csv")

    def _start_limit(self) -> None:
        self._limit = self.loop.call_later(READING_SECONDS, self._check_begun)

    def _stop_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _check_begun(self) -> None:
        """End the connection if no request has come; else give the answer its time."""
        if self.cycle is None:
            self._part(
                408, f"slow: a request must be there within {READING_SECONDS:.0f} seconds; send it anew"
            )
        else:
            more = 0 if self.cycle.response_complete else ANSWER_SECONDS - READING_SECONDS
            self._limit = self.loop.call_later(more, self.transport.abort)

    def _part(self, status: int, line: str) -> None:
        """Send a last line and close the connection, whether the client takes the line or not."""
        if self.transport.is_closing():
            return
        self._stop_limit()
        self.transport.write(answer(status, line))
        self.transport.close()
        self._limit = self.loop.call_later(PARTING_SECONDS, self.transport.abort)


def answer(status: int, line: str) -> bytes:
    """Return a whole response with an error."""
    body = to_json({"error": line}).encode()
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
