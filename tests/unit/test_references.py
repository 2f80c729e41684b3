"""docs/cli.md, docs/settings.md and docs/metrics.md are what their generators write today."""

import re
from pathlib import Path

from bridge.cli import COMMANDS, reference, reference_metrics, reference_settings
from bridge.settings import Settings
from bridge.settings_sources import shown_name

DOCS = Path(__file__).resolve().parents[2] / "docs"
STALE = "docs/{0}.md is not what the code says; run: .venv/bin/python -m bridge.cli.{1} > docs/{0}.md"


def test_the_reference_of_the_command_line_is_up_to_date() -> None:
    """Each command, with every option and example that its help has."""
    written, text = reference.render(), (DOCS / "cli.md").read_text()
    assert text == written, STALE.format("cli", "reference")
    assert all(f"\n## bridge {name}\n" in text for name in COMMANDS)
    assert "\x1b" not in text


def test_the_reference_of_the_settings_is_up_to_date() -> None:
    """Each setting, under the name that it has in the environment."""
    written, text = reference_settings.render(), (DOCS / "settings.md").read_text()
    assert text == written, STALE.format("settings", "reference_settings")
    assert all(f"\n| `{shown_name(name)}` |" in text for name in Settings.model_fields)


def test_each_heading_of_the_settings_stands_once() -> None:
    """Whoever jumps to a heading finds all that belongs there, wherever a setting stands among the others."""
    headings = re.findall(r"^## .+", reference_settings.render(), re.MULTILINE)
    assert headings[-6:] == [
        f"## {one}" for one in ("Redis", "TwelveLabs", "Polling", "Delivery", "Retention", "Running")
    ]
    assert len(set(headings)) == len(headings)


def test_the_reference_of_the_metrics_is_up_to_date() -> None:
    """Each metric, with its labels and what it tells."""
    written, text = reference_metrics.render(), (DOCS / "metrics.md").read_text()
    assert text == written, STALE.format("metrics", "reference_metrics")
    assert text.count("\n| `bridge_") > 25


def test_markdown_finds_no_markup_in_a_help_text() -> None:
    """What a terminal shows as it is would be a bold word, a tag or a link here; code stays as it is."""
    assert reference.escaped("index.task.* of <id> [x] in `a*<b>`") == r"index.task.\* of \<id> \[x\] in `a*<b>`"
    assert reference.cell("a|b") == r"a\|b"
