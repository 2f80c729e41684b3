"""The package as it is installed: built from the checkout, run where the checkout is not to be found."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from until import until

from bridge import __version__
from bridge.deployment import with_extra
from bridge.sandbox.redis_binary import find_binary
from bridge.store.scripts import script_names

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.xdist_group("wheel")]

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the backend that pyproject.toml names, without network."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bridge` of a virtual environment: the unpacked wheel, and our dependencies without the checkout's own link."""
    environment = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
        (name,) = (one for one in archive.namelist() if one.endswith("entry_points.txt"))
        match = re.search(r"^bridge = ([\w.]+):(\w+)$", archive.read(name).decode(), re.MULTILINE)
    assert match
    # A path named in a .pth file is searched, but the .pth files in it are not read: so the checkout stays unknown.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = environment / "bin/bridge"
    script.write_text(f"#!{environment}/bin/python\nfrom {match[1]} import {match[2]}\n{match[2]}()\n")
    script.chmod(0o755)
    return script


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Call it in an empty directory."""

    def call(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "NO_COLOR": "1", **more}
        return subprocess.run(
            [str(installed), *words], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=100
        )

    return call


def test_the_wheel_carries_its_scripts_and_templates_and_nothing_else(wheel: Path) -> None:
    """Each Lua verb, both templates as they stand in config/, no test and no setting of ours."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert {f"bridge/store/lua/{name}.lua" for name in script_names()} <= names
        for name in ("endpoints.toml", "redis.conf"):
            assert archive.read(f"bridge/templates/{name}") == (ROOT / "config" / name).read_bytes()
    assert {name.partition("/")[0] for name in names} == {"bridge", f"bridge_for_twelvelabs-{__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".env"))]


def test_what_lacks_an_extra_names_this_file(wheel: Path) -> None:
    """As it lies where it was made: a name would be looked for on the package index, where it is not ours."""
    assert f"pip install '{wheel.name}[otel]' " in with_extra("otel")
    for page in ("how-to/install.md", "tracing.md"):
        assert set(re.findall(r"bridge_for\S+?\.whl", (ROOT / "docs" / page).read_text())) == {wheel.name}, page


def test_the_installed_package_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    """What the tests below say of it they would otherwise say of this directory."""
    code = "import bridge, sys; print(bridge.__file__, *sys.path, sep='\\n')"
    python = str(installed.parent / "python")
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    file, *path = done.stdout.splitlines()
    assert Path(file).is_relative_to(installed.parents[1])
    assert str(ROOT) not in path


def test_it_says_its_version_and_its_contract(run: Run) -> None:
    """Without settings, Redis or checkout."""
    assert run("--version").stdout == f"bridge, version {__version__}\n"
    done = run("contract", "show", "endpoint")
    assert (done.returncode, done.stdout) == (0, (ROOT / "docs/contract/endpoint.schema.json").read_text())


def test_the_demo_works(run: Run) -> None:
    """Every Lua script of the main job, its own Redis, the real worker in processes of its own."""
    done = run("demo", "-o", "json")
    assert done.returncode == 0, done.stderr
    tally = json.loads(done.stdout)
    assert (tally["tasks"], tally["ready"], tally["lost"], tally["duplicates"]) == (6, 5, 0, 0)


@contextmanager
def process(*command: str, directory: Path, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process for the length of the block."""
    log = (directory / "log").open("ab")
    with log, subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log) as started:
        try:
            yield started
        finally:
            started.terminate()
            started.wait(30)


def test_the_commands_that_init_names_work(run: Run, installed: Path, tmp_path: Path) -> None:
    """From an empty directory to a task in the hands of a worker, by init's own lines and files."""
    done = run("init")
    assert (done.returncode, done.stdout.count("created")) == (0, 6)
    lines = [line.split() for line in done.stderr.splitlines() if line.startswith("  ")]
    assert [line[0] for line in lines] == ["redis-server", *[lines[1][0]] * 3]
    assert (tmp_path / lines[1][0]).resolve() == installed.resolve() or lines[1][0] == "bridge"
    socket = str(tmp_path / "socket")
    environment = {
        **os.environ,
        "BRIDGE_REDIS_URL": f"unix://{socket}",
        "BRIDGE_TWELVELABS_BASE_URL": "http://127.0.0.1:1/",
        "TWELVELABS_API_KEY": "tlk_x",
    }
    redis = [str(find_binary()), lines[0][1], "--port", "0", "--unixsocket", socket]
    worker = [str(installed), *lines[1][1:-1]]
    with process(*redis, directory=tmp_path, environment=environment):
        until(lambda: Path(socket).exists())
        with process(*worker, directory=tmp_path, environment=environment), Redis(unix_socket_path=socket) as client:
            words = {"NAME": "billing", "https://…": "https://example.com/hook", "TASK_ID": "t1"}
            for line in lines[2:]:
                done = run(*(words.get(word, word) for word in line[1:]), **environment)
                assert done.returncode == 0, done.stderr
            done = run("task", "add", "t2", "--callback-url", "https://example.com/", **environment)
            assert done.returncode == 0, done.stderr
            done = run("import", "config/endpoints.toml", **environment)
            assert done.returncode == 0, done.stderr
            until(lambda: client.zcard("bridge:watch") == 2 and client.zcard("bridge:workers:deliver"), 30)
            assert client.hlen("bridge:registry") == 2
            assert client.hlen("bridge:rejected") == 0
