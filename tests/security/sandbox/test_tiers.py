"""Which tier is taken, and what the project profile gives back and still takes away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crucible.errors import SandboxUnavailableError
from crucible.security.base import Sandbox
from crucible.security.sandbox import probe
from crucible.security.sandbox.probe import observe, select_sandbox
from crucible.security.sandbox.tiers import BubblewrapSandbox
from crucible.types import Limits

pytestmark = pytest.mark.sandbox
SHORT = Limits(wall_s=5, cpu_s=5, memory_mib=256)


@pytest.fixture(autouse=True)
def observed_anew() -> Iterator[None]:
    probe._selected.cache_clear()
    yield
    probe._selected.cache_clear()


@pytest.fixture(scope="module")
def project() -> Sandbox:
    try:
        return select_sandbox("A", "project")
    except SandboxUnavailableError as error:
        pytest.skip(f"the project profile: {error}")


def without_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crucible.security.sandbox.tiers.shutil.which", lambda *_, **__: None)


def without_user_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """bubblewrap itself says what it says where the kernel gives it no namespace."""
    argv = BubblewrapSandbox._argv
    monkeypatch.setattr(
        BubblewrapSandbox, "_argv", lambda self, size: [*argv(self, size)[:1], "--userns", "99", *argv(self, size)[1:]]
    )


def test_a_missing_bubblewrap_is_no_reason_for_the_weaker_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    without_bubblewrap(monkeypatch)
    with pytest.raises(SandboxUnavailableError, match="apt-get install bubblewrap"):
        select_sandbox()


def test_missing_user_namespaces_are(monkeypatch: pytest.MonkeyPatch) -> None:
    without_user_namespaces(monkeypatch)
    assert select_sandbox().tier == "B"


def test_a_tier_that_was_asked_for_is_that_one_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    without_user_namespaces(monkeypatch)
    with pytest.raises(SandboxUnavailableError, match="tier A"):
        select_sandbox("A")


def test_a_kernel_without_landlock_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    without_user_namespaces(monkeypatch)
    monkeypatch.setattr("crucible.security.sandbox.tiers._DEVICES", ("/dev/null", "/dev/no-such-device-to-open"))
    monkeypatch.setattr("crucible.security.sandbox.tiers.Path.exists", lambda _: True)
    with pytest.raises(SandboxUnavailableError, match=r"tier A: .*tier B: "):
        select_sandbox()


def test_projects_have_no_tier_b() -> None:
    with pytest.raises(SandboxUnavailableError, match="needs tier A"):
        select_sandbox("B", "project")


def test_a_project_holds_what_it_promises(project: Sandbox) -> None:
    report = observe(project)
    assert report.ok, [item for item in report.properties if not item.held]


@pytest.mark.parametrize(
    "program",
    [
        "import subprocess; print(subprocess.run(['/bin/echo', 'yes'], capture_output=True, text=True).stdout)",
        "import multiprocessing as m\nif __name__ == '__main__':\n    with m.get_context('fork').Pool(2) as p:\n"
        "        print('yes' if p.map(abs, [-1]) == [1] else 'no')",
        "import os\nif os.fork() == 0:\n    os._exit(7)\nprint('yes' if os.waitstatus_to_exitcode(os.wait()[1]) == 7 else 'no')",
    ],
    ids=["subprocess", "multiprocessing", "fork"],
)
def test_a_project_may_start_processes(project: Sandbox, program: str) -> None:
    done = project.run(program, limits=SHORT)
    assert done.stdout.strip() == "yes", done


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.socket()",
        "import socket; socket.socket(40, socket.SOCK_STREAM)",
        "import subprocess; subprocess.run(['/usr/bin/unshare', '-U', 'true'], check=True)",
        "import ctypes; ctypes.CDLL(None).unshare(0x10000000) == 0 or 1 / 0",
        "open('/etc/passwd')",
        "open('/usr/x', 'w')",
    ],
)
def test_a_project_may_not(project: Sandbox, program: str) -> None:
    assert project.run(program, limits=SHORT).status == "error"


def test_processes_of_a_project_end_with_it(project: Sandbox) -> None:
    done = project.run(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\nprint('left')", limits=SHORT
    )
    assert done.stdout == "left\n" and done.wall_s < 4
