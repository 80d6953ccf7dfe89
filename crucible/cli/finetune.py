"""`crucible finetune`: from episodes to an approved, measured, served and reversible adapter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from crucible.app import Crucible
    from crucible.finetune.methods.health import Step

app = typer.Typer(
    help="Fine-tuning: propose → approve → train → evaluate → promote → rollback. Nothing trains and nothing is promoted "
    "without a person's yes at a terminal, which goes into the audit log.",
    no_args_is_help=True,
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `finetune list` shows it, for instance sft-0001.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
ModelOption = Annotated[str | None, typer.Option(help="Catalogue name. [default: the configured one]")]
FEW_EXAMPLES = 5
Method = Literal["sft", "dpo", "rloo", "grpo", "ppo"]


@app.command()
def propose(
    eval_set: Annotated[
        list[str],
        typer.Option("--eval-set", help="Problem set to measure on; may be given again. Kept out of the data."),
    ],
    method: Annotated[
        Method,
        typer.Option(
            help="sft: verified answers. dpo: a right one against a wrong one. rloo, grpo, ppo: answers that the model gives "
            "in training, judged in the sandbox."
        ),
    ] = "sft",
    hidden_set: Annotated[
        list[str] | None,
        typer.Option(
            "--hidden-set",
            help="For rloo, grpo, ppo: a set whose hidden tests show whether the rest is gamed, and pay for its tasks without "
            "visible tests.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the adapter it makes.")] = "learned",
    model: ModelOption = None,
    parent: Annotated[str | None, typer.Option(help="Adapter to go on from, name@version.")] = None,
    rank: Annotated[int, typer.Option(min=1, help="Of the LoRA matrices.")] = 16,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=1e-9, help="Highest, after the warm-up. [default: sft 1e-4, dpo 2e-5, the others 5e-5]"),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(min=1e-6, help="The pull to the model it begins with. [default: dpo 0.1, the others 0.02]"),
    ] = None,
    answers: Annotated[int, typer.Option(min=2, help="For rloo, grpo, ppo: drawn to a task at a time.")] = 8,
    answer_tokens: Annotated[int, typer.Option(min=1, help="For rloo, grpo, ppo: that one may take.")] = 256,
    replay: Annotated[
        bool, typer.Option("--replay", help="For rloo, grpo, ppo: a task's past success is one of the answers to it.")
    ] = False,
    epochs: Annotated[float, typer.Option(min=0.0, help="Times over the data.")] = 2.0,
    max_steps: Annotated[int, typer.Option(min=0, help="Optimiser steps; 0 goes by the epochs.")] = 0,
    per_task: Annotated[int, typer.Option(min=1, help="Different programs, or pairs, of one task, at most.")] = 4,
    unsure: Annotated[
        bool,
        typer.Option("--unsure", help="Only tasks that were failed too: there is little to learn from the others."),
    ] = False,
    processes: Annotated[
        int,
        typer.Option(min=1, max=64, help="That share a step (sft, dpo), as many GPUs where there are some: see train."),
    ] = 1,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(
            help="What the model's own weights are held in. auto: bfloat16 on a GPU or a processor that is markedly faster in it "
            "(AMX), else float32; without bfloat16 of its own a processor takes a hundred times as long."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Decides the adapter's start and the order of the data.")] = 0,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting of the training, as the Python API names it, for instance entropy_coef=0.002, batch=4 or "
            "quantize=true (QLoRA: an NVIDIA GPU and bitsandbytes); may be given again.",
        ),
    ] = None,
    when: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="Only if it is due, for a timer: after 50 new verified episodes, 7d after the last proposal, or 50,7d for "
            "whichever comes first. Exit 0 and no proposal where it is not.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Write down what could be learned from the episodes in memory, for a person to decide on. Trains nothing."""
    from crucible.cli.finetune_shown import show_proposal
    from crucible.cli.output import print_json, say
    from crucible.errors import NotYetError
    from crucible.finetune.data.dataset import DataSettings
    from crucible.finetune.data.schedule import When
    from crucible.finetune.methods.hardware import usual_dtype
    from crucible.finetune.records import TrainingConfig
    from crucible.finetune.steps import propose as make

    due = When.parse(when) if when is not None else None
    said = {"learning_rate": learning_rate, "beta": beta}
    training = TrainingConfig.usual(
        method,
        rank=rank,
        alpha=2 * rank,
        **{name: value for name, value in said.items() if value is not None},
        answers=answers,
        answer_tokens=answer_tokens,
        replay=replay,
        processes=processes,
        epochs=epochs,
        max_steps=max_steps,
        dtype=usual_dtype() if dtype == "auto" else dtype,
        seed=seed,
    ).changed(more or ())
    try:
        with _crucible(model) as crucible:
            proposal = make(
                crucible,
                method=method,
                name=name,
                eval_sets=eval_set,
                parent=parent,
                hidden_sets=hidden_set or (),
                data=DataSettings(per_task=per_task, unsure=unsure),
                training=training,
                when=due,
                note=say,
            )
    except NotYetError as error:
        say(str(error))
        return 0
    if as_json:
        print_json(proposal.model_dump(mode="json"))
        return 0
    show_proposal(proposal)
    typer.echo(f"\nlook at the data: crucible finetune review {proposal.id}")
    typer.echo(f"decide:           crucible finetune approve {proposal.id}   (or reject)")
    return 0


