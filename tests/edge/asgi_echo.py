"""A small ASGI application for a real uvicorn: it tells what it was asked, in chunks where the path says so."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]


async def echo(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """`/stream`: three chunks and no length. Anything else: method, path, headers and body as JSON, and a cookie."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one,", b"two,", b"three"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    query = scope["query_string"].decode()
    told = {"method": scope["method"], "path": scope["path"], "query": query, "headers": headers, "body": body.decode()}
    text = json.dumps(told).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(text)).encode()), (b"set-cookie", b"session=1; Path=/")],
        }
    )
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text})
