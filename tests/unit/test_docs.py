"""The documents hold together: links lead somewhere, both indexes name every page, and commands are ones that exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bridge.cli import bridge

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|^ {4,}.*?$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LLMS = (ROOT / "llms.txt").read_text()


def anchors(page: Path) -> set[str]:
    """The places of a page, as their headings name them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_each_link_leads_somewhere(name: str) -> None:
    """To a file that is there, and a heading that it has."""
    page = ROOT / name
    for target in LINK.findall(CODE.sub("", page.read_text())):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, place = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name}: {target}"
        assert not place or place in anchors(found), f"{name}: {target}"


def test_llms_txt_is_of_the_form_of_llmstxt_org() -> None:
    """One title, a summary in a quotation, then lists of links under headings, a line for each link."""
    title, summary, *_ = [line for line in LLMS.splitlines() if line]
    assert title.startswith("# ")
    assert summary.startswith("> ")
    assert len(re.findall(r"^# ", LLMS, re.MULTILINE)) == 1
    for section in LLMS.split("\n## ")[1:]:
        _, *lines = [line for line in section.splitlines() if line]
        assert lines
        assert all(re.fullmatch(r"- \[[^\]]+\]\([^)]+\): \S.*", line) for line in lines)


@pytest.mark.parametrize(("index", "folder"), [("llms.txt", "."), ("docs/README.md", "docs")])
def test_an_index_names_every_document_and_no_other(index: str, folder: str) -> None:
    """A page that is new, moved or gone has to be told there, too."""
    base = (ROOT / folder).resolve()
    targets = [(base / target).resolve() for target in LINK.findall((ROOT / index).read_text())]
    assert all(target.exists() for target in targets)
    assert len(targets) == len(set(targets))
    named = {target / "README.md" if target.is_dir() else target for target in targets}
    assert {page for page in (ROOT / "docs").rglob("*.md") if page != ROOT / index} <= named


def commands(page: Path) -> Iterator[str]:
    """The lines that are meant for a shell and begin with `bridge`; of a pipe each such part."""
    text = page.read_text()
    blocks = re.findall(r"^ *```(?:sh|console)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    for line in "".join(blocks).splitlines():
        for part in re.split(r" \| ", line.strip().removeprefix("$ ").strip("()")):
            if part.startswith("bridge "):
                yield part
    yield from re.findall(r"`(bridge [^`…]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def unknown_words(line: str) -> list[str]:
    """What of a command there is not: a verb, or an option."""
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = bridge
    context = click.Context(command, info_name="bridge")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            return [words[0]]
        command, words = found, words[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    known = {name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)}
    return [word for word in words if word.startswith("-") and word != "-" and word.split("=")[0] not in known]


@pytest.mark.parametrize("name", ["docs/why-no-hook.md", *(name for name in NAMES if name.startswith("docs/how-to/"))])
def test_a_command_of_a_guide_exists(name: str) -> None:
    """With each option that is named; a command that was renamed is renamed there, too."""
    found = list(commands(ROOT / name))
    assert found or name.endswith(("kubernetes.md",))
    assert {line: unknown for line in found if (unknown := unknown_words(line))} == {}


def test_a_command_that_is_none_is_seen() -> None:
    """The check is one."""
    assert unknown_words("bridge endpoint turn billing") == ["turn"]
    assert unknown_words("bridge endpoint rotate billing --overlapp 0") == ["--overlapp"]


def test_what_a_guide_has_one_write_beside_us_is_ignored_by_git() -> None:
    """A token and secrets: whoever follows it in a clone commits none of them."""
    written = re.findall(r"> ([\w.]+)\)$", (ROOT / "docs/http-api.md").read_text(), re.MULTILINE)
    assert {"bridge.curl", "secret.json"} <= set(written)
    assert {f"/{name}" for name in written} <= set((ROOT / ".gitignore").read_text().splitlines())
