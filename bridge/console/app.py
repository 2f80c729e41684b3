"""The application: routes, what each answers, and in which form."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from bridge import __version__
from bridge.cli.delivery_steer import in_order, retried
from bridge.cli.output import as_json, plain, safe
from bridge.console.access import COOKIE, Access, Guarded
from bridge.console.api import Api, openapi
from bridge.console.pages import Asked, Pages, Row, told
from bridge.console.problem import is_programs, problem_of
from bridge.console.words import environment
from bridge.errors import BridgeError, InvalidInput, NotFound, StoreDown
from bridge.keyset import MEDIA_TYPE, NO_KEY, PUBLISHED_AT, document
from bridge.store.reading import reading_errors

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

HERE = Path(__file__).parent
PAGE_SECONDS = 15.0
"""A page that takes longer is given up."""
FORM_BYTES = 256 * 1024
CHOSEN = 500
"""The most deliveries that one request may send again."""
AGAIN = frozenset({"due", "revived"})
"""What the store says of a delivery that is sent again."""
Show = Callable[[Asked], Awaitable[Row]]


class Console:
    """The pages over one store."""

    def __init__(self, store: "Store", settings: "Settings", access: Access) -> None:
        self._store, self._access, self._pages = store, access, Pages(store, settings)
        self._keys = settings.signing_keys
        self._api = Api(store, settings, access, self._pages).application()
        self._templates = environment()

    def application(self) -> Starlette:
        """As a server runs it."""
        pages = self._pages
        shown: tuple[tuple[str, str, Show], ...] = (
            ("/", "overview", pages.overview),
            ("/tasks", "tasks", pages.tasks),
            ("/tasks/{task:path}", "task", pages.task),
            ("/endpoints", "endpoints", pages.endpoints),
            ("/endpoints/{name:path}", "endpoint", pages.endpoint),
            ("/deliveries", "deliveries", pages.deliveries),
            ("/deliveries/{event_id}/{endpoint:path}", "delivery", pages.delivery),
            ("/dead", "dead", pages.dead),
            ("/rejected", "rejected", pages.rejected),
        )
        routes: list[Route | Mount] = [
            Mount("/static", StaticFiles(directory=HERE / "static")),
            Route(PUBLISHED_AT, self._published),
            Mount("/api", self._api),
            Route("/openapi.json", openapi),
            Route("/unlock", self._unlock, methods=["GET", "POST"]),
            Route("/deliveries/replay", self._replay, methods=["POST"]),
            *(Route(path, self._page(name, show)) for path, name, show in shown),
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Guarded, access=self._access)],
            exception_handlers={BridgeError: self._failed, HTTPException: self._failed, Exception: self._failed},
        )

    def _page(self, name: str, show: Show) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            began = time.perf_counter()
            asked = {**request.query_params, **request.path_params}
            if unspeakable := next((key for key, value in asked.items() if not value.isprintable()), None):
                raise InvalidInput(f"{unspeakable} is not a name", fix="write it in printable characters")
            try:
                async with asyncio.timeout(PAGE_SECONDS):
                    with reading_errors():
                        row = await show(asked)
            except TimeoutError:
                raise StoreDown(f"Redis did not answer within {PAGE_SECONDS:g} s", fix="bridge doctor") from None
            return self._answer(request, name, row, took_ms=(time.perf_counter() - began) * 1000)

        return answer

    def _answer(self, request: Request, name: str, row: Row, *, status: int = 200, took_ms: float = 0.0) -> Response:
        headers = {"vary": "accept, hx-request", "server-timing": f"read;dur={took_ms:.1f}"}
        if wants_json(request):
            return Response(as_json(plain(told(row)), indent=2) + "\n", status, headers, "application/json")
        template = self._templates.get_template(f"{name}.html")
        unlocked = self._access.unlocked(request)
        text = template.render(
            row,
            page=name,
            url=url_of,
            query=dict(request.query_params),
            version=__version__,
            writes=self._access.writes,
            unlocked=unlocked,
            csrf=self._access.derived("csrf") if unlocked else "",
            fragment=request.headers.get("hx-request") == "true",
            took_ms=took_ms,
            now_ms=int(time.time() * 1000),
        )
        return HTMLResponse(text, status, headers)

    async def _failed(self, request: Request, error: Exception) -> Response:
        if is_programs(request.url.path):
            return problem_of(error).response()
        status, text, fix = 500, "this was not foreseen", "the console's log says more; `bridge doctor` may"
        if isinstance(error, HTTPException):
            status, text, fix = error.status_code, error.detail, ""
        elif isinstance(error, BridgeError):
            status = 404 if isinstance(error, NotFound) else 400 if isinstance(error, InvalidInput) else 503
            text, fix = str(error), error.fix or ""
        return self._answer(request, "error", {"status": status, "error": safe(text), "fix": safe(fix)}, status=status)

    async def _published(self, request: Request) -> Response:
        """The public keys, for a proxy in front to pass on to receivers."""
        if not self._keys:
            raise HTTPException(404, NO_KEY)
        return Response(as_json(document(self._keys), indent=2) + "\n", media_type=MEDIA_TYPE)

    async def _unlock(self, request: Request) -> Response:
        if not self._access.writes:
            raise HTTPException(404, "this console changes nothing: bridge console --allow-writes")
        if request.method == "GET":
            return self._answer(request, "unlock", {"wrong": False})
        form = await self._form(request)
        if not self._access.knows(form.get("token", [""])[0]):
            return self._answer(request, "unlock", {"wrong": True}, status=403)
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, self._access.derived("cookie"), httponly=True, samesite="strict", secure=secure)
        return answer

    async def _replay(self, request: Request) -> Response:
        if not self._access.may_write(request):
            raise HTTPException(403, "this needs the console's token, and its header: see /unlock")
        form = await self._form(request)
        names = form.get("delivery", [])
        if not 1 <= len(names) <= CHOSEN:
            raise InvalidInput(f"{len(names)} deliveries are chosen", fix=f"choose from 1 to {CHOSEN}")
        force = form.get("force") == ["1"]
        pairs = [_pair_of(name) for name in names]
        with reading_errors():
            words = await in_order(
                self._store, list(dict.fromkeys(pairs)), partial(self._store.outbox.retry, force=force)
            )
        came = [words[pair] for pair in pairs]
        told = [
            {"delivery": name, "result": one.word, "note": retried(*pair, one, "").note}
            for name, pair, one in zip(names, pairs, came, strict=True)
        ]
        done = sum(one.word in AGAIN for one in came)
        note = f"{done} of {len(came)} will be sent again." if done else "Nothing was sent again."
        return self._answer(request, "replayed", {"told": told, "done": done, "note": note})

    async def _form(self, request: Request) -> dict[str, list[str]]:
        """The fields of a form, as browsers and htmx send it, read no further than its bound."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_BYTES:
                raise HTTPException(413, "the form is too long")
        try:
            return parse_qs(body.decode(), max_num_fields=CHOSEN + 10)
        except ValueError:
            raise InvalidInput(f"this is no form of at most {CHOSEN} fields", fix="choose fewer") from None


def _pair_of(name: str) -> tuple[str, str]:
    """Event id and endpoint of a delivery that a form names."""
    event_id, _, endpoint = name.partition("/")
    if not name.isprintable() or not event_id or not endpoint:
        raise InvalidInput(f"“{safe(name)}” names no delivery", fix="write EVENT_ID/ENDPOINT")
    return event_id, endpoint


def wants_json(request: Request) -> bool:
    """Whether who asks prefers JSON to a page."""
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def url_of(*parts: str, **query: object) -> str:
    """A path of ours, whatever is in its parts; empty words of the query are left out."""
    words = {name: str(value) for name, value in query.items() if value not in (None, "")}
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    return f"{path}?{urlencode(words)}" if words else path
