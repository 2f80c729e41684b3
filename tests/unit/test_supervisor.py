"""What a supervisor calls its workers."""

from types import SimpleNamespace

import pytest

from bridge.settings import load_settings
from bridge.supervisor import Child, Supervisor


def test_workers_in_two_containers_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process ids are alike in all containers, host names in some: one's worker must not stand for another's."""
    monkeypatch.setattr("bridge.supervisor.subprocess.Popen", lambda *_, **__: SimpleNamespace(pid=7, stdin=None))
    monkeypatch.setattr("bridge.supervisor.socket.gethostname", lambda: "localhost")
    supervisors = [Supervisor({}, load_settings()) for _ in range(2)]
    names = {Child("poll", supervisor.name).name for supervisor in supervisors}
    assert len(names) == 2


@pytest.mark.parametrize("key", ["", "tlk_do_not_show"], ids=["keyless", "keyed"])
def test_workers_say_whether_they_have_a_key(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """So that a shell without one raises no false alarm; the key itself is not in it."""
    monkeypatch.setenv("TWELVELABS_API_KEY", key)
    supervisor = Supervisor({}, load_settings())
    assert supervisor.keyed("poll") == (":keyed" if key else ":keyless")
    assert supervisor.keyed("deliver") == ""
