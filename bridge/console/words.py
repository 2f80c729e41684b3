"""How pages say things: times, commands, and text from outside with nothing invisible in it. Jinja escapes the rest."""

import json
from collections.abc import Mapping
from shlex import quote
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from bridge.cli.output import ago, plain, safe, safe_lines, soon, span
from bridge.console.drawing import sparkline, timeline
from bridge.formats import rfc3339
from bridge.waiting import told
from bridge.wording import with_note

UNSHOWN = "whatever signs it: a signature is not kept, and would be too old"


def environment() -> Environment:
    """Templates, every value escaped unless it is a picture of ours."""
    made = Environment(
        loader=PackageLoader("bridge.console"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: "" if value is None else value,
    )
    filters: dict[str, Any] = {
        "safe_text": safe,
        "with_note": with_note,
        "safe_lines": lambda text: safe_lines(str(text)),
        "ago": ago,
        "soon": soon,
        "moment": lambda ms: rfc3339(ms) if ms else "—",
        "span": lambda ms: span(ms / 1000),
        "pretty": pretty,
        "shell": quote,
    }
    made.filters |= filters
    made.globals |= {"sparkline": sparkline, "timeline": timeline, "hold_in_words": _held}
    return made


def pretty(value: Any) -> str:
    """JSON as people read it."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def pretty_body(body: bytes | None) -> str:
    """An event's bytes as people read them; empty when they are kept no longer."""
    if body is None:
        return ""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body.decode(errors="replace")


def as_curl(attempt: Mapping[str, Any], body: bytes | None) -> str:
    """A command that sends the same request again, without what is a secret; empty where the request is not kept."""
    request = attempt.get("request")
    if not request:
        return ""
    headers = {name: value for name, value in request["headers"].items() if value not in (None, "***")}
    hidden = [name for name, value in request["headers"].items() if value == "***"]
    lines = [f"curl -i {quote(request['url'])}"]
    lines += [f"  -H {quote(f'{name}: {safe(value)}')}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"  --data-binary {quote(body.decode(errors='replace'))}")
    note = f"# without {', '.join(map(safe, hidden))}: {UNSHOWN}\n" if hidden else ""
    return note + " \\\n".join(lines)


def _held(delivery: Mapping[str, Any]) -> str:
    hold = delivery["hold"]
    return told(hold, delivery["endpoint"], soon(hold["probe_at"])) if hold else ""
