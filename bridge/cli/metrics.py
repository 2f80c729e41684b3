"""`bridge metrics`: what Prometheus reads, once or served."""

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.output import say
from bridge.cli.session import settings_of, with_store
from bridge.errors import BridgeError, InvalidInput
from bridge.keyset import MEDIA_TYPE, NO_KEY, PUBLISHED_AT, document

if TYPE_CHECKING:
    from bridge.sandbox.message import Request, Response
    from bridge.settings import Settings
    from bridge.store import Store

ADDRESS = "127.0.0.1:9464"
SCRAPE_SECONDS = 8.0
"""A scrape that takes longer says that Redis is away: Prometheus itself waits ten."""


@click.command()
@click.option("--serve", metavar="[HOST:PORT]", is_flag=False, flag_value=ADDRESS,
              help=f"Stay, and serve /metrics, /livez, /readyz and the public keys; {ADDRESS} by default.")  # fmt: skip
@click.pass_context
def metrics(ctx: click.Context, serve: str | None) -> None:
    """Print the figures of the whole bridge, as Prometheus reads them.

    One exporter is enough, wherever it runs: the counters are in Redis. Whoever reaches the port sees the names of
    endpoints, so it is of this machine alone unless told otherwise. /livez says that the exporter is there, /readyz
    what `bridge health` says. /.well-known/jwks.json has the public keys of v1a, for a proxy in front to pass on.

    \b
    Examples:
      bridge metrics
      bridge metrics --serve
      bridge metrics --serve 0.0.0.0:9464
    """
    if serve is None:
        sys.stdout.write(with_store(ctx, _once, look=True).decode())
        return
    host, port = _address(serve)
    from bridge.cli import stage

    sys.exit(stage.run(_serve(settings_of(ctx), host, port), interrupted=0))


async def _once(store: "Store", _: "Settings") -> bytes:
    return await scrape(store)


async def scrape(store: "Store") -> bytes:
    """The figures as text. Redis away is a figure, too."""
    from bridge.metrics import exposition
    from bridge.store.reading.figures import Figures, figures

    began = time.monotonic()
    try:
        async with asyncio.timeout(SCRAPE_SECONDS):
            found = await figures(store)
    except TimeoutError:
        found = Figures(redis_up=False)
    return exposition(found, seconds=time.monotonic() - began)


def _address(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, `:PORT` or `PORT`."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise InvalidInput(f"“{text}” is no address to serve on", fix=f"write HOST:PORT, for example {ADDRESS}")
    return host.strip("[]") or "127.0.0.1", int(port)


async def _serve(settings: "Settings", host: str, port: int) -> int:
    from bridge.cli import stage
    from bridge.sandbox.http import HttpServer
    from bridge.store import Store

    async with Store.look(settings.redis_url.get_secret_value(), prefix=settings.prefix) as store:
        server = HttpServer(Exporter(store, settings).answer)
        with stage.port_errors(port):
            await server.start(port, host)
        try:
            say(f"Metrics at {server.url}/metrics, beside /livez and /readyz (Ctrl-C ends)")
            await asyncio.Event().wait()
        finally:
            await server.stop()
    return 0


class Exporter:
    """Answers scrapes, one reading at a time: who asks meanwhile waits for the next."""

    def __init__(self, store: "Store", settings: "Settings") -> None:
        self._store, self._settings = store, settings
        self._turn = asyncio.Lock()

    async def answer(self, request: "Request") -> "Response":
        """One request."""
        if request.method not in {"GET", "HEAD"}:
            return _said(405, "only GET is answered here")
        if request.path == "/metrics":
            from bridge.metrics import CONTENT_TYPE

            async with self._turn:
                return _said(200, (await scrape(self._store)).decode(), CONTENT_TYPE)
        if request.path == PUBLISHED_AT:
            return self._keys()
        if request.path == "/livez":
            return _said(200, "alive")
        if request.path == "/readyz":
            return await self._ready()
        return _said(404, f"here are /metrics, /livez, /readyz and {PUBLISHED_AT}")

    def _keys(self) -> "Response":
        keys = self._settings.signing_keys
        return _said(200, json.dumps(document(keys)), MEDIA_TYPE) if keys else _said(404, NO_KEY)

    async def _ready(self) -> "Response":
        from bridge.cli.operate import health_of
        from bridge.store.reading import reading_errors

        try:
            with reading_errors():
                async with asyncio.timeout(SCRAPE_SECONDS):
                    row = await health_of(self._store, self._settings)
        except TimeoutError:
            return _said(503, "unhealthy: Redis does not answer")
        except BridgeError as error:
            return _said(503, f"unhealthy: {error}")
        return _said(200 if row["healthy"] else 503, row["line"])


def _said(status: int, text: str, kind: str = "text/plain; charset=utf-8") -> "Response":
    from bridge.sandbox.message import Response

    headers = (("content-type", kind), ("cache-control", "no-store"), ("x-content-type-options", "nosniff"))
    return Response(status, headers, text.encode() if text.endswith("\n") else f"{text}\n".encode())
