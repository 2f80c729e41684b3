"""`bridge init`: what a newcomer needs, in an empty directory and in one that is not."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from bridge.settings import render_toml
from bridge.signature import parse_secret

Bridge = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[2]
SECRET = "config/secrets/bridge_delivery_default_secret"
FILES = [
    "config/bridge.toml",
    "config/endpoints.toml",
    "config/redis.conf",
    "config/secrets/.gitignore",
    SECRET,
    ".env",
]


def found_in(directory: Path) -> dict[str, bytes]:
    """Every file there, with what it holds."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_an_empty_directory_gets_what_it_takes(bridge: Bridge, tmp_path: Path) -> None:
    """Settings, endpoints and redis.conf as we ship them, and a secret of its own that only its owner can read."""
    code, out, told = bridge("init", "--json")
    assert (code, [(row["result"], row["file"]) for row in json.loads(out)]) == (0, [("created", one) for one in FILES])
    found = found_in(tmp_path)
    assert sorted(found) == sorted(FILES)
    assert found["config/bridge.toml"].decode() == render_toml()
    for name in ("config/endpoints.toml", "config/redis.conf", "config/secrets/.gitignore"):
        assert found[name] == (ROOT / name).read_bytes()
    parse_secret(found[SECRET].decode().strip())
    modes = [(tmp_path / one).stat().st_mode & 0o777 for one in (SECRET, ".env", "config/secrets")]
    assert modes == [0o600, 0o600, 0o700]
    assert found[SECRET].decode().strip() not in out + told
    assert "Next" in told


def test_what_was_written_is_in_force(bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """Every later command in this directory finds the secret, and warns of nothing; the settings are the defaults."""
    bridge("init")
    for name in ("BRIDGE_DELIVERY_ALLOW_NETWORKS", "BRIDGE_DELIVERY_ALLOW_HTTP"):
        monkeypatch.delenv(name)
    code, out, told = bridge("config", "check")
    assert (code, out, told) == (0, "The configuration is valid.\n", "")
    shown = {row["setting"]: row for row in json.loads(bridge("config", "show", "--json")[1])}
    assert shown["BRIDGE_DELIVERY_DEFAULT_SECRET"] == {
        "setting": "BRIDGE_DELIVERY_DEFAULT_SECRET",
        "value": "***",
        "source": ".env",
    }
    assert bridge("import", "config/endpoints.toml")[0] == 0
    assert bridge("task", "add", "t1", "--callback-url", "https://example.com/hook")[0] == 0


def test_the_lines_that_it_comments_out_are_settings(bridge: Bridge, tmp_path: Path) -> None:
    """Uncommented one by one, each is understood."""
    bridge("init")
    settings = re.findall(r"^# ([A-Z_]+=\S+)$", (tmp_path / ".env").read_text(), re.MULTILINE)
    assert len(settings) == 6
    (tmp_path / "config/secrets/twelvelabs_api_key").write_text("tlk_x")
    (tmp_path / "config/secrets/twelvelabs_api_key").chmod(0o600)
    for line in settings:
        (tmp_path / ".env").write_text(line.replace("…", "x") + "\n")
        assert bridge("config", "check")[::2] == (0, ""), line


def test_it_overwrites_nothing(bridge: Bridge, tmp_path: Path) -> None:
    """Repeated, it keeps all; what a person wrote, or linked to nowhere, is kept too, and only the rest is created."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/redis.conf").write_text("mine")
    (tmp_path / "config/endpoints.toml").symlink_to("nowhere")
    code, out, _ = bridge("init", "--json")
    results = {row["file"]: row["result"] for row in json.loads(out)}
    assert (code, [one for one in FILES if results[one] == "kept"]) == (
        0,
        ["config/endpoints.toml", "config/redis.conf"],
    )
    assert not (tmp_path / "config/nowhere").exists()
    before = found_in(tmp_path)
    code, out, told = bridge("init")
    assert (code, out.count("kept"), found_in(tmp_path)) == (0, 6, before)
    assert told == "All of it was there, and is as it was. What is still missing, and what mends it: bridge doctor\n"
    assert before["config/redis.conf"] == b"mine"


def test_a_dry_run_writes_nothing(bridge: Bridge, tmp_path: Path) -> None:
    """It names each file."""
    code, out, told = bridge("init", "--dry-run")
    assert (code, [line.split()[-1] for line in out.splitlines()[1:]]) == (0, FILES)
    assert "Nothing was written" in told
    assert list(tmp_path.iterdir()) == []


def test_a_dotenv_that_was_there_is_told_what_it_lacks(bridge: Bridge, tmp_path: Path) -> None:
    """Else the new secret would sign nothing, and nobody would know why."""
    line = f"BRIDGE_DELIVERY_DEFAULT_SECRET_FILE={SECRET}"
    (tmp_path / ".env").write_text("BRIDGE_LOG_LEVEL=DEBUG\n")
    assert f"add this line: {line}" in bridge("init")[2]
    (tmp_path / ".env").write_text(line + "\n")
    assert "add this line" not in bridge("init")[2]


def test_containers_run_as_whoever_may_read_the_secret(bridge: Bridge, tmp_path: Path) -> None:
    """RUN_AS, by which docker-compose.yml chooses its user, is the owner of what was written; a kept .env is told."""
    (tmp_path / ".env").write_text("BRIDGE_LOG_LEVEL=DEBUG\n")
    told = bridge("init")[2]
    owner = (tmp_path / SECRET).stat()
    line = f"RUN_AS={owner.st_uid}:{owner.st_gid}"
    assert f"echo {line} >> .env" in told
    (tmp_path / ".env").unlink()
    assert "RUN_AS" not in bridge("init")[2]
    assert line in (tmp_path / ".env").read_text().splitlines()
    assert "${RUN_AS:-" in (ROOT / "docker-compose.yml").read_text()


@pytest.mark.parametrize("taken", ["config", "config/secrets"])
def test_a_place_that_is_taken_is_an_error(bridge: Bridge, tmp_path: Path, taken: str) -> None:
    """Exit code 1, why, and what to do."""
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("a file")
    code, _, told = bridge("init")
    assert (code, f"{taken} is not a directory" in told, "→" in told) == (1, True, True)
    assert (tmp_path / taken).read_text() == "a file"


def test_a_file_that_cannot_be_written_whole_is_not_left_behind(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: what is there next time is kept, so half a secret must not be there."""

    class Full:
        def __init__(self, descriptor: int, mode: str) -> None:
            os.close(descriptor)

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            raise OSError(28, "No space left on device")

        def write(self, _: bytes) -> None:
            """Buffered; the disk is full when it is closed."""

    monkeypatch.setattr("bridge.cli.init.os.fdopen", Full)
    code, _, told = bridge("init")
    assert (code, "No space left" in told, found_in(tmp_path)) == (1, True, {})
