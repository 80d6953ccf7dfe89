"""What every method of training has in common: the model under LoRA, TRL's settings, the loop with its watch, resuming.

A trainer is TRL's own; this module gives it a model and settings, watches it, and sees to it that it can be killed at any
moment. Everything that decides the result is in `Training`, the data and the versions of the packages.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crucible.errors import CancelledError, InputError, MissingPartError, RefusedError
from crucible.finetune.methods import NEEDS
from crucible.finetune.methods.hardware import disk, memory
from crucible.finetune.methods.health import Alert, Monitor, Step
from crucible.finetune.records import TrainingConfig
from crucible.storage.journal import Journal
from crucible.types import Frozen, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Trainer

CHECKPOINTS, LOG, ADAPTER = "checkpoints", "log.jsonl", "adapter"
STATE = "trainer_state.json"
"""The last file that a checkpoint gets: one with it is whole. What other processes add are their random numbers, and without
dropout, which `together.check` refuses them, no step draws any."""
TRACKERS = {"tensorboard": ("tensorboardX", "tensorboard"), "trackio": ("trackio",)}
"""What shows a training's curves while it runs, and the packages of which it needs one."""


class Outcome(Frozen):
    """A training that ended. `stopped`: the sign for which it was stopped early; the weights are then those of `step`, the
    last healthy checkpoint."""

    adapter: Path
    step: int
    steps: int
    seconds: float
    final_loss: float
    signs: tuple[Alert, ...]
    stopped: Alert | None
    examples: int


class Learner(NamedTuple):
    model: Any
    """A PeftModel whose adapter alone is trained."""
    tokenizer: PreTrainedTokenizerBase


class Tokens(NamedTuple):
    """One example: ids of prompt and answer, and which of them are the answer's."""

    input_ids: list[int]
    completion_mask: list[int]


