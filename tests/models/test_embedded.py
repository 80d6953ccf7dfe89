"""The embedded engine's child process: it starts, crashes, is started anew, and never outlives its parent.

What concerns the process runs with the prebuilt library and, where it was compiled, with the native program; the contract
suite runs over both.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from crucible.errors import EngineCrashedError, EngineError, InputError, ModelUnavailableError, StoreError
from crucible.models.llama.embedded import SHARE_FROM_CHARS, EmbeddedModel
from crucible.models.llama.process import usable_cores
from crucible.models.weights.lora import convert
from crucible.types import Message, Sampling
from tests.models.adapting import random_adapter
from tests.models.serving import native_program, serve, small_model

pytestmark = pytest.mark.model

ASK = [Message(role="user", content="Tell a long story about a fox and a crow.")]
LONG = Sampling(max_tokens=700, temperature=1.0, seed=5)


@pytest.fixture(scope="module")
def path() -> Path:
    return small_model()


@pytest.fixture(params=["prebuilt", "native"])
def program(request: pytest.FixtureRequest) -> Path | None:
    return native_program() if request.param == "native" else None


@pytest.fixture
def model(path: Path, tmp_path: Path) -> Iterator[EmbeddedModel]:
    with serve(path, log_dir=tmp_path / "logs") as engine:
        yield engine


def kill_at(count: int, model: EmbeddedModel, times: int = 1) -> Callable[[int, str], None]:
    """An on_delta that kills the child at the `count`th text, and again so many after every restart."""
    heard, killed = [0], list[int]()

    def hear(_: int, __: str) -> None:
        heard[0] += 1
        if heard[0] >= count and len(killed) < times and model.pid not in killed:
            heard[0] = 0
            killed.append(model.pid)
            os.kill(model.pid, signal.SIGKILL)

    return hear


def test_a_crash_is_mended_once_and_said(model: EmbeddedModel) -> None:
    first = model.pid
    samplings = [
        Sampling(max_tokens=2, seed=1),
        Sampling(max_tokens=60, temperature=1.0, seed=2),
        Sampling(max_tokens=7),
    ]
    drawn = model.generate(ASK, samplings, on_delta=kill_at(20, model))
    assert [completion.completion_tokens for completion in drawn] == [2, 60, 7]
    assert all(completion.finish_reason == "length" for completion in drawn)
    assert model.pid != first and not psutil.pid_exists(first)
    (notice,) = model.notices()
    assert "died (exit code -9) and was started again" in notice
    assert model.notices() == []


def test_a_second_crash_is_an_error(model: EmbeddedModel) -> None:
    with pytest.raises(EngineCrashedError, match=r"died twice \(exit code -9"):
        model.generate(ASK, [LONG, LONG], on_delta=kill_at(5, model, times=2))
    with pytest.raises(EngineError, match="closed"):
        model.generate(ASK, [LONG])


def test_a_crash_long_after_a_mended_one_is_mended_too(model: EmbeddedModel) -> None:
    for _ in range(2):
        (drawn,) = model.generate(ASK, [Sampling(max_tokens=30)], on_delta=kill_at(5, model))
        assert drawn.completion_tokens == 30
    assert len(model.notices()) == 2


def test_a_crash_between_calls_is_mended_for_counting_too(model: EmbeddedModel) -> None:
    os.kill(model.pid, signal.SIGKILL)
    assert model.count_tokens("one two") == 2
    assert len(model.notices()) == 1


def test_threads_that_meet_one_crash_share_one_restart(model: EmbeddedModel) -> None:
    counts: list[int] = []

    def draw() -> None:
        (drawn,) = model.generate(ASK, [Sampling(max_tokens=50)])
        counts.append(drawn.completion_tokens)

    threads = [threading.Thread(target=draw) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    os.kill(model.pid, signal.SIGKILL)
    for thread in threads:
        thread.join(timeout=60)
    assert counts == [50, 50]
    assert len(model.notices()) == 1


def test_closing_ends_the_child_and_leaves_nothing(path: Path, program: Path | None) -> None:
    before = set(Path(tempfile.gettempdir()).glob("crucible-engine-*"))
    model = serve(path, program=program)
    family = [psutil.Process(model.pid), *psutil.Process(model.pid).children()]
    assert len(family) == 2  # the server and its watchdog
    model.close()
    model.close()
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert set(Path(tempfile.gettempdir()).glob("crucible-engine-*")) <= before


# ------------------------------------------------------------- the parent's end

PARENT = """
import sys, threading
from pathlib import Path
from crucible.models.llama.embedded import EmbeddedModel
from crucible.types import Message, Sampling
if sys.argv[2] == "loading":
    threading.Timer(float(sys.argv[3]), lambda: print("now", flush=True)).start()
