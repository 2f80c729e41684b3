"""What we sign, the official library for Node accepts, and what it signs, we do."""

import json
import random
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nodejs import modules_with

from bridge.signature import Signer, generate_secret, verify

MESSAGES = 200
PROGRAM = """
import { Webhook, WebhookVerificationError } from "standardwebhooks";
import { readFileSync } from "node:fs";
const signed = JSON.parse(readFileSync(0, "utf8")).map(({ secret, headers, body }) => {
  const webhook = new Webhook(secret);
  const accepts = (text) => {
    try { webhook.verify(text, headers); return true; }
    catch (error) { if (error instanceof WebhookVerificationError) return false; throw error; }
  };
  const when = new Date(Number(headers["webhook-timestamp"]) * 1000);
  const theirs = webhook.sign(headers["webhook-id"], when, body);
  return { accepted: accepts(body), altered: accepts(body + " "), theirs };
});
console.log(JSON.stringify(signed));
"""


def test_the_library_for_node_agrees(tmp_path: Path) -> None:
    """Two hundred messages, half of them signed with an older secret beside; a byte more is refused."""
    (tmp_path / "node_modules").symlink_to(modules_with("standardwebhooks"))
    (tmp_path / "conformance.mjs").write_text(PROGRAM)
    draw, now = random.Random(7), int(datetime.now(UTC).timestamp())
    other, messages = generate_secret(draw.randbytes(32)), list[dict[str, Any]]()
    for number in range(MESSAGES):
        secret = generate_secret(draw.randbytes(draw.randint(24, 64)))
        body = json.dumps({"type": "index.task.ready", "data": {"filename": chr(draw.randint(32, 0xD000)) * number}})
        signer = Signer([other, secret] if number % 2 else [secret])
        headers = dict(signer.headers(f"evt_{number}", now, body.encode()))
        messages.append({"secret": secret, "headers": headers, "body": body})
    command = ["node", "conformance.mjs"]
    done = subprocess.run(command, cwd=tmp_path, input=json.dumps(messages), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for message, said in zip(messages, json.loads(done.stdout), strict=True):
        assert (said["accepted"], said["altered"]) == (True, False)
        theirs = {**message["headers"], "webhook-signature": said["theirs"]}
        assert verify([message["secret"]], theirs, message["body"].encode(), now) is None
        assert said["theirs"] in message["headers"]["webhook-signature"].split(" ")
