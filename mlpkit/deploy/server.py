"""The server: paths, answers, and the life of the process.

Starlette and uvicorn, and not FastAPI: what FastAPI adds are handlers typed in the code, but the columns come
from a checkpoint, and its pages load their scripts from the web.
"""

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mlpkit.analysis.blocks import BLOCK
from mlpkit.config.problems import plural
from mlpkit.deploy.batching import Batcher
from mlpkit.deploy.connection import Connection
from mlpkit.deploy.guard import Guard
from mlpkit.deploy.limits import IDLE_SECONDS, MOST_BYTES, MOST_BYTES_HELD, READING_SECONDS, STOPPING_SECONDS
from mlpkit.deploy.refusal import Refusal
from mlpkit.deploy.serve_answers import as_csv, as_json, error_answer, json_answer, page_answer
from mlpkit.deploy.serve_metrics import Metrics, resident_bytes
from mlpkit.deploy.serve_model import Source
from mlpkit.deploy.serve_pages import api_page, form_page
from mlpkit.deploy.serve_rows import NAME, SMALL, read_at_once, read_options, read_rows
from mlpkit.deploy.serve_schema import openapi, schema_of
from mlpkit.errors import MlpkitError, reason_of

# How long a thread may let the others wait. Python's 0.005 would be most of a request's time.
SWITCH_SECONDS = 0.0005
LOOK_SECONDS = 0.05  # between looks for a second signal

KINDS = (
    "json",
    "csv",
    "text/plain",
    "image/",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
)

Handler = Callable[[Request], Awaitable[Response]]