program = Path(sys.argv[4]) if sys.argv[4:] else None
model = EmbeddedModel(Path(sys.argv[1]), name="m", threads=1, slots=2, context_length=1024, program=program)
if sys.argv[2] == "idle":
    print("now", flush=True)
    threading.Event().wait()
ask = [Message(role="user", content="Tell a long story.")]
said = []
def hear(_, text):
    if not said:
        said.append(print("now", flush=True))
try:
    model.generate(ask, [Sampling(max_tokens=900, temperature=1.0, seed=s) for s in range(2)], on_delta=hear)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    model.close()
    sys.exit(130)
"""


def start_parent(
    path: Path, folder: Path, program: Path | None, state: str, wait: str = "0"
) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A process that owns an engine, and all its descendants once it is in `state`."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path), state, wait, *([str(program)] if program else [])],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        start_new_session=True,
    )
    assert parent.stdout is not None and parent.stdout.readline() == "now\n"
    return parent, psutil.Process(parent.pid).children(recursive=True)


@pytest.mark.parametrize(
    ("state", "wait"), [("idle", "0"), ("generating", "0"), ("loading", "0.1"), ("loading", "0.4")]
)
def test_kill_9_of_the_parent_leaves_no_process(
    path: Path, tmp_path: Path, state: str, wait: str, program: Path | None
) -> None:
    parent, family = start_parent(path, tmp_path, program, state, wait)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_a_stopped_engine_does_not_outlive_its_parent_either(path: Path, tmp_path: Path, program: Path | None) -> None:
    parent, family = start_parent(path, tmp_path, program, "idle")
    server = next(process for process in family if process.children())
    server.suspend()  # nothing inside it runs any more, as in a hung native call
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_ctrl_c_ends_a_generation_at_once(path: Path, tmp_path: Path, program: Path | None) -> None:
    parent, family = start_parent(path, tmp_path, program, "generating")
    began = time.monotonic()
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.communicate(timeout=20)[0] == "interrupted\n"
    assert parent.returncode == 130
    assert time.monotonic() - began < 4
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_nothing_in_the_working_directory_is_imported(path: Path, tmp_path: Path) -> None:
    for name in ("json", "select", "xllamacpp", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        serve(path).close()
    finally:
        os.chdir(here)
    assert not (tmp_path / "imported").exists()


# ------------------------------------------------------------- starting


def test_a_port_in_use_is_named_with_what_to_do(path: Path, program: Path | None) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} is in use.*model\.port"):
            serve(path, port=port, program=program)


def test_a_given_port_is_taken_and_given_back(path: Path, program: Path | None) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        with serve(path, port=port, program=program) as model:
            assert model.endpoint()[0] == f"http://127.0.0.1:{port}"
            assert model.generate(ASK, [Sampling(max_tokens=1)])


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_truncated_model_file_is_said(path: Path, tmp_path: Path, kept: float) -> None:
    cut = tmp_path / "cut.gguf"
    with path.open("rb") as whole:
        cut.write_bytes(whole.read(int(path.stat().st_size * kept)))
    with pytest.raises(
        ModelUnavailableError, match=r"cannot serve .*cut\.gguf: .*(corrupted|incomplete|bounds).*models pull"
    ):
        serve(cut)


def test_a_file_that_is_no_model_is_said(tmp_path: Path, program: Path | None) -> None:
    (tmp_path / "no.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelUnavailableError, match=r"cannot serve .*no\.gguf"):
        serve(tmp_path / "no.gguf", program=program)


def test_a_log_folder_that_cannot_be_written_is_said(path: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(StoreError, match="engine's log"):
        serve(path, log_dir=tmp_path / "blocked")


def test_the_key_is_asked_for(model: EmbeddedModel) -> None:
    import httpx

    url, key = model.endpoint()
    assert len(key) >= 32
    assert httpx.post(f"{url}/completion", json={"prompt": "x"}).status_code == 401
    assert httpx.get(f"{url}/slots").status_code == 401


def test_threads_stay_within_what_this_process_may_use() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


# ------------------------------------------------------------- one prompt, many samples


def test_a_shared_prompt_draws_what_an_unshared_one_does(path: Path) -> None:
    story = [Message(role="user", content="Continue: " + "the fox met a crow and said hello. " * 30)]
    assert len(story[0].content) > SHARE_FROM_CHARS
    with serve(path, slots=3) as model:
        alone = model.generate(story, [Sampling(max_tokens=12)])
        shared = model.generate(story, [Sampling(max_tokens=12)] * 3)
        assert [completion.text for completion in shared] == [alone[0].text] * 3
        assert {completion.prompt_tokens for completion in shared} == {alone[0].prompt_tokens}
        assert model.notices() == []


def test_samples_of_several_prompts_at_once_are_those_of_each_alone(path: Path) -> None:
    ask = Message(role="user", content="Say it a hundred times.")
    stories = [[ask, Message(role="assistant", content=f"{word}," * 99)] for word in ("crow", "fox", "wolf", "bear")]
    samplings = [Sampling(max_tokens=8)] * 3
    with serve(path, slots=4) as model:
        alone = [model.generate(story, samplings[:1])[0].text for story in stories]
        with ThreadPoolExecutor(4) as threads:
            together = list(threads.map(lambda story: model.generate(story, samplings), stories))
        assert len(set(alone)) == 4
        assert [[each.text for each in drawn] for drawn in together] == [[text] * 3 for text in alone]
        assert model.notices() == []


def test_a_prompt_is_read_once_for_all_samples(path: Path) -> None:
    """Measured in the child's CPU seconds: three slots that each read the prompt would take three times as many."""
    words = " ".join(f"word{number}" for number in range(80))
    with serve(path, slots=3) as model:

        def reading(text: str, samples: int) -> float:
            before = psutil.Process(model.pid).cpu_times().user
            model.generate([Message(role="user", content=text)], [Sampling(max_tokens=1)] * samples)
            return psutil.Process(model.pid).cpu_times().user - before

        assert reading(f"B {words}", 3) < 2 * reading(f"A {words}", 1)


