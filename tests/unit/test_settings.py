"""Settings: where they come from, what is refused, and that no secret is ever repeated."""

import base64
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.errors import SettingsError
from bridge.sandbox.twelvelabs import API_KEY
from bridge.settings import Settings, explain, load_settings, render_toml
from bridge.settings_sources import OF_THE_SIMULATOR, env_names, read_secret, unreadable

ROOT = Path(__file__).parents[2]
SIGNING = "whsec_" + base64.b64encode(b"k" * 32).decode()
CANARY = "C4n4ryS3cret"

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """load_settings in an empty directory, with tmp_path/secrets in the place of /run/secrets."""
    monkeypatch.chdir(tmp_path)
    return lambda **overrides: load_settings(_secrets_dir=tmp_path / "secrets", **overrides)


def put(path: str, text: str, mode: int = 0o600) -> Path:
    """A file below the current directory, with its parents."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def refusal(load: Load, **overrides: Any) -> str:
    """The text of the one error that loading comes to."""
    with pytest.raises(SettingsError) as caught:
        load(**overrides)
    assert caught.value.fix
    assert caught.value.__context__ is None
    return str(caught.value)


def sources(settings: Settings) -> dict[str, str]:
    """The source of each setting, by shown name."""
    return {one.name: one.source for one in explain(settings)}


def test_defaults_need_nothing(load: Load) -> None:
    """Without any configuration the design's defaults hold."""
    settings = load()
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert (settings.prefix, settings.poll_interval_seconds, settings.twelvelabs_api_key) == ("bridge:", 5, None)
    assert (settings.poll_lease_seconds, settings.delivery_lease_seconds) == (20, 25)
    assert settings.delivery_schedule_seconds == (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert settings.delivery_allow_networks == ()
    assert settings.warnings == ()


def test_each_place_beats_the_next(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line > environment > .env > secrets > bridge.toml > default, one place taken away at a time."""
    put("config/bridge.toml", "poll_interval_seconds = 2")
    put("secrets/bridge_poll_interval_seconds", "3\n")
    put(".env", "BRIDGE_POLL_INTERVAL_SECONDS=4\nREDIS_PASSWORD=foreign\n")
    monkeypatch.setenv("BRIDGE_POLL_INTERVAL_SECONDS", "6")
    name = "BRIDGE_POLL_INTERVAL_SECONDS"
    seen = [load(poll_interval_seconds=7), load()]
    monkeypatch.delenv(name)
    seen.append(load())
    Path(".env").unlink()
    seen.append(load())
    Path("secrets/bridge_poll_interval_seconds").unlink()
    seen.append(load())
    Path("config/bridge.toml").unlink()
    seen.append(load())
    assert [one.poll_interval_seconds for one in seen] == [7, 6, 4, 3, 2, 5]
    assert [sources(one)[name] for one in seen] == ["cli", "env", ".env", "secrets", "config file", "default"]


def test_an_override_of_none_says_nothing(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that was not given on the command line does not hide the environment."""
    monkeypatch.setenv("BRIDGE_PREFIX", "a:")
    assert load(prefix=None).prefix == "a:"


def test_empty_variables_count_as_not_set(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose passes `X: ${X:-}` as an empty text."""
    put(".env", "BRIDGE_PREFIX=b:\n")
    for name in ("BRIDGE_PREFIX", "BRIDGE_DELIVERY_DEFAULT_SECRET", "TWELVELABS_API_KEY_FILE"):
        monkeypatch.setenv(name, "")
    assert load().prefix == "b:"


@pytest.mark.parametrize("name", env_names("twelvelabs_api_key"))
def test_the_api_key_has_three_names_and_three_files(load: Load, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each name works, as a value and as the path of a file."""
    monkeypatch.setenv(name, "tlk_1")
    assert load().twelvelabs_api_key == SecretStr("tlk_1")
    monkeypatch.delenv(name)
    monkeypatch.setenv(f"{name}_FILE", str(put("key", " tlk_2\n")))
    assert load().twelvelabs_api_key == SecretStr("tlk_2")


def test_the_particular_api_key_name_wins(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several names in one place, the bridge's own counts, then TwelveLabs' spelling without underscore."""
    monkeypatch.setenv("TWELVE_LABS_API_KEY", "c")
    monkeypatch.setenv("TWELVELABS_API_KEY", "b")
    assert load().twelvelabs_api_key == SecretStr("b")
    monkeypatch.setenv("BRIDGE_TWELVELABS_API_KEY", "a")
    assert load().twelvelabs_api_key == SecretStr("a")


def test_a_file_that_one_may_not_read_is_told_with_its_mend(tmp_path: Path) -> None:
    """Who may not, and the command that changes it; not one that lets everybody read it."""
    path = put(str(tmp_path / "a secret"), SIGNING, mode=0)
    user = os.geteuid() or 65_534  # root may read everything
    os.seteuid(user)
    try:
        problem = read_secret(path, "env", "NAME").problem
    finally:
        os.seteuid(os.getuid())
    assert problem == f"{path} cannot be read: user {user} may not; sudo chown {user} '{path}'"


def test_a_secret_of_a_container_is_named_as_its_host_knows_it() -> None:
    """The path in a container is nowhere on the host: the error names the file there, and one line that mends it."""
    said = unreadable(Path("/run/secrets/bridge_delivery_default_secret"), 10_001)
    assert "config/secrets/bridge_delivery_default_secret" in said.replace("/run/secrets", "")
    assert said.endswith('echo "RUN_AS=$(id -u):$(id -g)" >> .env && docker compose up -d')


def test_secrets_come_from_files(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis URL and signing secret have file twins, in the environment, in .env and in bridge.toml."""
    monkeypatch.setenv("BRIDGE_REDIS_URL_FILE", str(put("r", "redis://:pw@cache:6380/2\n")))
    put("config/bridge.toml", f'delivery_default_secret_file = "{put("w", SIGNING)}"')
    settings = load()
    assert settings.redis_url == SecretStr("redis://:pw@cache:6380/2")
    assert settings.delivery_default_secret == SecretStr(SIGNING)
    assert settings.secret_values() == (SIGNING, "pw")


def test_a_secret_and_its_file_together_are_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can say which of the two was meant."""
    monkeypatch.setenv("BRIDGE_REDIS_URL", f"redis://:{CANARY}@h")
    monkeypatch.setenv("BRIDGE_REDIS_URL_FILE", str(put("r", "redis://h")))
    text = refusal(load)
    assert "BRIDGE_REDIS_URL (env): BRIDGE_REDIS_URL_FILE is set too" in text
    assert CANARY not in text


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"", "is empty"), (b"\xff\xfe", "is not UTF-8 text")]
)
def test_an_unusable_secret_file_is_named(
    load: Load, monkeypatch: pytest.MonkeyPatch, content: bytes | None, reason: str
) -> None:
    """A secret file that is missing, empty or binary is an error, and named."""
    if content is not None:
        Path("key").write_bytes(content)
    monkeypatch.setenv("TWELVELABS_API_KEY_FILE", "key")
    assert re.search(rf"TWELVELABS_API_KEY_FILE \(env\): key .*{reason}", refusal(load))


def test_an_empty_file_of_a_container_is_as_good_as_none(load: Load) -> None:
    """Written from a variable that was not set: the worker waits for its key, and does not end for it."""
    put("secrets/TWELVELABS_API_KEY", "\n")
    assert load().twelvelabs_api_key is None


def test_a_secret_file_that_all_may_read_is_a_warning(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said and not refused; of /run/secrets not even said, as containers mount it for whoever they run as."""
    put("secrets/TWELVELABS_API_KEY", "tlk_1", mode=0o444)
    monkeypatch.setenv("BRIDGE_REDIS_URL_FILE", str(put("r", "redis://h", mode=0o444)))
    (warning,) = load().warnings
    assert "r can be read by every user" in warning


def test_the_key_of_the_demo_is_no_secret(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """config/demo.key is the simulator's, comes with the clone, and can be read by all: there is nothing to warn of."""
    demo = ROOT / "config/demo.key"
    assert demo.read_text().strip() == API_KEY == OF_THE_SIMULATOR
    monkeypatch.setenv("TWELVELABS_API_KEY_FILE", str(put("demo.key", demo.read_text(), mode=0o444)))
    assert load().twelvelabs_api_key == SecretStr(API_KEY)
    assert not load().warnings


def test_foreign_files_beside_the_secrets_are_not_read(load: Load) -> None:
    """A mounted directory may hold other things, binary ones and directories too."""
    put("secrets/other/token", "x")
    Path("secrets/bridge_prefixx").write_bytes(b"\xff")
    assert load().prefix == "bridge:"


@pytest.mark.parametrize("place", ["env", ".env", "config file"])
def test_a_misspelt_name_is_an_error_with_a_suggestion(load: Load, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """A typo must not become a silent default, wherever it stands."""
    if place == "env":
        monkeypatch.setenv("BRIDGE_POL_INTERVAL", "9")
    elif place == ".env":
        put(".env", "BRIDGE_POL_INTERVAL=9\n")
    else:
        put("config/bridge.toml", "pol_interval = 9")
    assert f"({place}): no such setting; did you mean BRIDGE_POLL_INTERVAL_SECONDS?" in refusal(load)


def test_names_of_others_are_tolerated(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CLI's, the test suite's, and what Kubernetes sets for a service called bridge."""
    names = "OUTPUT SOAK TEST_REDIS_SERVER TEST_X SERVICE_HOST PORT PORT_80_TCP_ADDR CONSOLE_SERVICE_PORT_HTTP"
    for name in names.split():
        monkeypatch.setenv(f"BRIDGE_{name}", "tcp://10.0.0.1:80")
    put(".env", "COMPOSE_PROJECT_NAME=x\nBRIDGE_OUTPUT=json\n")
    assert load().prefix == "bridge:"


def test_another_config_file_can_be_named(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """BRIDGE_CONFIG, or `config` from the command line, replaces config/bridge.toml, and must exist."""
    put("config/bridge.toml", 'prefix = "a:"')
    monkeypatch.setenv("BRIDGE_CONFIG", str(put("b.toml", 'prefix = "b:"')))
    assert load().prefix == "b:"
    assert load(config=put("c.toml", 'prefix = "c:"')).prefix == "c:"
    assert "BRIDGE_CONFIG (config file): gone.toml cannot be read" in refusal(load, config="gone.toml")


def test_a_broken_config_file_is_not_quoted(load: Load) -> None:
    """What stands in it may be a secret; the position is enough."""
    put("config/bridge.toml", f"prefix = {CANARY}")
    text = refusal(load)
    assert "not valid TOML (at line 1, column 10)" in text
    assert CANARY not in text


def test_all_that_is_wrong_is_listed_at_once(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error, one line for each knob, with name, place, reason and an example."""
    monkeypatch.setenv("BRIDGE_POLL_INTERVAL_SECONDS", "0.1")
    monkeypatch.setenv("BRIDGE_LOG_LEVEL", "loud")
    monkeypatch.setenv("BRIDGE_NONSENSE", "1")
    put("config/bridge.toml", "poll_workers = 1.5")
    lines = refusal(load, delivery_jitter="x").splitlines()
    assert len(lines) == 6
    assert (
        "  BRIDGE_POLL_INTERVAL_SECONDS (env): must be at least 0.2;"
        " for example BRIDGE_POLL_INTERVAL_SECONDS=5" in lines
    )
    assert any(line.startswith("  BRIDGE_POLL_WORKERS (config file): must be a whole number") for line in lines)


def test_nothing_that_prints_settings_prints_a_secret(load: Load) -> None:
    """Neither repr, str, JSON nor explain; explain keeps the part of the URL that says where it leads."""
    settings = load(
        redis_url=f"redis://me:{CANARY}@cache:6379/1?password={CANARY}",
        twelvelabs_api_key=CANARY,
        delivery_proxy_url=f"http://me:{CANARY}@proxy:3128",
        delivery_default_secret=SIGNING,
    )
    shown = {one.name: one.value for one in explain(settings)}
    for text in (repr(settings), str(settings), settings.model_dump_json(), str(shown)):
        assert CANARY not in text
        assert SIGNING not in text
    assert shown["BRIDGE_REDIS_URL"] == "redis://***@cache:6379/1?***"
    assert shown["TWELVELABS_API_KEY"] == "***"
    assert set(settings.secret_values()) == {CANARY, SIGNING}


def test_an_unreadable_dotenv_is_a_settings_error(load: Load) -> None:
    """Bytes that are no text in .env come as an error of ours."""
    Path(".env").write_bytes(b"BRIDGE_PREFIX=\xff\xfe\n")
    assert ".env cannot be read: it is not UTF-8 text" in refusal(load)


def test_bridge_toml_is_what_the_fields_say(load: Load) -> None:
    """The shipped file is the rendered one, loads, equals the defaults, and describes each knob exactly once."""
    text = (ROOT / "config/bridge.toml").read_text(encoding="utf-8")
    assert text == render_toml()
    put("config/bridge.toml", text)
    assert load().model_dump() == load(config=put("empty.toml", "")).model_dump()
    blocks = [block.splitlines() for block in text.strip().split("\n\n")[1:]]
    names = [re.sub(r"^# ", "", block[-1]).split(" = ")[0] for block in blocks]
    described = [" ".join(line.removeprefix("# ") for line in block[:-1]) for block in blocks]
    assert names == list(Settings.model_fields)
    assert described == [info.description for info in Settings.model_fields.values()]
    hidden = {name for name, info in Settings.model_fields.items() if name not in tomllib.loads(text)}
    secret = {"redis_url", "secrets_key", "twelvelabs_api_key", "delivery_default_secret", "delivery_proxy_url"}
    secret |= {"console_token"}
    assert hidden == secret


def test_every_line_of_bridge_toml_may_be_uncommented(load: Load) -> None:
    """A commented secret that is uncommented and left empty is still not set."""
    put("config/bridge.toml", re.sub(r'(?m)^# (\w+ = "")$', r"\1", render_toml()))
    assert load().twelvelabs_api_key is None


def test_only_settings_read_the_environment() -> None:
    """os.environ and getenv appear in no module but one: cli/stage.py hands the environment on to a child process."""
    guilty = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "bridge").rglob("*.py")
        if path.name != "stage.py"
        and re.search(r"\bos\.(environ|getenv)\b|from os import.*\b(environ|getenv)\b", path.read_text("utf-8"))
    ]
    assert guilty == []


def test_the_module_writes_the_file() -> None:
    """`python -m bridge.settings` prints what config/bridge.toml holds."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge.settings"], capture_output=True, check=True, cwd=ROOT, text=True
    )
    assert done.stdout == render_toml()
