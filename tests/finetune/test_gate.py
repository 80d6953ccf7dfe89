"""Without a person's recorded yes nothing is trained, and nothing is served that was not promoted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crucible.errors import InputError, RefusedError, StoreError
from crucible.finetune.gate.gate import Promotion
from crucible.finetune.store import DATA, EVALUATION, PROPOSAL, TRAINED, FinetuneStore
from crucible.security.trust.audit import AuditLog
from tests.finetune.proposals import BASE, evaluation, gate, proposed, trained
from tests.finetune.terminal import answered, without_terminal


def approved(home: Path) -> str:
    id_ = proposed(home)
    agreed, _ = answered(lambda: gate(home).approve(id_), id_)
    assert agreed
    return id_


def promoted(home: Path, adapter: str = "mine@1", against: str = "") -> str:
    id_ = approved(home)
    gate(home).trained(id_, trained(id_, adapter))
    gate(home).evaluated(id_, evaluation(id_, adapter, against=against))
    agreed, _ = answered(lambda: gate(home).promote(id_), id_)
    assert agreed
    return id_


# ------------------------------------------------------------- the first yes


def test_what_nobody_approved_is_not_trained(tmp_path: Path) -> None:
    id_ = proposed(tmp_path)
    with pytest.raises(RefusedError, match="is not approved"):
        gate(tmp_path).approved(id_)
    with pytest.raises(RefusedError, match="is not approved"):
        gate(tmp_path).trained(id_, trained(id_))


def test_a_person_approves_by_typing_the_name(tmp_path: Path) -> None:
    id_ = proposed(tmp_path)
    agreed, shown = answered(lambda: gate(tmp_path).approve(id_), id_)
    assert agreed and "it may get worse at everything else" in shown
    assert gate(tmp_path).state(id_) == "approved"
    assert gate(tmp_path).approved(id_).proposal.id == id_


@pytest.mark.parametrize("typed", ["", "y", "yes", "sft-0002"])
def test_anything_else_is_no(tmp_path: Path, typed: str) -> None:
    id_ = proposed(tmp_path)
    agreed, _ = answered(lambda: gate(tmp_path).approve(id_), typed)
    assert not agreed and gate(tmp_path).state(id_) == "proposed"


def test_without_a_terminal_there_is_no_yes_whatever_stdin_says(tmp_path: Path) -> None:
    id_ = proposed(tmp_path)
    read, write = os.pipe()
    os.write(write, f"{id_}\n".encode())

    def ask() -> bool:
        os.dup2(read, 0)
        return gate(tmp_path).approve(id_)

    assert without_terminal(ask) == 3
    assert gate(tmp_path).state(id_) == "proposed"


def test_a_file_that_claims_an_approval_is_none(tmp_path: Path) -> None:
    id_ = proposed(tmp_path)
    folder = tmp_path / "finetune" / id_
    for name in ("approved.json", "approval.json", "approved"):
        (folder / name).write_text(json.dumps({"proposal": id_, "approved": True, "who": "root"}))
    with pytest.raises(RefusedError, match="is not approved"):
        gate(tmp_path).approved(id_)


def test_a_record_put_into_the_log_by_hand_approves_nothing(tmp_path: Path) -> None:
    id_ = proposed(tmp_path)
    log = tmp_path / "audit.jsonl"
    forged = json.loads(log.read_text().splitlines()[-1])
    forged |= {"seq": forged["seq"] + 1, "event": "finetune-approved", "previous": forged["sha256"]}
    log.write_text(log.read_text() + json.dumps(forged, sort_keys=True, separators=(",", ":")) + "\n")
    with pytest.raises(RefusedError, match="cannot be relied on"):
        gate(tmp_path).approved(id_)


def test_a_rejection_taken_out_of_the_log_is_noticed(tmp_path: Path) -> None:
    id_ = approved(tmp_path)
    gate(tmp_path).reject(id_, "too little data")
    with pytest.raises(RefusedError, match="was rejected"):
        gate(tmp_path).approved(id_)
    log = tmp_path / "audit.jsonl"
    log.write_text("".join(f"{line}\n" for line in log.read_text().splitlines()[:-1]))
    with pytest.raises(RefusedError, match="cannot be relied on"):
        gate(tmp_path).approved(id_)


@pytest.mark.parametrize("file", [PROPOSAL, DATA])
def test_what_was_changed_after_the_yes_is_not_trained(tmp_path: Path, file: str) -> None:
    id_ = approved(tmp_path)
    path = tmp_path / "finetune" / id_ / file
    text = path.read_text()
    path.write_text(text.replace('"mine"', '"other"') if file == PROPOSAL else text.replace("double", "treble"))
    with pytest.raises((RefusedError, StoreError), match=r"was changed after|is not the data"):
        gate(tmp_path).approved(id_)


def test_what_was_changed_before_the_yes_cannot_get_one(tmp_path: Path) -> None:
    id_ = proposed(tmp_path)
    path = tmp_path / "finetune" / id_ / DATA
    path.write_text(path.read_text().replace("double", "treble"))
    with pytest.raises(StoreError, match="is not the data that was proposed"):
        gate(tmp_path).approve(id_)


def test_an_approved_one_cannot_be_approved_again_and_an_unknown_one_is_said(tmp_path: Path) -> None:
    id_ = approved(tmp_path)
    with pytest.raises(RefusedError, match="is approved; that needs it to be proposed"):
        gate(tmp_path).approve(id_)
    with pytest.raises(InputError, match=f"there are: {id_}"):
        gate(tmp_path).approve("sft-0099")
    with pytest.raises(InputError):
        gate(tmp_path).approve("../../etc")


# ------------------------------------------------------------- the second


def test_promoted_replaced_and_rolled_back(tmp_path: Path) -> None:
    assert gate(tmp_path).promoted(BASE) == Promotion()
    first = promoted(tmp_path)
    second = promoted(tmp_path, "mine@2", against="mine@1")
    assert gate(tmp_path).promoted(BASE).adapter == "mine@2"
    assert (gate(tmp_path).state(first), gate(tmp_path).state(second)) == ("replaced", "promoted")
    assert gate(tmp_path).promoted("0" * 64) == Promotion()  # another model
    began = time.monotonic()
    with pytest.raises(InputError, match=f"{first} does not serve; {second} does, with mine@2"):
        gate(tmp_path).roll_back(BASE, first)
    assert [each.adapter for each in gate(tmp_path).roll_back(BASE, second)] == ["mine@2", "mine@1"]
    assert time.monotonic() - began < 5
    assert (gate(tmp_path).state(first), gate(tmp_path).state(second)) == ("promoted", "rolled back")
    assert gate(tmp_path).roll_back(BASE)[1] == Promotion()
    with pytest.raises(InputError, match="nothing is promoted"):
        gate(tmp_path).roll_back(BASE)


def test_what_cannot_serve_is_not_asked_for_nor_promoted_after_the_yes(tmp_path: Path) -> None:
    id_ = approved(tmp_path)
    gate(tmp_path).trained(id_, trained(id_))
    gate(tmp_path).evaluated(id_, evaluation(id_))
    asked = 0

    def check(*_: object) -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise RefusedError("gone by then")

    assert not answered(lambda: gate(tmp_path).promote(id_, check), id_)[0]
    assert gate(tmp_path).state(id_) == "evaluated"
    asked = 1
    with pytest.raises(RefusedError, match="gone by then"):
        gate(tmp_path).promote(id_, check)


def test_an_id_is_not_given_again_though_its_folder_is_gone(tmp_path: Path) -> None:
    import shutil

    store = FinetuneStore(tmp_path / "finetune")
    shutil.rmtree(store.folder(proposed(tmp_path)))
    assert store.new("dpo", gate(tmp_path).ids()) == "dpo-0002"


def test_a_second_no_promotes_nothing(tmp_path: Path) -> None:
    id_ = approved(tmp_path)
    gate(tmp_path).trained(id_, trained(id_))
    gate(tmp_path).evaluated(id_, evaluation(id_))
    agreed, _ = answered(lambda: gate(tmp_path).promote(id_), "no")
    assert not agreed and gate(tmp_path).promoted(BASE) == Promotion()


def test_without_an_evaluation_that_passed_there_is_no_promotion(tmp_path: Path) -> None:
    id_ = approved(tmp_path)
    with pytest.raises(RefusedError, match="is approved"):
        gate(tmp_path).promote(id_)
    gate(tmp_path).trained(id_, trained(id_))
    with pytest.raises(RefusedError, match="is trained"):
        gate(tmp_path).promote(id_)
    gate(tmp_path).evaluated(id_, evaluation(id_, passed=False))
    with pytest.raises(RefusedError, match=r"may not be promoted: pass@1 fell"):
        gate(tmp_path).promote(id_)


@pytest.mark.parametrize("file", [TRAINED, EVALUATION])
def test_a_result_that_was_changed_promotes_nothing(tmp_path: Path, file: str) -> None:
    id_ = approved(tmp_path)
    gate(tmp_path).trained(id_, trained(id_))
    gate(tmp_path).evaluated(id_, evaluation(id_, passed=file == TRAINED))
    path = tmp_path / "finetune" / id_ / file
    path.write_text(path.read_text().replace('"passed": false', '"passed": true').replace('"mine@1"', '"evil@1"'))
    with pytest.raises(RefusedError, match="is not what was logged"):
        gate(tmp_path).promote(id_)


def test_measured_against_what_no_longer_serves_it_is_measured_again(tmp_path: Path) -> None:
    late = approved(tmp_path)
    gate(tmp_path).trained(late, trained(late, "mine@2"))
    gate(tmp_path).evaluated(late, evaluation(late, "mine@2"))
    promoted(tmp_path)
    with pytest.raises(RefusedError, match="measure it again"):
        gate(tmp_path).promote(late)


def test_where_the_log_does_not_verify_nothing_is_promoted(tmp_path: Path) -> None:
    promoted(tmp_path)
    log = tmp_path / "audit.jsonl"
    log.write_text(log.read_text().replace("mine@1", "evil@1"))
    with pytest.raises(RefusedError, match="cannot be relied on"):
        gate(tmp_path).promoted(BASE)


SWITCH = """
import sys
from pathlib import Path
from crucible.finetune.gate import gate as module
from tests.finetune.proposals import BASE, gate
module.asked = lambda question, answer: True  # the person of this test is quick
home, id_ = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
while True:
    gate(home).promote(id_)
    gate(home).roll_back(BASE)
