"""docs/why-no-hook.md walked as it is written, by the command line and by the console, in a town where it is so.

A command of the document is run as it stands there, but for the event's id, which is the one that its scene has. Each
line that the document shows has to be among those that come, but for times, ports and ids.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hookcases import CASES, MANY, NOBODY, UNREACHED, beyond_reach, blocked, brought_about, unbelieved_by_400
from hookscene import TASK, HookScene, a_scene
from until import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TEXT = (Path(__file__).resolve().parents[2] / "docs/why-no-hook.md").read_text()
MOST_STEPS = 3
EVENT = re.compile(r"evt_[0-9a-f]{32}")
LEFT_OUT = "…"
VARIES = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "<moment>"),
    (re.compile(r"\b(in )?\d+(\.\d+)? (ms|s|min|h)( ago)?\b"), "<time>"),
    (EVENT, "<event>"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), r"\1:<port>"),
    (re.compile(r"\b\d{10,13}\b"), "<number>"),
    (re.compile(r"\s+"), " "),
)
"""What differs from run to run."""


@dataclass(frozen=True)
class Section:
    """One reason: the commands with what they show, the pages with what they say, and the words that decide."""

    heading: str
    commands: tuple[tuple[str, str], ...]
    pages: tuple[tuple[str, str], ...]
    answer: str

    @classmethod
    def of(cls, text: str) -> "Section":
        heading, _, rest = text.partition("\n")
        shown = "".join(re.findall(r"```console\n(.*?)```", rest, re.DOTALL))
        commands = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", shown, re.MULTILINE)
        pages = re.findall(r"^\d\. `(/[^`]*)`.*?“([^”]+)”", rest, re.MULTILINE | re.DOTALL)
        (answer,) = re.findall(r"^The answer: \*\*([^*]+)\*\*", rest, re.MULTILINE)
        return cls(heading, tuple(commands), tuple(pages), answer)


SECTIONS = {one.heading: one for one in map(Section.of, re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:])}


def plain(line: str) -> str:
    """A line without what differs from run to run."""
    for pattern, word in VARIES:
        line = pattern.sub(word, line)
    return line.strip()


def as_here(line: str, scene: HookScene) -> str:
    """A command or path with the id of the latest event that there is here."""
    if not EVENT.search(line):
        return line
    return EVENT.sub(scene.twin(f"/tasks/{TASK}")["event_id"], line)


def test_each_reason_has_its_section() -> None:
    """And each section a scene, at most three steps each way, and the words that decide in what it shows."""
    assert list(SECTIONS) == list(CASES)
    for one in SECTIONS.values():
        assert 1 <= len(one.commands) <= MOST_STEPS, one.heading
        assert 1 <= len(one.pages) <= MOST_STEPS, one.heading
        assert one.answer in " ".join(one.commands[-1][1].split()), one.heading
        assert all(command.startswith("bridge ") for command, _ in one.commands)


@pytest.mark.parametrize("heading", list(CASES))
def test_the_steps_lead_to_the_answer(heading: str, tmp_path: Path) -> None:
    """Each line that the document shows comes, and the words that decide are in the last of them, and on the pages."""
    section = SECTIONS[heading]
    with a_scene(tmp_path) as scene, brought_about[heading](scene):
        said = ""
        for command, shown in section.commands:
            said = scene.cli(as_here(command, scene), ok=False)
            came = {plain(line) for line in said.splitlines()}
            missing = [
                line for line in map(plain, shown.splitlines()) if line not in {"", LEFT_OUT} and line not in came
            ]
            assert not missing, f"{command} does not say {missing}, but:\n{said}"
        assert section.answer in " ".join(said.split())
        for path, words in section.pages:
            page = scene.page(as_here(path, scene))
            assert plain(words) in plain(page), f"{path} does not say “{words}”, but:\n{page}"
        assert_linked(scene, [as_here(path, scene) for path, _ in section.pages])


def assert_linked(scene: HookScene, paths: list[str]) -> None:
    """The first page is one that a person can name; each further one is a link on the page before."""
    for before, after in pairwise(paths):
        assert f'href="{after}"' in scene.source(before), f"{before} has no link to {after}"


def test_the_rows_without_a_section_say_what_the_task_says(tmp_path: Path) -> None:
    """What keeps a receiver from being reached, beside that nobody listens; each begins as its row has it."""
    with a_scene(tmp_path) as scene, beyond_reach(scene):
        said = scene.cli(f"bridge task show {TASK}")
        rows = re.findall(r"^\| `last error: (\w+): …` \| [^\[]", TEXT, re.MULTILINE)
        assert rows == list(UNREACHED)
        for fault in rows:
            assert re.search(rf"→ {fault}  pending, .* last error: {fault}: ", said), said


def test_the_row_of_what_is_not_reached_says_what_the_task_and_the_doctor_say(tmp_path: Path) -> None:
    """The worker asks where nobody listens: its task says so, and the doctor has the address."""
    (row,) = re.findall(
        r"^\| `at its latest read, … ago: (connect): …`.*line `(key)` of `(bridge doctor)`", TEXT, re.MULTILINE
    )
    with a_scene(tmp_path, BRIDGE_TWELVELABS_BASE_URL=f"{NOBODY}/v1.3") as scene:
        scene.cli(f"bridge task add {TASK}")
        with scene.working(BRIDGE_TWELVELABS_BASE_URL=f"{NOBODY}/v1.3"):
            said = until(lambda: told if "latest read" in (told := scene.cli(f"bridge task show {TASK}")) else "", 20)
            fault, check, command = row
            assert re.search(rf"! at its latest read, \d+ s ago: {fault}: .* → {command}$", said, re.MULTILINE), said
            looked = scene.cli(command, ok=False)
            assert re.search(rf"✗ {check} +{NOBODY}/v1.3 does not answer", looked), looked
            assert "failed at the latest read, by connect" in scene.cli("bridge status")


def test_three_forbidden_attempts_disable_and_the_first_row_counts(tmp_path: Path) -> None:
    """Of whichever events. To enable it once the setting is mended sends all of it."""
    with a_scene(tmp_path) as scene:
        for _ in blocked(scene):
            said = scene.cli(f"bridge task show {TASK}")
            assert "held: endpoint billing is disabled (blocked)" in said
            first, second = re.findall(r"^\| `([^`]+)` \| \[its address is forbidden\]", TEXT, re.MULTILINE)
            assert first.removesuffix("…)") in said
            assert second.removesuffix("…") in said
        scene.here["BRIDGE_DELIVERY_ALLOW_NETWORKS"] = "127.0.0.0/8"
        with scene.working():
            scene.cli("bridge endpoint enable billing")
            until(lambda: len(scene.receiver.valid) == MANY, 20)


def test_a_receiver_that_answers_400_to_a_signature_is_suspected_too(tmp_path: Path) -> None:
    """As one that says 401: the same advice, in the command line and in the console."""
    with a_scene(tmp_path) as scene:
        for _ in unbelieved_by_400(scene):
            event_id = scene.events(1)[0]
            for said in (scene.cli(f"bridge task show {TASK}"), scene.page(f"/deliveries/{event_id}/billing")):
                assert "HTTP 400" in said
                assert "the receiver holds another secret?" in said
