"""Two processes that share a training, as torchrun starts them: every step is of both, and one of them decides."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from crucible.errors import InputError
from crucible.finetune.methods import distributed
from crucible.finetune.methods.learning import LOG, checkpoints
from crucible.finetune.records import TrainingConfig
from crucible.models.weights.lora import WEIGHTS
from tests.finetune.tiny import tiny_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

SCRIPT = """
import sys
from pathlib import Path
from crucible.errors import CancelledError
from crucible.finetune.methods import distributed, learning, sft
from tests.finetune.test_sft import EXAMPLES, TRAINING

weights, out, processes, stop_after = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
training = TRAINING.model_copy(update={"processes": processes, "max_steps": 4, "batch": 1, "dropout": float(sys.argv[5])})
distributed.check(training)
steps = []
trainer = sft.trainer(learning.load(weights, training), EXAMPLES, training, out)
if distributed.processes().is_main_process:
    try:
        learning.run(trainer, out, tell=steps.append, cancelled=lambda: len(steps) + 1 >= stop_after)
    except CancelledError as error:
        print(error)
else:
    learning.follow(trainer, out)
distributed.processes().wait_for_everyone()
sys.stdout.write(f"steps made: {trainer.state.global_step}\\n")  # in one piece: both write to the same pipe
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def torchrun(
    weights: Path, out: Path, *, processes: int = 2, stop_after: int = 99, dropout: float = 0.0
) -> subprocess.CompletedProcess[str]:
    out.mkdir(exist_ok=True)
    script = out / "script.py"
    script.write_text(SCRIPT)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    return subprocess.run(
        [*run, str(weights), str(out), str(processes), str(stop_after), str(dropout)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
    )


def hashed(out: Path) -> str:
    return hashlib.sha256((out / "adapter" / WEIGHTS).read_bytes()).hexdigest()


def test_they_make_the_same_bits_again_interrupted_or_not(weights: Path, tmp_path: Path) -> None:
    whole = torchrun(weights, tmp_path / "whole")
    assert whole.stdout.count("steps made: 4") == 2, whole.stderr
    assert len((tmp_path / "whole" / LOG).read_text().splitlines()) == 4
    stopped = torchrun(weights, tmp_path / "parts", stop_after=2)
    assert "interrupted after step 2" in stopped.stdout and stopped.stdout.count("steps made: 2") == 2, stopped.stderr
    assert [path.name for path in checkpoints(tmp_path / "parts")] == ["checkpoint-2"]
    assert torchrun(weights, tmp_path / "parts").returncode == 0
    assert hashed(tmp_path / "parts") == hashed(tmp_path / "whole")


def test_another_number_of_processes_than_was_proposed_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"of 2 processes and 1 was started: torchrun --nproc-per-node 2"):
        distributed.check(TrainingConfig(processes=2))
    distributed.check(TrainingConfig())
    more = torchrun(weights, tmp_path, processes=3)
    assert more.returncode == 1 and "of 3 processes and 2 were started" in more.stderr
    assert not (tmp_path / LOG).exists()


def test_several_take_no_dropout(weights: Path, tmp_path: Path) -> None:
    noisy = torchrun(weights, tmp_path, dropout=0.1)
    assert noisy.returncode == 1 and "dropout 0.1: several processes" in noisy.stderr