"""


def test_kill_9_amid_promotions_leaves_the_old_or_the_new_and_a_whole_log(tmp_path: Path) -> None:
    id_ = promoted(tmp_path)
    gate(tmp_path).roll_back(BASE)
    for delay in (0.01, 0.023, 0.037, 0.05, 0.071, 0.093):
        with subprocess.Popen(
            [sys.executable, "-c", SWITCH, str(tmp_path), id_], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        served = gate(tmp_path).promoted(BASE).adapter
        assert served in ("", "mine@1")
        assert AuditLog(tmp_path / "audit.jsonl").verify().ok
        if served:
            gate(tmp_path).roll_back(BASE)


# ------------------------------------------------------------- while a person thinks


def test_what_was_decided_while_the_question_was_open_is_not_overruled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = approved(tmp_path)
    gate(tmp_path).trained(late, trained(late, "mine@2"))
    gate(tmp_path).evaluated(late, evaluation(late, "mine@2"))

    def thinking(_question: str, _answer: str) -> bool:
        with monkeypatch.context() as other:
            other.setattr("crucible.finetune.gate.gate.asked", lambda *_: True)
            first = proposed(tmp_path)
            gate(tmp_path).approve(first)
            gate(tmp_path).trained(first, trained(first))
            gate(tmp_path).evaluated(first, evaluation(first))
            gate(tmp_path).promote(first)
        return True

    monkeypatch.setattr("crucible.finetune.gate.gate.asked", thinking)
    with pytest.raises(RefusedError, match=r"measure it again|something else was decided"):
        gate(tmp_path).promote(late)
    assert gate(tmp_path).promoted(BASE).adapter == "mine@1"


def test_a_proposal_that_was_changed_before_it_was_shown_cannot_get_a_yes(tmp_path: Path) -> None:
    id_ = proposed(tmp_path)
    path = tmp_path / "finetune" / id_ / PROPOSAL
    path.write_text(path.read_text().replace('"mine"', '"other"'))
    with pytest.raises(RefusedError, match="is not what was proposed"):
        gate(tmp_path).approve(id_)


def test_a_proposal_that_was_changed_after_it_was_evaluated_is_not_promoted(tmp_path: Path) -> None:
    id_ = approved(tmp_path)
    gate(tmp_path).trained(id_, trained(id_))
    gate(tmp_path).evaluated(id_, evaluation(id_))
    path = tmp_path / "finetune" / id_ / PROPOSAL
    path.write_text(path.read_text().replace(BASE, "e" * 64))
    with pytest.raises(RefusedError, match="was changed after it was approved"):
        gate(tmp_path).promote(id_)


@pytest.mark.parametrize("missing", ["greedy pass@1", "pass@8"])
def test_what_was_not_measured_does_not_pass_whatever_the_record_says(tmp_path: Path, missing: str) -> None:
    id_ = approved(tmp_path)
    gate(tmp_path).trained(id_, trained(id_))
    record = evaluation(id_)
    kept = tuple(each for each in record.measured if each.what != missing)
    gate(tmp_path).evaluated(id_, record.model_copy(update={"measured": kept}))
    with pytest.raises(RefusedError, match=f"{missing} was not measured"):
        gate(tmp_path).promote(id_)


def test_what_would_serve_after_rollbacks_is_known(tmp_path: Path) -> None:
    assert gate(tmp_path).serving() == set()
    promoted(tmp_path)
    promoted(tmp_path, "mine@2", against="mine@1")
    assert gate(tmp_path).serving() == {"mine@1", "mine@2"}
    gate(tmp_path).roll_back(BASE)
    assert gate(tmp_path).serving() == {"mine@1"}
