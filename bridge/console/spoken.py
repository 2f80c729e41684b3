"""Fixes for programs, which reach neither Redis nor a shell: a command becomes the request that does the same."""

import re
from collections.abc import Callable, Mapping
from typing import Any

_NAME = r"(?P<name>(?!-(?:\s|$))[^\s;,'\"|]++)"
_REQUESTS: tuple[tuple[str, str], ...] = (
    (r"ZADD bridge:tasks NX 0 " + _NAME, r"PUT /api/tasks/{name}"),
    (r"bridge task add " + _NAME, r"PUT /api/tasks/{name}"),
    (r"bridge task ls", r"GET /api/tasks"),
    (r"bridge task show " + _NAME, r"GET /api/tasks/{name}"),
    (r"bridge task poll " + _NAME, r"POST /api/tasks/{name}"),
    (r"bridge task rm " + _NAME, r"DELETE /api/tasks/{name}"),
    (r"bridge endpoint ls", r"GET /api/endpoints"),
    (r"bridge endpoint show " + _NAME, r"GET /api/endpoints/{name}"),
    (r"bridge endpoint (?P<verb>disable|enable|recover|test) " + _NAME, r"POST /api/endpoints/{name}/{verb}"),
    (r"bridge endpoint add " + _NAME + r" URL( --replace)?", r"PUT /api/endpoints/{name}"),
    (r"bridge endpoint rm " + _NAME, r"DELETE /api/endpoints/{name}"),
    (r"bridge delivery ls( -o ids)?", r"GET /api/deliveries"),
    (r"bridge delivery show (?P<event>[^\s;,'\"|]++) " + _NAME, r"GET /api/deliveries/{event}/{name}"),
    (r"bridge delivery retry --force " + _NAME, r"POST /api/deliveries/{name}?force=true"),
    (r"bridge delivery retry " + _NAME, r"POST /api/deliveries/{name}"),
    (r"bridge event ls", r"GET /api/events"),
    (r"bridge rejected ls", r"GET /api/rejected"),
)
"""A command → the request that does the same. What has none stays: an operator types it."""


def _request(template: str) -> Callable[[re.Match[str]], str]:
    return lambda match: template.format(**match.groupdict())


_MORE = r"(?![\w'\"-])(?! +(?:-|\|))"
"""Neither a longer word nor one in quotes, and without options or a pipe: to those a request has other forms."""
_SAID = [(re.compile(rf"(?<![\w./-]){command}{_MORE}"), _request(template)) for command, template in _REQUESTS]


def in_requests(row: Mapping[str, Any]) -> dict[str, Any]:
    """What came of a write, with its fix and its warnings in requests."""
    said = {"fix": spoken(row["fix"])} if "fix" in row else {}
    return dict(row) | said | ({"warnings": list(map(spoken, row["warnings"]))} if "warnings" in row else {})


def spoken(fix: str) -> str:
    """A fix in requests, as far as there are any."""
    for command, request in _SAID:
        fix = command.sub(request, fix)
    return fix
