"""How this installation is run, and so which commands its people are told. Pure."""

from collections.abc import Sequence
from enum import StrEnum
from shlex import join, quote
from urllib.parse import urlsplit

from bridge import __version__
from bridge.errors import START_REDIS

IN_THE_STACK = "/run/bridge/"
"""Where docker-compose.yml has the files with the logins of Redis."""

REDIS_PORT = "6379"


class Deployment(StrEnum):
    """Who starts the worker: a person, or Docker compose. Each verb is the command that does it there."""

    BY_HAND = "by hand"
    COMPOSE = "compose"

    @classmethod
    def of(cls, redis_url_file: str) -> "Deployment":
        """Told by the file from which the address of Redis was read, if it was."""
        return cls.COMPOSE if redis_url_file.startswith(IN_THE_STACK) else cls.BY_HAND

    def start(self, kind: str = "") -> str:
        """Start the worker; by hand that may be one of a kind alone."""
        return "docker compose up -d worker" if self is self.COMPOSE else f"bridge worker {kind}".rstrip()

    @property
    def restart(self) -> str:
        """Start it anew, with the settings that it had."""
        return "docker compose restart worker" if self is self.COMPOSE else "stop the worker, then: bridge worker"

    @property
    def logs(self) -> str:
        """Read what it says."""
        return "docker compose logs worker" if self is self.COMPOSE else "look at what the worker says (standard error)"

    def one_more(self, workers: int) -> str:
        """Beside so many that run."""
        return f"docker compose up -d --scale worker={workers + 1}" if self is self.COMPOSE else "bridge worker"

    def with_settings(self, assignments: Sequence[str]) -> str:
        """Start it anew with these settings (`NAME=value`) beside its own; compose reads .env at `up` alone."""
        if self is self.COMPOSE:
            return f"printf '%s\\n' {join(assignments)} >> .env && docker compose up -d  # restart reads no .env"
        return f"stop the worker, then: {' '.join([*map(_assigned, assignments), 'bridge worker'])}"

    def start_redis(self, url: str) -> str:
        """Start the Redis of a URL, where that is ours to do; no more of the URL is told than where it leads."""
        if self is self.COMPOSE:
            return "docker compose up -d redis"
        host, _, port = where_is(url).rpartition(":")
        if host in {"127.0.0.1", "localhost", "::1"}:
            other = "" if port == REDIS_PORT else f" --port {port}"
            return START_REDIS.replace(" &", f"{other} &", 1)
        return f"start the Redis at {where_is(url)}, or set BRIDGE_REDIS_URL to one that answers from here"

    def allowing(self, assignments: Sequence[str]) -> str:
        """Give commands and the worker the same settings (`NAME=value`); in compose both read them from .env."""
        if self is self.COMPOSE:
            return self.with_settings(assignments)
        here = " ".join(map(_assigned, assignments))
        return f"export {here}  # here, and where the worker runs; then start it anew"

    def with_secret(self, name: str) -> str:
        """Start it anew with a secret setting, whose value is in a variable of the shell that has its name."""
        if self is self.COMPOSE:
            kept = f'(umask 077; printf %s "${{{name}:?}}" > config/secrets/{name.lower()})'
            return f"{kept} && {self.restart}"
        return (
            f"export {name}=…  # or that in .env; then stop the worker, if one runs, and start it there: bridge worker"
        )


def with_extra(extra: str) -> str:
    """Installs what an extra needs: from the wheel, as no package index has us; one by our name there is not ours."""
    return f"pip install 'bridge_for_twelvelabs-{__version__}-py3-none-any.whl[{extra}]' (docs/how-to/install.md)"


def where_is(url: str) -> str:
    """Host and port of a Redis' URL, or the path of its socket; neither user nor password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or REDIS_PORT}"


def _assigned(assignment: str) -> str:
    name, _, value = assignment.partition("=")
    return f"{name}={quote(value)}"