def load(weights: Path, training: TrainingConfig, parent: Path | None = None) -> Learner:
    """The model under a new adapter, or under `parent` to go on from, ready to train.

    weights: a folder as `models.weights.to_safetensors` writes it. Raises MissingPartError (no TRL or PEFT here; no
    bitsandbytes for `quantize`) and InputError (an adapter that does not start as it should).
    """
    import torch

    try:
        from peft import LoraConfig, PeftModel, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingPartError(NEEDS) from error
    _hush()
    # The same seed gives the same bits: an operation that cannot promise it is an error, and sums keep their order.
    torch.manual_seed(training.seed)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    more: dict[str, Any] = {"quantization_config": _four_bits()} if training.quantize else {}
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=getattr(torch, training.dtype), **more)
    tokenizer = AutoTokenizer.from_pretrained(weights)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if parent is not None:
        learner = PeftModel.from_pretrained(model, str(parent), is_trainable=True, config=_going_on(parent, training))
    else:
        config = LoraConfig(
            r=training.rank,
            lora_alpha=training.alpha,
            lora_dropout=training.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        learner = get_peft_model(model, config)
    check_start(learner, fresh=parent is None)
    return Learner(learner, tokenizer)


def _going_on(parent: Path, training: TrainingConfig) -> Any:  # noqa: ANN401
    """The parent's settings, with what this training decides of them. Raises InputError where it cannot decide it."""
    from peft import LoraConfig

    config: Any = LoraConfig.from_pretrained(str(parent))
    if config.r != training.rank:
        raise InputError(f"the adapter to go on from has rank {config.r}, and this training is of rank {training.rank}")
    config.lora_dropout, config.inference_mode = training.dropout, False
    return config


def check_start(model: Any, *, fresh: bool) -> None:  # noqa: ANN401 - PEFT's models have no common type
    """Raises InputError where the adapter's weights are not finite, or a fresh one would change the model already."""
    import torch

    for name, weight in model.named_parameters():
        if "lora_" not in name:
            continue
        if not torch.isfinite(weight).all():
            raise InputError(f"the adapter's {name} is not finite before training has begun")
        if fresh and "lora_B" in name and weight.any():
            raise InputError(f"the new adapter's {name} is not zero: it would change the model before training")


def _hush() -> None:
    """The libraries' own bars: what is worth seeing is told step by step."""
    import datasets
    from transformers.utils import logging

    quiet: Any = logging.disable_progress_bar
    quiet()
    silent: Any = logging.disable_default_handler  # its warnings go to the log
    silent()
    datasets.disable_progress_bars()


def _four_bits() -> Any:  # noqa: ANN401
    import importlib.util

    import torch

    if importlib.util.find_spec("bitsandbytes") is None or not torch.cuda.is_available():
        raise MissingPartError("quantize (QLoRA) needs an NVIDIA GPU and: pip install bitsandbytes")
    import transformers

    make: Any = transformers.BitsAndBytesConfig
    return make(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)


def settings(training: TrainingConfig, out: Path, **more: object) -> dict[str, Any]:
    """For the method's own TRL configuration."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "output_dir": str(out / CHECKPOINTS),
        "per_device_train_batch_size": training.batch,
        "gradient_accumulation_steps": training.accumulation,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": training.warmup,
        "num_train_epochs": training.epochs,
        "max_steps": training.max_steps or -1,
        "max_grad_norm": training.max_grad_norm,
        "seed": training.seed,
        "data_seed": training.seed,
        "bf16": gpu and training.dtype == "bfloat16",  # the weights are that already; on a CPU autocast only costs
        "use_cpu": not gpu,
        "ddp_backend": "gloo" if training.processes > 1 and not gpu else None,
        "ddp_find_unused_parameters": False,
        "gradient_checkpointing": gpu,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_steps": training.save_steps,
        "save_total_limit": 3,
        "report_to": "none",
        "run_name": out.name,
        "project": "crucible",
        "disable_tqdm": True,
        **more,
    }


def encode(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], answer: str, *, ends: bool = True) -> Tokens:
    """As the serving engine sees it: the prompt by the model's own template, and what it is to write after it.

    Each is tokenised by itself, as a prompt is when the model goes on from it."""
    ids, written = prompt_ids(tokenizer, prompt), answer_ids(tokenizer, answer, ends=ends)
    return Tokens([*ids, *written], [0] * len(ids) + [1] * len(written))


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str, *, ends: bool = True) -> list[int]:
    """With the token that ends it, where it `ends`."""
    return [*tokenizer(answer, add_special_tokens=False)["input_ids"], *[tokenizer.eos_token_id] * ends]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message]) -> list[int]:
    opened = prompt[-1].role == "assistant"
    text = tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in prompt],
        tokenize=False,
        add_generation_prompt=not opened,
        continue_final_message=opened,
    )
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


# ---------------------------------------------------------------- the loop


def run(
    trainer: Trainer,
    out: Path,
    *,
    monitor: Monitor | None = None,
    tell: Callable[[Step], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    track: Sequence[str] = (),
    saved: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Trains to the end, from the last whole checkpoint in `out` if there is one, and saves the adapter there.

    track: names of TRACKERS that get every figure too. saved: hears of every checkpoint's step.

    Every step is a line of `log.jsonl`. Raises CancelledError where `cancelled` said so (a checkpoint was written), and
    RefusedError where the training was stopped before there was a healthy checkpoint.
    """
    from transformers import PrinterCallback

    from crucible.finetune.methods.watch import Watch

    last = checkpoints(out)
    done = _ended(last)
    began = time.monotonic()
    with memory(), disk(out), Journal(out / LOG, Step) as log:
        informed = _informed(monitor or Monitor(), log.records, last)
        watch = Watch(log, informed, tell, cancelled, getattr(trainer, "round_steps", 1), saved)
        trainer.remove_callback(PrinterCallback)  # `tell` is who speaks
        trainer.add_callback(watch)
        for tracker in _trackers(track):
            trainer.add_callback(tracker)
        _steps(trainer, last)
        trainer.remove_callback(watch)
        losses = {step.step: step.figures["loss"] for step in log.records}
    if watch.was_cancelled:
        raise CancelledError(
            f"training was interrupted after step {trainer.state.global_step}; the same command goes on"
        )
    if (stopped := watch.stopped) is not None:
        healthy = [each for each in checkpoints(out) if number(each) < stopped.step]
        if not healthy:
            raise RefusedError(
                f"training was stopped at step {stopped.step}: {stopped.said}. To change: {stopped.change}"
            )
        done = healthy[-1]
    place = out / ADAPTER
    with disk(out):
        shutil.rmtree(place, ignore_errors=True)
        if done is not None:
            kept = shutil.ignore_patterns("ref", "*.pt", "*.pth", STATE, "training_args.bin")
            shutil.copytree(done, place, ignore=kept)
        else:
            learner: Any = trainer.model
            learner.save_pretrained(place, selected_adapters=["default"])
    step = number(done) if done is not None else trainer.state.global_step
    return Outcome(
        adapter=place,
        step=step,
        steps=number(done) if done is not None and stopped is None else trainer.state.max_steps,
        seconds=time.monotonic() - began,
        final_loss=losses[step],
        signs=tuple(watch.monitor.signs),
        stopped=stopped,
        examples=count(trainer),
    )


def count(trainer: Trainer) -> int:
    """Examples that are learned from."""
    data: Any = trainer.train_dataset
    return len(data)


def follow(trainer: Trainer, out: Path) -> None:
    """The part in `run` of a process that does not lead: the steps, and nothing said of them."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    _steps(trainer, checkpoints(out))


def _steps(trainer: Trainer, last: Sequence[Path]) -> None:
    """All that there are to make."""
    from crucible.finetune.methods.distributed import InStep

    if trainer.args.world_size > 1:
        trainer.add_callback(InStep())
    if _ended(last) is None:  # else a step too many would be made
        trainer.train(resume_from_checkpoint=str(last[-1]) if last else None)


def _trackers(names: Sequence[str]) -> list[Any]:
    """As transformers has them. Raises InputError, and MissingPartError where a tracker is not installed."""
    import transformers.integrations

    made: Any = transformers.integrations  # it has no types
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"there is no tracker {name!r}; there are: {', '.join(TRACKERS)}")
        if not any(find_spec(package) for package in TRACKERS[name]):
            raise MissingPartError(f"tracking with {name} needs: pip install {TRACKERS[name][0]}")
    return [kind() for kind in made.get_reporting_integration_callbacks(list(names))]


def _ended(checkpoints: Sequence[Path]) -> Path | None:
    """The last one, where nothing is left to do after it."""
    if not checkpoints:
        return None
    state = json.loads((checkpoints[-1] / STATE).read_bytes())
    return checkpoints[-1] if state["global_step"] >= state["max_steps"] > 0 else None


def _informed(monitor: Monitor, steps: Sequence[Step], checkpoints: Sequence[Path]) -> Monitor:
    """It has seen what led to the last checkpoint: what the first steps looked like is what later ones are held against."""
    if checkpoints:
        for step in {step.step: step for step in steps if step.step <= number(checkpoints[-1])}.values():
            monitor.see(step.step, step.figures)
    return monitor


def checkpoints(out: Path) -> list[Path]:
    """The whole ones, oldest first."""
    return sorted(
        (path.parent for path in (out / CHECKPOINTS).glob(f"checkpoint-*/{STATE}") if _reads(path)), key=number
    )


def number(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _reads(state: Path) -> bool:
    try:
        json.loads(state.read_bytes())
    except (OSError, ValueError):
        return False
    return True
