"""A proposal on disk, and what comes after it, for tests of the gate."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from crucible.finetune.data.contamination import Contamination
from crucible.finetune.data.dataset import build
from crucible.finetune.gate.gate import Gate
from crucible.finetune.records import Estimate, Evaluation, Measured, Proposal, Trained, TrainingConfig, digest
from crucible.finetune.store import FinetuneStore
from crucible.prompting.recipe import Recipe
from crucible.security.trust.audit import AuditLog
from tests.finetune.episodes import solved

BASE = "b" * 64
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def gate(home: Path) -> Gate:
    return Gate(AuditLog(home / "audit.jsonl"), FinetuneStore(home / "finetune"))


def proposed(home: Path) -> str:
    """Its id."""
    store = FinetuneStore(home / "finetune")
    dataset = build("sft", [solved("e1")], Recipe(), Contamination([]))
    id_ = store.new("sft")
    proposal = Proposal(
        id=id_,
        method="sft",
        name="mine",
        base="small",
        base_sha256=BASE,
        dataset_sha256=dataset.sha256,
        data_file_sha256=digest(dataset.model_dump_json()),
        examples=len(dataset.examples),
        levels=dataset.levels,
        left_out=dataset.left_out,
        episodes=len(dataset.episodes),
        training=TrainingConfig(),
        evaluation=(),
        estimate=Estimate(tokens=100, steps=2, minutes=1.0, memory_gib=2.0, basis="a guess"),
        risks=("it may get worse at everything else",),
        created=NOW,
    )
    store.propose(proposal, dataset)
    gate(home).propose(id_)
    return id_


def trained(id_: str, adapter: str = "mine@1") -> Trained:
    return Trained(
        proposal=id_,
        adapter=adapter,
        adapter_sha256="a" * 64,
        mark="d" * 64,
        manifest_sha256="c" * 64,
        steps=2,
        minutes=1.0,
        peak_memory_gib=2.0,
        final_loss=0.5,
    )


def evaluation(id_: str, adapter: str = "mine@1", *, against: str = "", passed: bool = True) -> Evaluation:
    after = 0.5 if passed else 0.3
    measured = tuple(
        Measured(what=what, before=0.4, after=after, problems=problems, gained=15, lost=5, p_value=0.04)
        for what, problems in (("greedy pass@1", 100), ("pass@8", 40))
    )
    return Evaluation(
        proposal=id_,
        adapter=adapter,
        against=against,
        measured=measured,
        safety_before=0,
        safety_after=0,
        passed=passed,
        reasons=() if passed else ("pass@1 fell",),
        created=NOW,
    )
