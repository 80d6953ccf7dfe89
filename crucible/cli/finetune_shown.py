"""What `crucible finetune` says of a proposal and of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from crucible.text import printable

if TYPE_CHECKING:
    from crucible.finetune.records import Evaluation, Proposal


def show_proposal(proposal: Proposal) -> None:
    training, estimate = proposal.training, proposal.estimate
    levels = ", ".join(f"{count} of difficulty {level}" for level, count in proposal.levels.items())
    left_out = "; ".join(f"{count} {why}" for why, count in proposal.left_out.items()) or "nothing"
    sets = ", ".join(f"{each.path} ({each.problems})" for each in proposal.evaluation)
    online = proposal.method not in ("sft", "dpo")
    drawn = f", {training.answers} answers of {training.answer_tokens} tokens to a task" if online else ""
    rows = {
        "method": f"{proposal.method}, LoRA of rank {training.rank} on {proposal.parent or proposal.base}",
        "data": f"{proposal.examples} examples of {proposal.episodes} episodes: {levels}",
        "left out": left_out,
        "training": f"{training.epochs:g} epochs, learning rate {training.learning_rate:g}, seed {training.seed}"
        + drawn,
        "cost": f"{estimate.steps} steps, {estimate.tokens} tokens, about {estimate.minutes:g} min and "
        f"{estimate.memory_gib:g} GiB ({estimate.basis})",
        "measured on": sets,
    }
    typer.echo(f"{proposal.id}: adapter {proposal.name}")
    for key, value in rows.items():
        typer.echo(printable(f"  {key:<14} {value}"))
    typer.echo("  risks")
    for risk in proposal.risks:
        typer.echo(printable(f"    - {risk}"))


def show_evaluation(evaluation: Evaluation) -> None:
    typer.echo(f"{evaluation.adapter} against {evaluation.against or 'the model itself'}")
    for each in evaluation.measured:
        typer.echo(
            f"  {each.what:<18} {100 * each.before:5.1f} → {100 * each.after:5.1f} %   {each.problems} problems, "
            f"+{each.gained} -{each.lost}, p = {each.p_value:.3f}"
        )
    typer.echo(f"  safety findings    {evaluation.safety_before:5} → {evaluation.safety_after:5}")
    for reason in evaluation.reasons:
        typer.echo(f"  {reason}")
    typer.echo(
        f"may be promoted: crucible finetune promote {evaluation.proposal}"
        if evaluation.passed
        else "may not be promoted"
    )