@app.command()
def review(
    id_: IdArgument,
    examples: Annotated[int, typer.Option("-n", "--examples", min=0, help="How many to show.")] = FEW_EXAMPLES,
    as_json: JsonOption = False,
) -> int:
    """Show a proposal and what would be learned from, as it lies there."""
    from crucible.cli.finetune_shown import show_proposal
    from crucible.cli.output import print_json
    from crucible.finetune.steps import gate_of, store_of
    from crucible.text import printable

    with _crucible(None) as crucible:
        store = store_of(crucible)
        proposal, sha256 = store.proposal(id_)
        dataset, state = store.dataset(proposal), gate_of(crucible).state(id_)
    if as_json:
        shown = [each.model_dump(mode="json") for each in dataset.examples[:examples]]
        print_json({**proposal.model_dump(mode="json"), "sha256": sha256, "state": state, "sample": shown})
        return 0
    show_proposal(proposal)
    typer.echo(f"  state          {state}\n  sha256         {sha256}")
    for number, each in enumerate(dataset.examples[:examples], 1):
        typer.echo(f"\n--- {number} of {len(dataset.examples)}, from {', '.join(each.episodes)}")
        typer.echo(printable(each.prompt[-1].content if len(each.prompt) == 1 else each.prompt[-2].content))
        typer.echo(printable(each.chosen))
        if each.rejected:
            typer.echo(printable(f"... and not:\n{each.rejected}"))
    return 0


@app.command()
def approve(id_: IdArgument) -> int:
    """Let it be trained. Asks at the terminal, where the proposal's name is to be typed. Exit 1 for a no."""
    from crucible.cli.output import say
    from crucible.finetune.steps import gate_of

    with _crucible(None) as crucible:
        if not gate_of(crucible).approve(id_):
            say("not approved")
            return 1
    say(f"approved; train it with: crucible finetune train {id_}")
    return 0


@app.command()
def reject(id_: IdArgument, reason: Annotated[str, typer.Option(help="Goes into the audit log.")] = "") -> int:
    """Decide that it is never trained."""
    from crucible.cli.output import say
    from crucible.finetune.steps import gate_of

    with _crucible(None) as crucible:
        gate_of(crucible).reject(id_, reason)
    say("rejected")
    return 0


