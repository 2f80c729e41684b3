"""The house's own laws: imports run one way, scripts say what they take, the architecture page tells the truth."""

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.store.keys import ALONE, BEFORE_A_COLON, Keys
from bridge.store.scripts import script_names, script_text

ROOT = Path(__file__).resolve().parents[2]


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    """What `make check` runs."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, env={"PYTHONPATH": str(checkout)})


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("diff.py", "import bridge.store"),
        ("poll.py", "import redis"),
        ("store/outbox.py", "import bridge.poll"),
        ("model.py", "import bridge.settings"),
        ("sender.py", "import httpx"),
        ("schedule.py", "import random"),
        ("twelvelabs.py", "import bridge.sender"),
    ],
)
def test_a_planted_wrong_import_turns_the_check_red(tmp_path: Path, module: str, line: str) -> None:
    """The import law is a test of the code, not a picture of it."""
    shutil.copytree(ROOT / "bridge", tmp_path / "bridge", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "bridge" / module
    planted.write_text(planted.read_text() + f"\n{line}\n")
    answer = lint_imports(tmp_path)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "BROKEN" in answer.stdout


@pytest.mark.parametrize("name", script_names())
def test_every_script_says_what_it_takes_and_replies(name: str) -> None:
    """A Lua verb begins with #!lua and a header of ARGV and Reply; before Redis 7 the first line goes."""
    body = (ROOT / "bridge/store/lua" / f"{name}.lua").read_text()
    header = body[: re.search(r"^[^-#]", body, re.MULTILINE).start()]  # type: ignore[union-attr]
    assert "-- ARGV" in header
    assert "-- Reply" in header
    assert script_text(name, shebang=True).startswith("#!lua")
    assert not script_text(name, shebang=False).startswith("#!")


def named_keys() -> set[str]:
    """The keys that scripts, Python and `Keys` itself name, as they look without a prefix."""
    lua = "\n".join(one.read_text() for one in (ROOT / "bridge/store/lua").rglob("*.lua"))
    python = "\n".join(one.read_text() for one in (ROOT / "bridge").rglob("*.py"))
    words = re.findall(r"P \.\. '([a-z_]+)(:?)", lua) + re.findall(r"keys\(\"([a-z_]+)\"(,?)", python)
    for several in re.findall(r"for what, wanted in pairs\({(.*?)}\)", lua):
        words += re.findall(r"([a-z_]+)( )=", several)
    found = {f"{word}:x" if goes_on else word for word, goes_on in words}
    keys = Keys("")
    for name, member in vars(Keys).items():
        if isinstance(member, property):
            found.add(getattr(keys, name))
        elif inspect.isfunction(member) and name[0] != "_" and name != "ours":
            found.add(getattr(keys, name)(*["x"] * (len(inspect.signature(member).parameters) - 1)))
    return found


def test_every_key_that_is_named_anywhere_is_known_as_ours() -> None:
    """The doctor tells people to delete every other one."""
    named, keys = named_keys(), Keys("")
    assert {"tasks", "task:x", "fanout", "fanout:x", "spent:x", "leases:x", "line:x:x", "aside:x"} <= named
    assert [one for one in sorted(named) if not keys.ours(one)] == []
    words = {one.partition(":")[0] for one in named}
    assert words >= ALONE | BEFORE_A_COLON
    assert not any(map(keys.ours, ("queue", "tasks:x", "taskoptions", "task", "")))


def test_nothing_in_the_project_names_a_machine() -> None:
    """No path of a machine, no registry host, no workplace tool in what is committed."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    forbidden = re.compile("|".join(("/wor" + "k/", r"\.\./sha" + "red", "/r" + "oot/", r"pypi\.or" + "g", r"npmjs\.")))
    for name in listing.stdout.split():
        path = ROOT / name
        if path.is_file() and path.suffix not in {".lock", ".png"}:
            found = forbidden.search(path.read_text(errors="replace"))
            assert not found, f"{name}: {found and found.group()}"


PROMISE = re.compile(r"^\| (P\d+) [^|]*\| `([^`]+)` \| `([^`]+)` \|$", re.MULTILINE)


def test_every_promise_has_a_module_and_a_test_that_exist() -> None:
    """The table of docs/architecture.md names real files and real tests, for each of P1 to P10."""
    rows = PROMISE.findall((ROOT / "docs/architecture.md").read_text())
    assert [name for name, _, _ in rows] == [f"P{n}" for n in range(1, 11)]
    for _, module, test in rows:
        assert (ROOT / module).is_file(), module
        file, _, function = test.partition("::")
        assert f"def {function}" in (ROOT / file).read_text(), test
