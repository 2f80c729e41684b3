"""`bridge endpoint check`: the classifier of registration and sending, asked directly. Needs no Redis and no key."""

import asyncio
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import rich_click as click

from bridge.callback import assignments, corrected, reserved
from bridge.cli.output import Columns, chosen, emit, field, output_option, safe, say
from bridge.cli.session import settings_of
from bridge.errors import InvalidInput
from bridge.guard import Policy, Refused, Target, Verdict
from bridge.redaction import bare
from bridge.rejection import redacted

NO_ANSWER = Verdict(False, "dns_no_answer", "The name does not resolve; correct it, or its DNS records.")
LOOKUPS = 32
"""Names that are being resolved at the same time."""
MENDED = 10
"""Of how many blocked URLs it is said what would pass."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
"""What names an endpoint, and is no URL that lacks its scheme."""

Answers = Mapping[str, Sequence[str]]
"""Host → the addresses of its first answer; a host that has none is missing."""


def _why(row: Mapping[str, Any]) -> str:
    if row["verdict"] == "block":
        return f"{row['reason']}: {row['detail']}"
    return ", ".join(row.get("dials", ())) or "—"


COLUMNS: Columns = (("verdict", field("verdict")), ("url", field("url")), ("reason", _why))


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL…|-")
@click.option("--resolve", is_flag=True, help="Judge the addresses of the name too, as the system resolves it.")
@click.option("--dns", metavar="FILE", help='Scripted answers instead: {"host": ["ip", …]}, or successive ones.')
@output_option
@click.pass_context
def check(
    ctx: click.Context, urls: tuple[str, ...], resolve: bool, dns: str | None, output: str | None, as_json: bool
) -> int:
    """Judge callback URLs as registration and sending do. Exit code 1 if one is blocked.

    From standard input every line is a URL, exactly as it stands: nothing is trimmed or skipped. A connection resolves
    once, so of successive answers the first decides; `dials` are the addresses that may be dialled. It goes by the
    settings of this shell, as a worker goes by its own.

    \b
    Examples:
      bridge endpoint check https://example.com/hook --resolve
      bridge endpoint check - --dns answers.json -o jsonl < urls.txt
    """
    if resolve and dns is not None:
        raise InvalidInput("--resolve and --dns are two sources of addresses", fix="choose one")
    settings = settings_of(ctx)
    policy = settings.policy
    given = list(_given(urls))
    answers = None if dns is None else _scripted(dns)
    if resolve:
        answers = asyncio.run(resolved([target for url in given if isinstance(target := _parsed(policy, url), Target)]))
    rows = [_row(policy, url, answers) for url in given]
    how = chosen(ctx, output, as_json)
    emit(rows, how, COLUMNS, key="url")
    allowed = [url for url, row in zip(given, rows, strict=True) if row["verdict"] == "allow"]
    if how == "table" and any(not _judged(Policy(), url, answers)[0].allowed for url in allowed):  # by the defaults
        say("Allowed by this shell's settings; whether the worker that runs has the same → bridge doctor")
    blocked = [url for url, row in zip(given, rows, strict=True) if row["verdict"] == "block" and how == "table"]
    for url in list(dict.fromkeys(blocked))[:MENDED]:
        if rows[given.index(url)]["reason"] == NO_ANSWER.reason:
            host = safe(policy.parse(url).host)
            say(f"→ check the name {host} and its DNS records: it has to resolve here, and where the worker runs")
        else:
            _say_what_passes(url, policy)
    if how == "table" and answers:
        for host in sorted({target.host for url in given if isinstance(target := _parsed(policy, url), Target)}):
            if any(not policy.judge_address(address).allowed for address in answers.get(host, ())):
                say(f"{safe(host)} is {', '.join(map(safe, answers[host]))} here")
    return int(any(row["verdict"] == "block" for row in rows))


def _say_what_passes(url: str, policy: Policy) -> None:
    """Of one that is blocked: the command with the URL that was probably meant, and the settings that let it pass."""
    if _NAME.fullmatch(url) and redacted(url) == url:
        say(f"→ of an endpoint by its name: bridge endpoint test {url}")
        return
    if told := reserved(url):
        say(f"→ {told}")
        return
    meant = corrected(url)
    if meant:
        say(f"→ bridge endpoint check {quote(bare(meant))} --resolve")
    if lacking := assignments(meant or url, policy):
        say(f"It passes with {' '.join(lacking)}, here and for the worker.")


def _given(urls: Sequence[str]) -> Iterator[str]:
    """The URLs as they came. Only the line feed ends a line: what else is at its end belongs to the URL."""
    for url in urls:
        if url != "-":
            yield url
            continue
        lines = sys.stdin.buffer.read().split(b"\n")
        for line in lines[:-1] if lines[-1] == b"" else lines:
            yield line.decode("utf-8", "surrogateescape")


def _row(policy: Policy, url: str, answers: Answers | None) -> dict[str, Any]:
    verdict, dials = _judged(policy, url, answers)
    shown = url.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    row: dict[str, Any] = {
        "url": shown,
        "verdict": "allow" if verdict.allowed else "block",
        "reason": verdict.reason,
        "detail": verdict.detail,
    }
    return row if answers is None else row | {"dials": dials}


def _judged(policy: Policy, url: str, answers: Answers | None) -> tuple[Verdict, list[str]]:
    """The verdict of one connection, and what it may dial: one resolution, and every address of it is judged."""
    target = _parsed(policy, url)
    if isinstance(target, Refused):
        return Verdict(False, target.reason, target.detail), []
    if answers is None:
        return policy.judge(url, None), []
    if target.is_address:
        addresses: Sequence[str] = [target.host]
    elif target.host in answers:
        addresses = answers[target.host]
    else:
        return NO_ANSWER, []
    verdict = policy.judge(url, addresses)
    return verdict, list(addresses) if verdict.allowed else []


def _parsed(policy: Policy, url: str) -> Target | Refused:
    try:
        return policy.parse(url)
    except Refused as refused:
        return refused


async def resolved(targets: Iterable[Target]) -> Answers:
    """What the transport would look at: the system's answers, within its time and up to its number."""
    from bridge.dial import SystemResolver
    from bridge.exchange import Limits

    resolver, limits, room = SystemResolver(), Limits(), asyncio.Semaphore(LOOKUPS)
    ports = {target.host: target.port for target in targets if not target.is_address}
    answers: dict[str, Sequence[str]] = {}

    async def look(host: str, port: int) -> None:
        async with room:
            try:
                async with asyncio.timeout(limits.dns_seconds):
                    answers[host] = (await resolver(host, port))[: limits.answers]
            except (TimeoutError, OSError):
                return  # no answer

    await asyncio.gather(*(look(host, port) for host, port in ports.items()))
    return answers


def _scripted(path: str) -> Answers:
    """Host → its first answer: a connection resolves once, and a later one is judged anew."""
    fix = 'write {"host": ["ip", …]} or, for successive answers, {"host": [["ip"], ["ip"]]}'
    try:
        raw = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", fix="name a file of scripted answers") from None
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict) or not all(_is_answer(answer) for answer in raw.values()):
        raise InvalidInput(f"{path} does not hold scripted answers", fix=fix)
    return {host.lower(): _first(answer) for host, answer in raw.items()}


def _is_answer(value: object) -> bool:
    """A list of addresses, or a list of such lists."""
    if not isinstance(value, list):
        return False
    lists = value if value and all(isinstance(one, list) for one in value) else [value]
    return all(isinstance(address, str) for one in lists for address in one)


def _first(answer: list[Any]) -> list[str]:
    return list(answer[0]) if answer and isinstance(answer[0], list) else answer
