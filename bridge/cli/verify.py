"""`bridge verify`: whether a request that somebody received is ours, and if not, why."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.defining import known_from, public_key_option
from bridge.cli.output import chosen, emit_one, output_without_ids, safe, say
from bridge.errors import InvalidInput
from bridge.orders.moments import moment_from, seconds_from

if TYPE_CHECKING:
    from bridge.capture import Capture
    from bridge.diagnosis import Diagnosis

FILE_BYTES = 1_048_576
"""The longest file that is read; a body has at most 64 KiB."""
SHOWN = 120
NOT_OURS = 1
UNIX_DIGITS = 10
"""As many digits as these are a moment in Unix seconds; fewer are a time ago."""


@click.command()
@click.argument("file", metavar="BODYFILE|-")
@click.option("--headers", metavar="FILE", help="The headers: a line `name: value` for each, or JSON. Without it "
              "BODYFILE holds the whole request.")  # fmt: skip
@click.option("--secret-file", metavar="F", help="File with the secret, or several, one a line.  [default: "
              "BRIDGE_DELIVERY_DEFAULT_SECRET]")  # fmt: skip
@public_key_option
@click.option("--at", metavar="WHEN", help="When it came: 2h ago, 2026-11-29T10:00:00Z or Unix seconds.  "
              "[default: now]")  # fmt: skip
@click.option("--tolerance", metavar="TIME", default="5m", show_default=True,
              help="How far that may be from its timestamp, either way.")  # fmt: skip
@output_without_ids
@click.pass_context
def verify(ctx: click.Context, /, file: str, **given: Any) -> int:
    """Say whether a request that you received is ours; if not, why, and what to do. Exit code 1 then.

    By webhook-signature, or by TL-Signature as TwelveLabs' own webhooks have it. It needs the raw bytes of the body, as
    they came. A file, or -, may hold the whole request instead, from POST on.

    \b
    Examples:
      bridge verify --secret-file billing.whsec --headers headers.txt body.json
      bridge verify --secret-file billing.whsec --at 1795953515 request.txt
      bridge verify --public-key whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4= request.txt
      nc -l 8787 | bridge verify --secret-file billing.whsec -
    """
    from bridge.diagnosis import diagnose

    capture = _capture(file, given)
    known = known_from(given["secret_file"], given["public_keys"], ctx)
    if not known:
        raise InvalidInput(
            "there is no secret to verify with",
            fix="--secret-file F, with what `endpoint add` printed, or --public-key whpk_… for v1a",
        )
    found = diagnose(known, capture.headers, capture.body, _at(given["at"]), seconds_from(given["tolerance"]))
    how = chosen(ctx, given["output"], given["as_json"])
    emit_one(_row(capture, found), how, key="verdict")
    if how != "table":
        say(f"{'✗ It is not to be believed' if found.mismatch else '✓ It is ours'}: {safe(found.reason)}.")
    if found.fix and how != "table":
        say(f"  → {found.fix}")
    return NOT_OURS if found.mismatch else 0


def _capture(file: str, given: dict[str, Any]) -> "Capture":
    from bridge.capture import Capture, headers_in, request_in

    if [file, given["headers"], given["secret_file"]].count("-") > 1:
        raise click.UsageError("Only one of BODYFILE, --headers and --secret-file can be on standard input.")
    raw = _read(file)
    if given["headers"] is None:
        return request_in(raw)
    return Capture(headers_in(_read(given["headers"])), raw)


def _read(file: str) -> bytes:
    where = "standard input" if file == "-" else safe(file)
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(FILE_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                raw = stream.read(FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise InvalidInput(f"{where} cannot be read: {reason}", fix="name a file, or -") from None
    if len(raw) > FILE_BYTES:
        raise InvalidInput(f"{where} is longer than {FILE_BYTES} bytes", fix="a body of ours has at most 65,536")
    return raw


def _at(text: str | None) -> float:
    if text is not None and text.isascii() and text.isdigit() and len(text) >= UNIX_DIGITS:
        return float(text[:12])
    if text is None:
        return time.time()
    return moment_from(text.removesuffix(" ago").rstrip(), int(time.time() * 1000)) / 1000


def _row(capture: "Capture", found: "Diagnosis") -> dict[str, Any]:
    """What the request says of itself; unless it is ours, anybody may have written that."""
    headers = {name.lower(): value[:SHOWN] for name, value in capture.headers}
    try:
        body = json.loads(capture.body)
    except (ValueError, RecursionError):
        body = None
    event = body if isinstance(body, dict) else {}
    return {
        "verdict": "ours" if found.mismatch is None else "not ours",
        "reason": found.reason,
        "fix": found.fix,
        "mismatch": found.mismatch,
        "scheme": found.scheme,
        "event_id": headers.get("webhook-id") or str(event.get("id") or "")[:SHOWN] or None,
        "type": headers.get("ce-type") or str(event.get("type") or "")[:SHOWN] or None,
        "attempt": headers.get("bridge-attempt"),
        "signed_at": None if found.signed_at is None else found.signed_at * 1000,
        "bytes": len(capture.body),
    }
