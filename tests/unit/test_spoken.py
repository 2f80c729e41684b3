"""What programs are told to do next is a request, wherever there is one."""

import re

import pytest

from bridge.console.operations import OPERATIONS
from bridge.console.spoken import _REQUESTS, spoken


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("bridge endpoint ls", "GET /api/endpoints"),
        ("bridge endpoint show a, then say it again", "GET /api/endpoints/a, then say it again"),
        ("bridge endpoint enable a has it asked again", "POST /api/endpoints/a/enable has it asked again"),
        ("bridge endpoint add a URL --replace", "PUT /api/endpoints/a"),
        ("bridge delivery retry --force evt_1/a", "POST /api/deliveries/evt_1/a?force=true"),
        ("bridge delivery show evt_1 a", "GET /api/deliveries/evt_1/a"),
        ("register it: bridge task add t1; then look", "register it: PUT /api/tasks/t1; then look"),
        ("ZADD bridge:tasks NX 0 t1", "PUT /api/tasks/t1"),
        ("bridge doctor", "bridge doctor"),
        ("bridge endpoint recover a --reason expired", "bridge endpoint recover a --reason expired"),
        ("bridge delivery retry evt_1 --endpoint a/b", "bridge delivery retry evt_1 --endpoint a/b"),
        ("bridge delivery retry evt_1/a --endpoint b", "bridge delivery retry evt_1/a --endpoint b"),
        ("x -o ids | bridge delivery retry -", "x -o ids | bridge delivery retry -"),
        ("bridge delivery ls --endpoint a -o ids | bridge task add -",) * 2,
        ("bridge task add 'a b'", "bridge task add 'a b'"),
        ("my-bridge task ls, bridge task lsof", "my-bridge task ls, bridge task lsof"),
    ],
)
def test_a_command_is_said_as_a_request(told: str, said: str) -> None:
    """What programs cannot ask for stays as it is, for the operator."""
    assert spoken(told) == said


def test_each_request_is_an_operation() -> None:
    """Nobody is sent to an address that there is not."""
    known = {(one.method, re.sub(r"{\w+}", "x", one.path)) for one in OPERATIONS}
    for _, template in _REQUESTS:
        method, _, path = template.partition(" /api")
        path = path.partition("?")[0].replace("deliveries/{name}", "deliveries/x/x")
        for verb in ("disable", "enable", "recover", "test") if "{verb}" in path else ("",):
            address = re.sub(r"{\w+}", "x", path.replace("{verb}", verb))
            assert (method, address) in known, template
