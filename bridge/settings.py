"""Every knob of the bridge, with its default, unit and bounds; the only module that reads the environment.

Strongest first: command line, environment, `.env`, `/run/secrets`, `config/bridge.toml`, the defaults below.
Only doors import this. `python -m bridge.settings > config/bridge.toml` writes that file from these fields.
"""

import json
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import (
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bridge import settings_sources as sources
from bridge import settings_types as types
from bridge.deployment import Deployment
from bridge.errors import SettingsError
from bridge.guard import Policy
from bridge.keyset import SigningKey, parse_keys, texts_in
from bridge.sealing import keys_in
from bridge.settings_sources import Given, Origin
from bridge.settings_types import DAY, knob, masked, plain_text

LEASE_MARGIN_SECONDS = 5
"""How much longer than its deadline a lease must be, so that who is late still settles its own claim."""


class Settings(BaseSettings):
    """The whole configuration, frozen and valid: lists are tuples, and secrets print as asterisks."""

    model_config = SettingsConfigDict(
        env_file=".env",
        secrets_dir="/run/secrets",
        case_sensitive=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    redis_url: types.RedisUrl = knob(
        SecretStr("redis://127.0.0.1:6379/0"),
        "The Redis that holds everything: redis://, rediss:// (TLS) or unix://, with password and database "
        "number. Behind Sentinels, an address that always leads to the primary: docs/how-to/redis-sentinel.md.",
        examples=["redis://:password@host:6379/0"],
    )
    redis_allow_volatile: bool = knob(
        False, "Start even on a Redis that evicts keys or has no append-only file, and so may forget what is owed."
    )
    prefix: types.KeyPrefix = knob("bridge:", "What all keys in Redis start with; it ends in a colon.")
    secrets_key: types.SecretsKey = knob(
        None,
        "Seals the signing secrets and header values of endpoints in Redis: one or more Fernet keys, separated by "
        "commas or lines, the newest first, which seals; all of them open. The same for every worker and the command "
        "line. Needs the extra [crypto].",
        examples=["the output of: openssl rand -base64 32 | tr +/ -_"],
    )

    twelvelabs_base_url: types.BaseUrl = knob(
        "https://api.twelvelabs.io/v1.3", "Where the TwelveLabs API is; without a path, /v1.3 is added."
    )
    twelvelabs_api_key: types.ApiKey = knob(
        None, "The key of the TwelveLabs account. TWELVE_LABS_API_KEY is understood too.", examples=["tlk_…"]
    )
    twelvelabs_requests_per_minute: int = knob(
        0,
        "At most so many requests to TwelveLabs in any 60 s, all workers together; "
        "0 obeys what its rate-limit headers and 429 answers say.",
        unit="requests",
        ge=0,
        le=100_000,
    )

    twelvelabs_strategy: Annotated[Literal["auto", "list", "retrieve"], types.Lower] = knob(
        "auto",
        "How tasks are watched: list reads pages of all tasks of the account, and by id what ends and a sample; "
        "retrieve reads each task by id; auto lists from 20 tasks on. A list that fails or lies is left.",
    )

    poll_interval_seconds: float = knob(5, "Time between two reads of a task, or of the list.", "seconds", 0.2, DAY)
    poll_reconcile_seconds: float = knob(
        1800, "The longest time between two reads by id of a task that the list tells of.", "seconds", 10, DAY
    )
    poll_find_seconds: float = knob(
        15, "Time between two looks for new tasks in the list of a watched index or account.", "seconds", 1, DAY
    )
    poll_stalled_seconds: float = knob(
        7200,
        "A task on its way that has stood still for so long, and for longer than its video lasts, is told once as "
        "stalled; where it waits for others, pending or queued, twelve times as long. 0 = never.",
        "seconds",
        0,
        30 * DAY,
    )
    poll_deadline_seconds: float = knob(10, "A read that takes longer is given up.", "seconds", 0.1, 120)
    poll_lease_seconds: float = knob(
        20,
        "How long a claimed task belongs to one worker; at least poll_deadline_seconds + 5.",
        "seconds",
        5.1,
        900,
    )
    poll_concurrency: int = knob(256, "Reads in flight in one poll worker.", "reads", 1, 1024)
    poll_workers: int = knob(1, "Poll workers that one `worker.py` runs.", "processes", 1, 64)

    delivery_allow_networks: types.Networks = knob(
        (),
        "Networks that callbacks may reach although they are not public, on any port: CIDRs, separated by "
        "commas. An empty text counts as not set; [] is an empty list.",
        examples=["10.20.0.0/16,fd00:20::/64"],
    )
    delivery_deny_networks: types.Networks = knob(
        (), "Networks that no callback may reach, public or allowed ones too: your own, say. CIDRs, as above."
    )
    delivery_proxy_url: types.ProxyUrl = knob(
        None,
        "An HTTP proxy for all deliveries, by CONNECT to the address that was judged. HTTP_PROXY is never obeyed.",
        examples=["http://user:password@proxy:3128"],
    )
    delivery_ca_file: types.CaFile = knob(
        "",
        "A file of certificates (PEM): authorities of your own, that receivers' certificates may come from, beside the "
        "system's. In the stack config/ca.pem is a place for it.",
        examples=["config/ca.pem"],
    )
    delivery_origin: types.DnsName = knob(
        "bridge-for-twelvelabs",
        "What receivers know this system by that are asked for their consent (`handshake`): a DNS name, sent as "
        "WebHook-Request-Origin. A receiver that had consented before it changed is not asked again.",
        examples=["bridge.example.com"],
    )
    delivery_allow_http: bool = knob(False, "Accept callback URLs that start with http://; nothing else is relaxed.")
    delivery_default_secret: types.SigningSecret = knob(
        None,
        "Signs for endpoints without a secret of their own: whsec_ and the base64 of 24 to 64 random bytes.",
        examples=["whsec_…"],
    )
    signing_key: types.SigningKey = knob(
        None,
        "Signs v1a for endpoints that ask for it: one to four private keys, whsk_…, separated by commas or lines, all "
        "of which sign; one with @ and a moment behind it from then on. The same for every worker and the command "
        "line. Needs the extra [crypto].",
        examples=["the file that this makes: bridge key new FILE"],
    )
    console_token: types.Token = knob(
        None,
        "Lets who has it change things in `bridge console --allow-writes`, by its pages and its HTTP API: at least 16 "
        "characters, the same on all machines.",
        examples=["the output of: openssl rand -hex 32"],
    )
    delivery_deadline_seconds: float = knob(
        15, "An attempt that takes longer, from dialling to the answer, has failed.", "seconds", 0.1, 120
    )
    delivery_lease_seconds: float = knob(
        25, "How long a claimed delivery is one worker's; at least delivery_deadline_seconds + 5.", "seconds", 5.1, 900
    )
    delivery_concurrency: int = knob(1000, "Attempts in flight in one delivery worker.", "attempts", 1, 10_000)
    delivery_endpoint_concurrency: int = knob(
        32, "Attempts in flight to one endpoint, all workers together.", "attempts", 1, 1000
    )
    delivery_workers: int = knob(1, "Delivery workers that one `worker.py` runs.", "processes", 1, 64)
    delivery_schedule_seconds: types.Waits = knob(
        (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, DAY),
        "Wait before each attempt, the first one included; their number is the number of attempts, 1 to 50, "
        "and none is longer than 7 days.",
        "seconds",
    )
    delivery_jitter: float = knob(0.2, "Each wait is longer or shorter by up to this part of it.", "share", 0, 0.5)
    delivery_progress_expires_seconds: float = knob(
        3600, "An event of a status that is not final is no longer sent after this time.", "seconds", 1, 30 * DAY
    )

    delivery_failure_window_seconds: float = knob(
        2 * DAY,
        "An endpoint that failed for so long without a success between is disabled, and what it is owed is held; "
        "bridge.endpoint.failing events and log lines warn at 50, 70 and 90 % of it. 0 = never.",
        "seconds",
        0,
        365 * DAY,
    )

    retention_delivered_seconds: int = knob(
        DAY,
        "How long a delivered, superseded or cancelled delivery can be looked up.",
        "seconds",
        1,
        365 * DAY,
    )
    retention_dead_seconds: int = knob(
        30 * DAY,
        "How long a dead delivery, or one held for a disabled endpoint, can be replayed.",
        "seconds",
        1,
        365 * DAY,
    )
    retention_tasks_seconds: int = knob(
        30 * DAY,
        "How long the snapshot of a task that is no longer watched is kept.",
        "seconds",
        1,
        365 * DAY,
    )
    retention_events: int = knob(100_000, "Newest events kept in the stream.", "events", 100, 10_000_000)

    shift_seconds: float = knob(600, "Length of the RQ job that keeps a worker claiming.", "seconds", 1, 3600)
    tracing: types.Tracing = knob(
        False,
        "Send a span of each read, commit and attempt by OpenTelemetry; where to, which and under what name, its "
        "OTEL_* variables say, OTEL_EXPORTER_OTLP_ENDPOINT above all. Needs the extra [otel].",
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], types.Upper] = knob(
        "INFO", "The least serious kind of line that is logged: DEBUG, INFO, WARNING, ERROR or CRITICAL."
    )
    log_format: Annotated[Literal["auto", "json", "console"], types.Lower] = knob(
        "auto",
        "json is one object a line, console is for eyes, auto is console on a terminal and json elsewhere.",
    )

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)
    _deployment: Deployment = PrivateAttr(default=Deployment.BY_HAND)
    _redis_in_shell: bool = PrivateAttr(default=False)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and still deserves a log line at start, such as a secret file that all may read."""
        return self._warnings

    @property
    def deployment(self) -> Deployment:
        """Who starts the worker here."""
        return self._deployment

    @property
    def redis_in_shell(self) -> bool:
        """Whether the shell itself has the address of Redis, in BRIDGE_REDIS_URL, and not a file."""
        return self._redis_in_shell

    @property
    def policy(self) -> Policy:
        """The guard as configured: one for every door."""
        allow, deny = self.delivery_allow_networks, self.delivery_deny_networks
        return Policy(allow_networks=allow, deny_networks=deny, allow_http=self.delivery_allow_http)

    @property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """The keys that sign `v1a`; none where none is set."""
        return parse_keys(self.signing_key.get_secret_value()) if self.signing_key else ()

    def secret_values(self) -> tuple[str, ...]:
        """Every secret text in here, for the logs to strike out wherever it turns up."""
        found = [
            one.get_secret_value()
            for one in (self.twelvelabs_api_key, self.delivery_default_secret, self.console_token)
            if one
        ]
        found += keys_in(self.secrets_key.get_secret_value()) if self.secrets_key else []
        found += texts_in(self.signing_key.get_secret_value()) if self.signing_key else []
        urls = [urlsplit(one.get_secret_value()) for one in (self.redis_url, self.delivery_proxy_url) if one]
        found += [value for url in urls for name, value in parse_qsl(url.query) if name == "password"]
        found += [text for url in urls if url.password for text in (url.password, unquote(url.password))]
        return tuple(dict.fromkeys(found))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Our places, over the environment and the `.env` that pydantic-settings has read for its own."""
        cli = dict(cast(Any, init_settings).init_kwargs)
        environment, dotenv = cast(Any, env_settings).env_vars, cast(Any, dotenv_settings).env_vars
        config = cli.pop("config", None) or environment.get("BRIDGE_CONFIG") or dotenv.get("BRIDGE_CONFIG")
        return (
            sources.BareNames(settings_cls, "cli", cli),
            sources.Place(settings_cls, "env", environment),
            sources.Place(settings_cls, ".env", dotenv),
            sources.SecretFiles(settings_cls, Path(cast(Any, file_secret_settings).secrets_dir)),
            sources.ConfigFile(settings_cls, config),
        )

    @field_validator("poll_lease_seconds", "delivery_lease_seconds")
    @classmethod
    def _lease(cls, value: float, info: ValidationInfo) -> float:
        deadline = info.data.get(str(info.field_name).replace("lease", "deadline"), 0)
        if value < deadline + LEASE_MARGIN_SECONDS:
            least = plain_text(deadline + LEASE_MARGIN_SECONDS)
            reason = f"must be at least {least}, the deadline of {plain_text(deadline)} plus 5"
            raise PydanticCustomError("lease", "{reason}", {"reason": reason})
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _validate(cls, data: dict[str, Given], handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Check everything, then complain once about all of it, or remember where each value came from."""
        problems = [f"{one.name} ({one.origin}): {one.problem}" for one in data.values() if one.problem]
        failed: list[ErrorDetails] = []
        try:
            settings = handler({name: one.value for name, one in data.items() if not one.problem})
        except ValidationError as error:
            failed = error.errors(include_url=False, include_input=False)
        problems += [sources.complaint(cls.model_fields, one, data) for one in failed]
        if problems:
            raise SettingsError(
                "\n".join(["The configuration cannot be used:", *(f"  {one}" for one in problems)]),
                fix="Correct this; config/bridge.toml says what each setting is, `bridge config check` if all is well",
            )
        settings._origins = {name: one.origin for name, one in data.items()}
        redis = data.get("redis_url")
        settings._deployment = Deployment.of(redis.file if redis else "")
        settings._redis_in_shell = redis is not None and redis.origin == "env" and not redis.file
        settings._warnings = (*(one.warning for one in data.values() if one.warning), *_doubts(settings))
        return settings


def load_settings(*, config: str | Path | None = None, **overrides: Any) -> Settings:
    """The settings of this process, or one SettingsError that lists all that is wrong and repeats no secret.

    `overrides` are what the command line said, by field name; None means that it said nothing. `config` is
    another `config/bridge.toml`; `_secrets_dir` and `_env_file` are other places for those two.
    """
    try:
        return Settings(**{"config": config, **overrides})
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
    raise SettingsError(f"The configuration cannot be used: .env cannot be read: {reason}", fix="Check the file .env")


class Explained(NamedTuple):
    """A setting as `bridge config show` prints it."""

    name: str
    value: str
    source: Origin


def explain(settings: Settings) -> list[Explained]:
    """Every setting under the name that people set, its value with secrets masked, and the place that won."""
    return [
        Explained(sources.shown_name(name), masked(getattr(settings, name)), settings._origins.get(name, "default"))
        for name in Settings.model_fields
    ]


def render_toml() -> str:
    """`config/bridge.toml`: every knob at its default; secrets and what has none are commented out."""
    wrap = textwrap.TextWrapper(110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False).wrap
    lines = wrap(TOML_HEAD)
    for name, info in Settings.model_fields.items():
        lines += ["", *wrap(str(info.description))]
        hidden = sources.is_secret(info) or info.default is None
        value = list(info.default) if isinstance(info.default, tuple) else info.default
        lines.append(f'# {name} = ""' if hidden else f"{name} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


TOML_HEAD = (
    "Every knob of the bridge at its default. Change it here or, stronger, by BRIDGE_<NAME> in .env or "
    "in the environment; `bridge config show` says which place won. Secrets are better kept in files: "
    "BRIDGE_<NAME>_FILE, or /run/secrets. Made by `python -m bridge.settings > config/bridge.toml`."
)


def _doubts(settings: Settings) -> list[str]:
    """What is legal and still likely to hurt."""
    if settings.delivery_endpoint_concurrency < settings.delivery_concurrency:
        return []
    return [
        "BRIDGE_DELIVERY_ENDPOINT_CONCURRENCY is not below BRIDGE_DELIVERY_CONCURRENCY: "
        "one slow endpoint can hold every slot of a worker"
    ]


if __name__ == "__main__":
    sys.stdout.write(render_toml())
