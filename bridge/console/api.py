"""The HTTP API: the operations as routes, who may call them, and their bodies, which are bounded and read strictly."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.cli.output import as_json, plain, safe
from bridge.console.access import Access
from bridge.console.directing import Directing
from bridge.console.openapi import render
from bridge.console.operations import BODY_BYTES, OPERATIONS, Operation
from bridge.console.pages import Asked, Pages, told
from bridge.console.problem import Problem, problem_of
from bridge.console.registering import Done, Fields, Registering
from bridge.console.spoken import in_requests
from bridge.errors import BridgeError, StoreDown
from bridge.hints import NAME_CHARS
from bridge.rejection import Rejection
from bridge.store.reading import reading_errors
from bridge.strict_json import each_once, finite, no_constant

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

BODY_SECONDS = 10.0
"""A body that takes longer to come is given up."""
SECONDS = 15.0
"""So is an operation."""
OBJECT = "send one JSON object, as /openapi.json describes it"
SHOW_IT = "send the header `Authorization: Bearer` with the token of this console (BRIDGE_CONSOLE_TOKEN)"
Verb = Callable[[Asked, Fields | None], Awaitable[Done]]


class Api:
    """The operations over one store."""

    def __init__(self, store: "Store", settings: "Settings", access: Access, pages: Pages) -> None:
        self._access = access
        self._sending_seconds = settings.delivery_deadline_seconds
        writing, directing = Registering(store, settings), Directing(store, settings)
        self._verbs: dict[str, Verb] = {
            "status": _shown(pages.overview),
            "listTasks": _shown(pages.tasks),
            "getTask": _shown(pages.task),
            "putTask": writing.put_task,
            "deleteTask": writing.delete_task,
            "pollTask": writing.poll_task,
            "listEndpoints": _shown(pages.endpoints),
            "getEndpoint": _shown(pages.endpoint),
            "putEndpoint": writing.put_endpoint,
            "deleteEndpoint": writing.delete_endpoint,
            "disableEndpoint": directing.disable,
            "enableEndpoint": directing.enable,
            "recoverEndpoint": directing.recover,
            "testEndpoint": directing.test,
            "rotateEndpoint": directing.rotate,
            "listDeliveries": _shown(pages.deliveries),
            "getDelivery": _shown(pages.delivery),
            "retryDelivery": writing.retry_delivery,
            "replay": directing.replay,
            "listEvents": _shown(pages.events),
            "listRejected": _shown(pages.rejected),
        }

    def application(self) -> Starlette:
        """What is served below /api: every failure of it is a problem document."""
        paths: dict[str, dict[str, Operation]] = {}
        for operation in OPERATIONS:
            paths.setdefault(operation.path, {})[operation.method] = operation
        kinds = (BridgeError, HTTPException, Problem, Rejection, Exception)
        routes = [
            Route(f"{path.removesuffix('}')}:path}}" if path.endswith("}") else path, self._route(verbs),
                  methods=list(verbs))
            for path, verbs in paths.items()
        ]  # fmt: skip
        made = Starlette(routes=routes, exception_handlers=dict.fromkeys(kinds, failed))
        made.router.redirect_slashes = False  # a redirect is no problem document
        return made

    def _route(self, verbs: dict[str, Operation]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            operation = verbs["GET" if request.method == "HEAD" else request.method]
            try:
                return await self._answer(request, operation)
            except (BridgeError, Problem, Rejection) as error:
                return problem_of(error).response(operation.failure)

        return answer

    async def _answer(self, request: Request, operation: Operation) -> Response:
        if operation.writes:
            self._check_token(request)
        _check_query(request, operation)
        asked = {**request.query_params, **request.path_params}
        if unspeakable := next((key for key, value in asked.items() if not value.isprintable()), None):
            raise Problem(400, f"{unspeakable} is not a name", "write it in printable characters")
        fields = await _fields(request, operation) if operation.takes else None
        seconds = SECONDS + (self._sending_seconds if operation.sends else 0)
        try:
            async with asyncio.timeout(seconds):
                with reading_errors():
                    done = await self._verbs[operation.id](asked, fields)
        except TimeoutError:
            raise StoreDown(f"Redis did not answer within {seconds:g} s", fix="bridge doctor") from None
        row = in_requests(done.row) if operation.writes else done.row
        text = as_json(plain(told(row)), indent=2) + "\n"
        return Response(text, done.status, {"vary": "accept"}, "application/json")

    def _check_token(self, request: Request) -> None:
        """Raises Problem for who may not write. A cookie is no proof here: a browser sends it unasked."""
        if not self._access.writes:
            raise Problem(403, "this console changes nothing", "start it with: bridge console --allow-writes")
        if not self._access.bears(request):
            reason = "the token is wrong" if "authorization" in request.headers else "this needs a token"
            raise Problem(401, reason, SHOW_IT, headers=(("www-authenticate", 'Bearer realm="bridge"'),))


def _check_query(request: Request, operation: Operation) -> None:
    """Raises Problem for a parameter that nobody would look at."""
    known = [one.name for one in operation.query]
    if (strange := next((name for name in request.query_params if name not in known), None)) is not None:
        there = f"what there is: {', '.join(known)}" if known else "leave the query out: there is none here"
        raise Problem(400, f"there is no parameter “{safe(strange[:NAME_CHARS])}” here", there)


async def openapi(_: Request) -> Response:
    """The description of all this."""
    return Response(render(), media_type="application/json")


async def failed(_: Request, error: Exception) -> Response:
    """What no operation caused, or foresaw."""
    return problem_of(error).response()


def _shown(show: Callable[[Asked], Awaitable[dict[str, Any]]]) -> Verb:
    """A page's rows as an operation's."""

    async def verb(asked: Asked, _: Fields | None) -> Done:
        return Done(200, await show(asked))

    return verb


async def _fields(request: Request, operation: Operation) -> Fields | None:
    """The body's object; None where there is no body and none is needed."""
    body = await _body(request)
    if not body and not operation.needs_body:
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "the body is not said to be JSON", "send the header `Content-Type: application/json`")
    try:
        fields = json.loads(body, parse_constant=no_constant, parse_float=finite, object_pairs_hook=each_once(""))
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not JSON, or nested too deeply", OBJECT) from None
    if not isinstance(fields, dict):
        raise Problem(400, "the body is no JSON object", OBJECT)
    return fields


async def _body(request: Request) -> bytes:
    """Read no further than its bound, and no longer than its time."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES:
                    raise Problem(413, f"the body is longer than {BODY_BYTES} bytes", "shorten its lists")
    except TimeoutError:
        raise Problem(408, f"the body did not come within {BODY_SECONDS:g} s", "send it again, in one piece") from None
    except ClientDisconnect:
        raise Problem(400, "the body was cut off", "send it again") from None
    return bytes(body)
