"""`bridge endpoint check`: the classifier of registration and sending, asked directly. Needs no Redis and no key."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rich_click as click

from bridge.cli.output import Columns, chosen, emit, field, output_option
from bridge.cli.session import settings_of
from bridge.errors import InvalidInput
from bridge.guard import Policy, Refused, Verdict

COLUMNS: Columns = (("verdict", field("verdict")), ("reason", field("reason")), ("url", field("url")))


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL…|-")
@click.option("--resolve", is_flag=True, help="Judge the addresses of the name too, as the system resolves it.")
@click.option("--dns", type=click.Path(exists=True, dir_okay=False), help='Scripted answers: {"host": ["ip", …]}.')
@output_option
@click.pass_context
def check(
    ctx: click.Context, urls: tuple[str, ...], resolve: bool, dns: str | None, output: str | None, as_json: bool
) -> int:
    """Judge callback URLs as registration and sending do. Exit code 1 if one is blocked.

    From standard input every line is a URL, exactly as it stands.

    \b
    Examples:
      bridge endpoint check https://example.com/hook --resolve
      bridge endpoint check - --dns answers.json -o jsonl < urls.txt
    """
    if resolve and dns:
        raise InvalidInput("--resolve and --dns are two sources of addresses", fix="choose one")
    settings = settings_of(ctx)
    policy = Policy(allow_networks=settings.delivery_allow_networks, allow_http=settings.delivery_allow_http)
    answers = _scripted(dns) if dns else None
    rows = [_row(policy, url, resolve=resolve, answers=answers) for url in _given(urls)]
    emit(rows, chosen(ctx, output, as_json), COLUMNS, key="url")
    return int(any(row["verdict"] == "block" for row in rows))


def _given(urls: Sequence[str]) -> Iterator[str]:
    for url in urls:
        if url != "-":
            yield url
            continue
        data = sys.stdin.buffer.read()
        lines = data.split(b"\n")
        for line in lines[:-1] if lines[-1] == b"" else lines:
            yield line.removesuffix(b"\r").decode("utf-8", "surrogateescape")


def _row(policy: Policy, url: str, *, resolve: bool, answers: dict[str, list[str]] | None) -> dict[str, Any]:
    verdict, dials = policy.judge_url(url), list[str]()
    if verdict.allowed and (resolve or answers is not None):
        verdict, dials = _judge_addresses(policy, url, answers)
    shown = url.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    row = {"url": shown, "verdict": "allow" if verdict.allowed else "block", "reason": verdict.reason}
    row["detail"] = verdict.detail
    return row | {"dials": dials} if dials else row


def _judge_addresses(policy: Policy, url: str, answers: dict[str, list[str]] | None) -> tuple[Verdict, list[str]]:
    """One connection: one resolution, and every address of its answer is judged."""
    try:
        target = policy.parse(url)
    except Refused as refusal:
        return Verdict(False, refusal.reason, str(refusal)), []
    if answers is not None:
        addresses = answers.get(target.host, [target.host] if _is_address(target.host) else [])
    else:
        addresses = _resolved(target.host, target.port)
    verdict = policy.judge_addresses(target.host, target.port, addresses)
    return verdict, addresses if verdict.allowed else []


def _resolved(host: str, port: int) -> list[str]:
    from bridge.dial import SystemResolver

    try:
        return list(asyncio.run(_resolve(SystemResolver(), host, port)))
    except OSError:
        return []


async def _resolve(resolver: Any, host: str, port: int) -> Sequence[str]:
    found: Sequence[str] = await resolver(host, port)
    return found


def _scripted(path: str) -> dict[str, list[str]]:
    """Host → its first answer: a connection resolves once, and a later one is judged anew."""
    fix = 'write {"host": ["ip", …]} or, for successive answers, {"host": [["ip"], ["ip"]]}'
    try:
        raw = json.loads(Path(path).read_text())
        return {host.lower(): _first(answer) for host, answer in raw.items()}
    except (ValueError, AttributeError, TypeError):
        raise InvalidInput(f"{path} does not hold scripted answers", fix=fix) from None


def _first(answer: Any) -> list[str]:
    first = answer[0] if answer and isinstance(answer[0], list) else answer
    return [str(address) for address in first]


def _is_address(host: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
