"""docs/settings.md, made from the settings themselves: `python -m bridge.cli.reference_settings > docs/settings.md`."""

import sys
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from bridge.cli.reference import cell
from bridge.settings import Settings
from bridge.settings_sources import is_secret, shown_name
from bridge.settings_types import Knob, knob_of

HEAD = """# Settings

Made from the settings themselves by `python -m bridge.cli.reference_settings > docs/settings.md`; a test sees to it
that it is up to date. Strongest first: options of the command line, the environment, `.env`, `/run/secrets`,
`config/bridge.toml` (another one: `BRIDGE_CONFIG`), the defaults below. In the file a setting has the name below
without `BRIDGE_`, in small letters, and `twelvelabs_api_key` for the key.

`bridge config show` tells what is in force and from where, `bridge config check` whether all of it can be used. A
misspelt `BRIDGE_…` is an error that names the right one. Secrets are better kept in files: `BRIDGE_<NAME>_FILE` names
one. Lists are separated by commas.

With docker-compose such files lie in `config/secrets`, which is `/run/secrets` in the containers. These run as user
10001 unless `.env` says `RUN_AS=<user>:<group>`: `bridge init` writes there whose files they are, by hand it is
`echo "RUN_AS=$(id -u):$(id -g)" >> .env && docker compose up -d`.

## Secrets sealed in Redis

With a key, no signing secret and no header value of an endpoint stands in Redis in clear for longer than two seconds:

    (umask 077; openssl rand -base64 32 | tr +/ -_ > config/secrets/bridge_secrets_key)
    docker compose up -d --force-recreate worker

To change the key, write the new one before the old one, on a line of its own, and restart every worker; what is in
Redis is sealed anew by the first that starts. When `bridge doctor` has no complaint with the new key alone, the old
one can go. Keep the keys apart from backups of Redis, and do not lose them: without its key, what was sealed has to be
written anew (`bridge endpoint rotate NAME --overlap 0`, and headers by hand).

Every worker and whoever uses the command line need the same keys. A worker that has none goes on with all else, but
sends nothing to endpoints that another one sealed: it gives their deliveries back, says so in its log
(`delivery.not_attempted`), and a worker that has the key sends them, up to 20 seconds later for each time that it was
not the one to claim. No attempt is spent, and nothing is held against the endpoint.

## Keys that sign v1a

An endpoint with `"signatures": ["v1", "v1a"]` gets a signature that a public key verifies (docs/contract tells
receivers how). The private key is the installation's, and never in Redis:

    bridge key new config/secrets/bridge_signing_key
    docker compose up -d --force-recreate worker && docker compose run --rm bridge key show

Where no bridge is installed beside the containers, a seed alone is a key, too:

    (umask 077; printf 'whsk_%s\\n' "$(openssl rand -base64 32)" > config/secrets/bridge_signing_key)

To change it, `bridge key new` again: the new key goes before the old one, both sign, and both are published. With
`--after 24h` it is published for a day before it signs. When every receiver knows the new one, delete the old line and
restart. After a leak delete the old line at once: receivers that still trust its public half believe whoever has the
key, until they fetch the document anew.

Every worker and whoever uses the command line need the same keys. Where an endpoint asks for `v1a` and there is no key,
registering it is refused; one that is in force already waits, as nothing is sent with fewer signatures than were asked
for: its deliveries are given back without an attempt, and the log says so (`delivery.not_attempted`).
"""
GROUPS = {
    "redis": "Redis",
    "prefix": "Redis",
    "secrets": "Redis",
    "twelvelabs": "TwelveLabs",
    "poll": "Polling",
    "delivery": "Delivery",
    "signing": "Delivery",
    "retention": "Retention",
}
"""A setting's first word → the heading that it stands under, in the order of the page; the others are about running."""
RUNNING = "Running"


def render() -> str:
    """The whole of docs/settings.md."""
    fields = Settings.model_fields
    rows: dict[str, list[str]] = {title: [] for title in (*GROUPS.values(), RUNNING)}
    for name, field in fields.items():
        rows[GROUPS.get(name.partition("_")[0], RUNNING)].append(_row(name, field))
    parts = ["\n".join([f"## {title}", "", *TABLE, *lines]) + "\n" for title, lines in rows.items()]
    return "\n".join([HEAD, *parts])


TABLE = ("| setting | type | default | bounds | meaning |", "| --- | --- | --- | --- | --- |")


def _row(name: str, field: FieldInfo) -> str:
    knob = knob_of(field)
    kind = _kind(field) + (f", {knob.unit}" if knob.unit else "")
    default = f"`{knob.default}`" if knob.default not in {"not set", "empty"} else knob.default
    return f"| `{shown_name(name)}` | {kind} | {default} | {knob.bounds or '—'} | {cell(_example(knob, field))} |"


def _example(knob: Knob, field: FieldInfo) -> str:
    examples = ", ".join(f"`{one}`" for one in field.examples or ())
    return f"{knob.text} Example: {examples}." if examples else knob.text


def _kind(field: FieldInfo) -> str:
    """What a person writes: the type's name in words."""
    if is_secret(field):
        return "secret"
    annotation = field.annotation
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return "word"
    if get_origin(annotation) is tuple:
        return "list"
    return KINDS[annotation]


KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    SecretStr: "secret",
}


if __name__ == "__main__":
    sys.stdout.write(render())