class Server:
    """Answers requests with the predictions of a model."""

    def __init__(self, source: Source, guard: Guard, note: Callable[[str], None]) -> None:
        """Take the model, and the rule by which requests are let in.

        Args:
            source: of the model.
            guard: lets requests in.
            note: is called with each line for the user.
        """
        self._source, self._guard, self._note = source, guard, note
        self._batcher, self._metrics = Batcher(), Metrics()
        self._threads = ThreadPoolExecutor(1, "large"), ThreadPoolExecutor(1, "small")
        self._held = 0  # bytes of all bodies
        self._open = 0  # requests to predict
        self._cut = 0  # requests that the end of the server has cut short
        self._ready: Callable[[], None] = lambda: None
        gets: dict[str, Callable[[Request], Response]] = {
            "/": lambda _: page_answer(form_page(source.model)),
            "/docs": lambda _: page_answer(api_page(source.model)),
            "/schema": lambda _: json_answer(
                schema_of(source.model.predictor.input_schema), kind="schema+json"
            ),
            "/openapi.json": lambda _: json_answer(openapi(source.model)),
            "/health": lambda _: json_answer({"status": "ok", "epoch": source.model.epoch}),
            "/metrics": lambda _: PlainTextResponse(self._metrics.text(self._now())),
        }
        routes = [Route(path, self._answering(_async(get)), methods=["GET"]) for path, get in gets.items()]
        routes.append(Route("/predict", self._answering(self._predict), methods=["POST"]))
        self.app = Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={HTTPException: self._refuse_path, Exception: self._fail},
        )

    def run(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        """Answer until SIGTERM or Ctrl-C; then finish the requests that are there, unless asked once more.

        Args:
            listener: where clients connect.
            ready: is called when requests are answered and signals are heard.
        """
        self._ready = ready
        config = uvicorn.Config(
            self.app,
            http=Connection,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=STOPPING_SECONDS,
            h11_max_incomplete_event_size=64 << 10,
        )
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            _Uvicorn(config).run([listener])
        finally:
            sys.setswitchinterval(before)
        if self._cut:
            self._note(f"warning: {plural(self._cut, 'request')} cut short")

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> Any:
        tasks = [asyncio.create_task(self._batcher.run()), asyncio.create_task(self._source.follow())]
        self._ready()
        yield
        for task in tasks:
            task.cancel()

    def _answering(self, handler: Handler) -> Handler:
        """Return the handler with the guard before it; an error that a user can act on becomes a line."""

        async def answer(request: Request) -> Response:
            try:
                self._guard.check(request)
                response = await handler(request)
            except Refusal as error:
                response = error_answer(error.status, error.line)
            except MlpkitError as error:
                response = error_answer(400, " ".join(str(error).splitlines()))
            except asyncio.CancelledError:  # the server ends
                self._cut += 1
                response = error_answer(503, "the server was stopped; ask again when it is back")
            self._metrics.add_request(request.scope["path"], response.status_code)
            return response

        return answer

    async def _predict(self, request: Request) -> Response:
        options = read_options(request.query_params)
        if kind := _unknown_kind(request):
            raise Refusal(415, f"content-type {kind}: send rows as application/json or text/csv")
        model = self._source.model
        content = bytearray()
        self._open += 1
        try:
            start = await self._receive(request, content)
            body = bytes(content)
            rows = read_at_once(body, model, options)
            if rows is None:
                reader = self._threads[len(body) <= SMALL]
                loop = asyncio.get_running_loop()
                rows = await loop.run_in_executor(reader, read_rows, body, model, options)
            predictions, encoded = await self._batcher.predict(model, rows)
        finally:
            self._open -= 1
            self._held -= len(content)
        if (bad := predictions.first_not_finite()) is not None:
            raise Refusal(
                400,
                f"{NAME}: row {bad + 1}: the prediction is not a finite number; correct or remove the row",
            )
        self._metrics.add_prediction(len(encoded), encoded.issues, time.perf_counter() - start)
        answer = as_csv if "text/csv" in request.headers.get("accept", "") else as_json
        if len(encoded) <= BLOCK and model.novelty is None:
            return answer(predictions, encoded, model)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads[0], answer, predictions, encoded, model)

    async def _receive(self, request: Request, content: bytearray) -> float:
        """Read the body into `content`; return the time when it was there.

        Raises:
            Refusal: it is too large, too slow, or there are too many others.
        """
        try:
            async with asyncio.timeout(READING_SECONDS):
                async for part in request.stream():
                    if len(content) + len(part) > MOST_BYTES:
                        raise Refusal(
                            413, f"{NAME}: larger than {MOST_BYTES >> 20} MB; send the rows in parts"
                        )
                    if self._held + len(part) > MOST_BYTES_HELD:
                        raise Refusal(503, "busy: too many large requests; try again in a second")
                    content += part
                    self._held += len(part)
        except TimeoutError:
            raise Refusal(
                408, f"{NAME}: its body did not come within {READING_SECONDS:.0f} seconds; send it anew"
            ) from None
        except ClientDisconnect:
            raise Refusal(400, f"{NAME}: its body is not whole; send it anew") from None
        return time.perf_counter()

    def _now(self) -> dict[str, float]:
        """Return the figures that others count."""
        now = {
            "mlpkit_open_requests": self._open,
            "mlpkit_waiting_requests": self._batcher.waiting,
            "mlpkit_forward_passes_total": self._batcher.passes,
            "mlpkit_forward_rows_total": self._batcher.rows,
            "mlpkit_model_epoch": self._source.model.epoch,
            "mlpkit_model_reloads_total": self._source.reloads,
            "process_resident_memory_bytes": resident_bytes(),
        }
        return {name: value for name, value in now.items() if value is not None}

    async def _refuse_path(self, request: Request, error: Exception) -> Response:
        """Answer a path or a method that there is not."""
        assert isinstance(error, HTTPException)
        self._metrics.add_request("other", error.status_code)
        way = "a path is one of those of GET /docs"
        if error.status_code == 405:
            way = f"this path takes {(error.headers or {}).get('Allow', 'another method')}"
        return error_answer(error.status_code, f"{error.detail}: {way}", error.headers)

    async def _fail(self, request: Request, error: Exception) -> Response:
        """Answer when something else has gone wrong, which the user of the server must see."""
        self._metrics.add_request(request.scope["path"], 500)
        self._note(f"error: {request.method} {request.scope['path']}: {reason_of(error)}")
        return error_answer(500, "the server failed; its stderr says how")


class _Uvicorn(uvicorn.Server):
    """Ends without an error when it is asked to; uvicorn would raise the signal once more."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Let requests end; at a second signal, also a second SIGTERM, cut them short."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests end, but stop to wait at a second signal; from Python 3.12 on, uvicorn would not."""
        ending = asyncio.create_task(super().shutdown(sockets))
        while not (await asyncio.wait([ending], timeout=LOOK_SECONDS))[0]:
            if self.force_exit:
                ending.cancel()
        if not ending.cancelled():
            ending.result()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _async(get: Callable[[Request], Response]) -> Handler:
    async def handler(request: Request) -> Response:
        return get(request)

    return handler


def _unknown_kind(request: Request) -> str:
    """Return the content type if it is none that rows may have; they are told apart by their first bytes."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return "" if not kind or any(known in kind for known in KINDS) else kind[:60]
