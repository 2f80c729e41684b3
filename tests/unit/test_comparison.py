"""docs/comparison.md claims nothing that no test shows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split(" | ")]
    for line in (ROOT / "docs/comparison.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| | ") and not line.startswith("| ---")
]
PROOF = re.compile(r"`(tests/[a-z0-9_/]+\.py)(?:::(test_[a-z0-9_]+))?`")


def test_every_row_is_whole_and_has_a_proof_or_a_reason() -> None:
    """Seven cells; the last one names a test or says in words why there is none."""
    assert len(ROWS) >= 30
    for row in ROWS:
        assert len(row) == 7, row
        assert PROOF.search(row[6]) or len(row[6].split()) >= 1, row
        if row[1] in {"no", "not yet"}:
            assert not PROOF.search(row[6]), row


def test_every_proof_is_a_test_that_exists() -> None:
    """By file, and by name where one is given."""
    found = [match for row in ROWS for match in PROOF.findall(row[6])]
    assert len(found) >= 25
    for path, name in found:
        text = (ROOT / path).read_text()
        assert not name or re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), (path, name)
