"""The last step: the second yes, for an adapter that is there and is asked as it was measured."""

from __future__ import annotations

from crucible.app import Crucible
from crucible.finetune.records import Proposal, Trained
from crucible.finetune.steps.parts import check_asked, gate_of
from crucible.models.weights.adapters import AdapterStore


def promote(app: Crucible, id_: str) -> bool:
    """Asks the person at the terminal whether its adapter is to serve from now on; whether they agreed.

    Raises RefusedError where the evaluation does not allow it or the adapter is another by now, or asked in another way than
    it was measured; InputError where it is gone.
    """

    def check(proposal: Proposal, trained: Trained) -> None:
        check_asked(app, proposal)
        AdapterStore(app.settings.paths.adapters).exactly(trained.adapter, trained.mark)

    return gate_of(app).promote(id_, check)