@app.command()
def train(
    id_: IdArgument,
    approve: Annotated[
        str | None, typer.Option(help="auto: programs may run in the sandbox unasked (rloo, grpo and ppo need it).")
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            help="tensorboard or trackio gets every figure too; may be given again. They stay on this machine."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Train what was approved. Ctrl-C writes a checkpoint; the same command goes on from the last one.

    Several processes: torchrun --nproc-per-node N -m crucible finetune train ID, where N was proposed (`--processes N`).
    """
    import signal
    import threading

    from crucible.cli.output import CountedBar, Left, print_json, say
    from crucible.finetune.steps import train as run

    stop, left = threading.Event(), Left()

    def tell(step: Step) -> None:
        figures = step.figures
        said = [f"loss {figures['loss']:.3f}", f"gradient {figures.get('grad_norm', 0.0):.2f}"]
        said += [f"{name} {figures[name]:.3f}" for name in ("reward", "hidden", "kl", "entropy") if name in figures]
        if "num_tokens" in figures and step.seconds > 0:
            said.append(f"{figures['num_tokens'] / step.seconds:.0f} tokens/s")
        if eta := left(step.step, step.steps, step.seconds):
            said.append(eta)
        bar.show("steps", step.step, step.steps, step.seconds, ", ".join(said))
        for sign in step.signs:
            say(f"{sign.level} at step {sign.step}: {sign.said}. To change: {sign.change}")

    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        with _crucible(None, approve=approve) as crucible, CountedBar("steps", quiet=as_json) as bar:
            _ = crucible.log  # takes what the libraries warn of
            trained = run(crucible, id_, tell=tell, note=say, cancelled=stop.is_set, track=track or ())
    finally:
        signal.signal(signal.SIGINT, before)
    from crucible.finetune.methods.distributed import processes

    if not processes().is_main_process:  # the first says it
        return 0
    if as_json:
        print_json(trained.model_dump(mode="json"))
        return 0
    say(
        f"{trained.adapter}: {trained.steps} steps in {trained.minutes:g} min, {trained.peak_memory_gib:g} GiB, last loss "
        f"{trained.final_loss:.3f}. Nothing serves it yet; measure it with: crucible finetune evaluate {id_} --approve auto"
    )
    return 0


@app.command()
def evaluate(
    id_: IdArgument,
    approve: Annotated[str | None, typer.Option(help="auto: programs may run in the sandbox unasked.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Drawn of a problem for pass@k.")] = 8,
    sampled: Annotated[int, typer.Option(min=0, help="Problems they are drawn of: the first ones.")] = 40,
    slots: Annotated[int | None, typer.Option(min=1, max=256, help="Requests decoded at once.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Measure the trained adapter against what serves now, paired. Exit 1 where it may not be promoted."""
    import time

    from crucible.cli.finetune_shown import show_evaluation
    from crucible.cli.output import CountedBar, Left, print_json, say
    from crucible.finetune.records import EvaluationSettings
    from crucible.finetune.steps import evaluate as run

    began, left = time.monotonic(), Left()

    def tell(done: int, total: int) -> None:
        seconds = time.monotonic() - began
        bar.show("answers", done, total, seconds, left(done, total, seconds))

    with _crucible(None, approve=approve, slots=slots) as crucible, CountedBar("measuring", quiet=as_json) as bar:
        settings = EvaluationSettings(samples=samples, sampled=sampled)
        evaluation = run(
            crucible,
            id_,
            settings=settings,
            tell=tell,
            note=say,
        )
    if as_json:
        print_json(evaluation.model_dump(mode="json"))
    else:
        show_evaluation(evaluation)
    return 0 if evaluation.passed else 1


@app.command()
def promote(id_: IdArgument) -> int:
    """Serve its adapter from now on: `solve`, `bench` and `models serve` take it by themselves. Asks at the terminal."""
    from crucible.cli.output import say
    from crucible.finetune.steps import promote as ask

    with _crucible(None) as crucible:
        if not ask(crucible, id_):
            say("not promoted")
            return 1
    say("promoted; undo it at any time with: crucible finetune rollback")
    return 0


@app.command()
def rollback(
    id_: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Undo this one, and nothing else. [default: what serves]")
    ] = None,
    model: ModelOption = None,
) -> int:
    """Serve what served before the last promotion, at once."""
    from crucible.cli.output import say
    from crucible.finetune.steps import gate_of
    from crucible.models import base_sha256

    with _crucible(model) as crucible:
        base = base_sha256(crucible.settings.model, crucible.settings.paths) or ""
        undone, now = gate_of(crucible).roll_back(base, id_)
    say(f"{undone.proposal} ({undone.adapter}) is undone; {now.adapter or 'the model itself'} is served again")
    return 0


@app.command()
def report(
    id_: IdArgument,
    out: Annotated[
        Path | None, typer.Option(help="Folder that gets it. [default: beside the proposal, in Crucible's home]")
    ] = None,
) -> int:
    """Write finetuning.md and finetuning.html: curves, signs, what the model wrote on the way, before and after."""
    from crucible.finetune.report import gather, render
    from crucible.finetune.steps import store_of

    with _crucible(None) as crucible:
        story, beside = gather(crucible, id_), store_of(crucible).folder(id_)
    for path in render(story, out or beside):
        typer.echo(str(path))
    return 0


@app.command("list")
def list_all(as_json: JsonOption = False) -> int:
    """List all fine-tunings with where they stand, and what each adapter was made from."""
    from crucible.cli.output import print_json
    from crucible.finetune.steps import gate_of, store_of
    from crucible.text import one_line

    rows: list[dict[str, Any]] = []
    with _crucible(None) as crucible:
        store, gate = store_of(crucible), gate_of(crucible)
        for id_ in store.ids():
            proposal, _ = store.proposal(id_)
            trained = store.trained(id_)
            rows.append(
                {
                    "id": id_,
                    "state": gate.state(id_),
                    "base": proposal.base,
                    "parent": proposal.parent,
                    "adapter": trained[0].adapter if trained else None,
                    "examples": proposal.examples,
                    "created": proposal.created.isoformat(timespec="seconds"),
                }
            )
    if as_json:
        print_json(rows)
        return 0
    for row in rows:
        line = f"{row['base']} → {row['parent'] + ' → ' if row['parent'] else ''}{row['adapter'] or '(not trained)'}"
        typer.echo(
            one_line(f"{row['id']:<10} {row['state']:<12} {row['examples']:>6} examples  {row['created']}  {line}")
        )
    if not rows:
        typer.echo("none; make a proposal with: crucible finetune propose --eval-set SET")
    return 0


def _crucible(model: str | None, *, approve: str | None = None, slots: int | None = None) -> Crucible:
    from crucible.app import Crucible
    from crucible.config import load_settings

    chosen: dict[str, dict[str, Any]] = {
        "model": {key: value for key, value in (("name", model), ("slots", slots)) if value is not None},
        "cycles": {"approve": approve} if approve else {},
    }
    return Crucible.from_settings(load_settings(overrides={name: part for name, part in chosen.items() if part}))
