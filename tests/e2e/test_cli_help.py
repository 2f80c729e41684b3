"""Every help page, of the program, of each noun and of each verb: what stands on it, and how it looks when narrow."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bridge.cli import bridge, run
from bridge.cli.reference import Page, pages

ROOT = Path(__file__).resolve().parents[2]
EVERY = list(pages(bridge))
WIDTHS = (60, 80, 120)
CONTINUED = " \\"


def shown(page: Page, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a page as a pipe of this many columns gets them."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert run([*page.words, "--help"]) == 0
    out, told = capsys.readouterr()
    assert told == ""
    return out.splitlines()


def examples(lines: list[str]) -> list[str]:
    """The commands under Examples, those that go on over several lines put together again, as a shell does."""
    start = lines.index(" Examples:")
    block = "\n".join(lines[start + 1 :]).partition("\n\n")[0]
    return block.replace(CONTINUED + "\n", " ").split("\n")


@pytest.mark.parametrize("page", EVERY, ids=lambda page: page.path)
def test_every_help_has_examples_of_its_own_command(
    page: Page, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program, the nouns and the verbs; what a help page shows is what the reference is made of."""
    found = [re.sub(" +", " ", line.strip()) for line in examples(shown(page, 80, capsys, monkeypatch))]
    assert found == [re.sub(" +", " ", line) for line in page.examples]
    assert any(re.search(rf"(^|\| ){page.path}\b", line) for line in found), found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", EVERY, ids=lambda page: page.path)
def test_a_help_page_keeps_to_its_width_and_its_shape(
    page: Page, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is wider, none ends in blanks, paragraphs stand apart, and an example goes on as a shell reads it."""
    lines = shown(page, width, capsys, monkeypatch)
    assert [line for line in lines if len(line) > width or line != line.rstrip()] == []
    assert lines[lines.index(" Examples:") - 1] == ""
    block = lines[lines.index(" Examples:") + 1 :]
    block = block[: block.index("")]
    for before, line in zip(["", *block], block, strict=False):
        assert re.match("     \\S" if before.endswith(CONTINUED) else "   \\S", line), line


@pytest.mark.parametrize("page", EVERY, ids=lambda page: page.path)
def test_the_words_of_a_choice_stay_in_one_piece(
    page: Page, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at forty columns: `[table|json|jsonl|i` and `ds]` below it can be read by nobody."""
    text = "\n".join(shown(page, 40, capsys, monkeypatch))
    for parameter in page.command.params:
        if isinstance(parameter.type, click.Choice):
            for word in map(str, parameter.type.choices):
                assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), (parameter.name, word)


def test_no_color_and_a_pipe_mean_no_escapes() -> None:
    """A pipe gets plain text whatever TERM says; NO_COLOR is obeyed where colour would be forced."""
    for more in ({"TERM": "xterm-256color"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}):
        environment = {"PATH": os.environ["PATH"], "COLUMNS": "80", **more}
        command = [sys.executable, "-m", "bridge", "task", "add", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=True)
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", done.stdout), more
    assert "\x1b" not in done.stdout or "FORCE_COLOR" in environment
