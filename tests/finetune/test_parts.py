"""What several steps of a fine-tuning look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible.app import Crucible
from crucible.errors import RefusedError
from crucible.finetune.records import Proposal
from crucible.finetune.steps.parts import check_asked
from crucible.finetune.store import FinetuneStore
from crucible.models.weights.catalogue import catalogue
from tests.conftest import settings_at
from tests.finetune.proposals import proposed

KNOWN = next(entry for entry in catalogue() if entry.recipe.prefill)


@pytest.fixture
def proposal(tmp_path: Path) -> Proposal:
    found, _ = FinetuneStore(tmp_path / "finetune").proposal(proposed(tmp_path))
    asked = {"base": KNOWN.name, "system": KNOWN.recipe.system, "prefill": KNOWN.recipe.prefill}
    return found.model_copy(update=asked)


@pytest.mark.parametrize(("opened", "change"), [(False, {}), (True, {"prefill": None}), (True, {"system": "Else."})])
def test_a_model_that_is_asked_in_another_way_than_was_proposed_is_refused(
    tmp_path: Path, proposal: Proposal, opened: bool, change: dict[str, str | None]
) -> None:
    with Crucible(settings=settings_at(tmp_path, model={"prefill": True})) as app:
        check_asked(app, proposal)
    with (
        Crucible(settings=settings_at(tmp_path, model={"prefill": opened})) as app,
        pytest.raises(RefusedError, match=r"asked in another way than when sft-0001 was proposed"),
    ):
        check_asked(app, proposal.model_copy(update=change))