# ------------------------------------------------------------- adapters that come later


@pytest.fixture(scope="module")
def adapter(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    convert(random_adapter(folder / "peft", lora_alpha=16), path, folder / "adapter.gguf")
    return folder / "adapter.gguf"


def test_an_adapter_goes_live_while_others_draw(model: EmbeddedModel, adapter: Path) -> None:
    """What is being drawn is drawn to its end by the child that began it, which then ends."""
    first, begun, drawn = model.pid, threading.Event(), []
    sampling = Sampling(max_tokens=300, temperature=1.0, seed=5)
    drawing = threading.Thread(
        target=lambda: drawn.extend(model.generate(ASK, [sampling], on_delta=lambda *_: begun.set()))
    )
    drawing.start()
    assert begun.wait(20)
    model.load_adapters({"late": adapter})
    assert model.pid != first and psutil.pid_exists(first)
    with_it, without = (
        model.generate(ASK, [Sampling(max_tokens=1, logprobs=1, adapter=name)])[0].logprobs for name in ("late", "")
    )
    assert with_it and without and abs(with_it[0].logprob - without[0].logprob) > 0.01
    drawing.join(timeout=60)
    assert drawn[0].completion_tokens == 300 or drawn[0].finish_reason == "stop"
    deadline = time.monotonic() + 5
    while psutil.pid_exists(first) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(first)
    assert model.notices() == []


def test_an_adapter_that_cannot_be_loaded_changes_nothing(model: EmbeddedModel, tmp_path: Path) -> None:
    first = model.pid
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing else")
    with pytest.raises(ModelUnavailableError, match="cannot serve"):
        model.load_adapters({"broken": tmp_path / "broken.gguf"})
    assert model.pid == first
    assert model.generate(ASK, [Sampling(max_tokens=1)])[0].text
    with pytest.raises(InputError, match="'broken' is not loaded; there are: none"):
        model.generate(ASK, [Sampling(max_tokens=1, adapter="broken")])


def test_with_a_port_of_its_own_a_new_adapter_takes_the_same_port(path: Path, adapter: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with serve(path, port=port) as model:
        model.load_adapters({"late": adapter})
        assert model.endpoint()[0].endswith(f":{port}")
        assert model.generate(ASK, [Sampling(max_tokens=1, adapter="late")])[0].text


@pytest.mark.parametrize("guessing", ["draft", "ngrams"])
def test_guessing_ahead_changes_no_text(
    path: Path, model: EmbeddedModel, program: Path | None, guessing: str, tmp_path: Path
) -> None:
    """The draft is the model itself, so that every guess is taken; the n-grams are those of a text to be repeated."""
    ask = [Message(role="user", content="Repeat this: " + "the fox met the crow and said hello to the crow, " * 4)]
    with serve(
        path,
        program=program,
        draft=path if guessing == "draft" else None,
        ngrams=guessing == "ngrams",
        log_dir=tmp_path / "guessing",
    ) as guesser:
        greedy = Sampling(max_tokens=40)
        assert guesser.generate(ask, [greedy])[0].text == model.generate(ask, [greedy])[0].text
        assert guesser.generate(ask, [greedy])[0].completion_tokens == 40
