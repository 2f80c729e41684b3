"""`bridge key`: the keys with which this installation signs `v1a`."""

import json
import os
import secrets
import time
from pathlib import Path

import rich_click as click

from bridge.cli.output import chosen, emit_one, output_option, safe, say, span
from bridge.cli.session import settings_of
from bridge.errors import BridgeError, InvalidInput
from bridge.orders.moments import seconds_from

AT_ONCE = "0"
IN_SECRETS = "bridge_signing_key"
"""The name under which it is found in a directory of secrets, without a setting that names the file."""
LONGEST_WAIT_SECONDS = 365 * 86_400


@click.group()
def key() -> None:
    """Make the keys that sign v1a, and show their public halves, by which receivers verify.

    \b
    Examples:
      bridge key new config/secrets/bridge_signing_key
      bridge key show > jwks.json
    """


@key.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--after", metavar="TIME", default=AT_ONCE, show_default=True,
              help="How long it is only published, so that receivers know it before it signs.")  # fmt: skip
@output_option
@click.pass_context
def new(ctx: click.Context, file: Path, after: str, output: str | None, as_json: bool) -> None:
    """Make a private key and put it into FILE, before those that are in it; print its public half.

    Nothing prints the private key. All keys of a file sign, so that a receiver that knows any one of them can verify:
    that is how one takes over from another. When all receivers know the new one, delete the line of the old one, and
    restart. After a leak, delete it at once.

    \b
    Examples:
      bridge key new config/secrets/bridge_signing_key
      bridge key new config/secrets/bridge_signing_key --after 24h
    """
    from bridge.keypair import PrivateKey
    from bridge.keyset import as_line, parse_keys
    from bridge.redaction import SIGNING_SECRET

    if SIGNING_SECRET.search(str(file)):
        raise InvalidInput("this is a key, and not a file to put one into", fix="bridge key new bridge_signing_key")
    wait = int(seconds_from(after))
    if wait > LONGEST_WAIT_SECONDS:
        raise InvalidInput(f"a key waits for {span(LONGEST_WAIT_SECONDS)} at most", fix="--after 24h, or less")
    made, since = PrivateKey(secrets.token_bytes(32)), int(time.time()) + wait
    before = _lines_of(file)
    lines = [as_line(made, since), *before]
    count = len(parse_keys("\n".join(lines)))
    _write(file, "".join(f"{line}\n" for line in lines))
    row = {"kid": made.public.id, "public_key": made.public.text, "signs_from_at": since * 1000, "keys": count}
    emit_one(row, chosen(ctx, output, as_json), key="public_key")
    say(f"The private key is in {safe(file)}, and nowhere else: keep a copy where only you can read it.")
    if wait and not before:
        say("! Until it signs no key does, and endpoints that ask for v1a wait.")
    named = "" if file.name == IN_SECRETS else f"with BRIDGE_SIGNING_KEY_FILE={safe(file)} "
    say(f"Next, {named}start the workers anew, and whatever serves the public keys → bridge key show")


@key.command()
@click.pass_context
def show(ctx: click.Context) -> None:
    """Print the public keys as a JSON Web Key Set: what receivers verify v1a with, and nothing secret.

    `whpk` is the key as Standard Webhooks writes it, `kid` its thumbprint, `nbf` the moment in Unix seconds from which
    on it signs. `bridge console` and `bridge metrics --serve` answer the same at /.well-known/jwks.json; so may any
    web server of yours, from a file.

    \b
    Examples:
      bridge key show > jwks.json
      bridge key show | jq -r '.keys[].whpk'
    """
    from bridge.keyset import MAKE_ONE, NO_KEY, document

    keys = settings_of(ctx).signing_keys
    if not keys:
        raise InvalidInput(NO_KEY, fix=MAKE_ONE)
    click.echo(json.dumps(document(keys), indent=2))


def _lines_of(file: Path) -> list[str]:
    """The lines of the keys that are there already; none of a file that is missing or empty."""
    from bridge.keyset import parse_keys

    try:
        lines = file.read_text(encoding="utf-8").split()
        if lines:
            parse_keys(" ".join(lines))
        return lines
    except FileNotFoundError:
        return []
    except InvalidInput as error:
        raise InvalidInput(f"{safe(file)}: {error}", fix="name a file of such keys, or one that is not there") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{safe(file)} is not UTF-8 text", fix="name another file") from None
    except OSError as error:
        raise BridgeError(f"{safe(file)} cannot be read: {error.strerror}", fix="name another file") from None


def _write(file: Path, text: str) -> None:
    """Put it in the file's place at once: no key is lost where writing fails halfway.

    Readable by its owner alone; one that is there already stays readable by those who could read it.
    """
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                if file.exists():
                    _give_like(file, stream.fileno())
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(file)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BridgeError(
            f"{safe(file)} cannot be written: {error.strerror}", fix="name a file in a directory that is there"
        ) from None


def _give_like(file: Path, descriptor: int) -> None:
    """Mode and owners as the file has them: workers that run as somebody else read it."""
    known = file.stat()
    os.fchmod(descriptor, known.st_mode & 0o777)
    if (known.st_uid, known.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, known.st_uid, known.st_gid)
