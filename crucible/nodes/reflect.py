"""reflect: after a failure, decide between repairing and resampling; for a repair, diagnose in two sentences.

The diagnosis is constrained to a small JSON schema and always accompanied by the executed facts. It is asked
for only when it will be used: a model's own guess costs tokens and helps little where nothing ran.
"""

from __future__ import annotations

import json
from typing import Any

from crucible.errors import ContextOverflowError
from crucible.nodes.base import BaseNode, Context, Update
from crucible.nodes.generate import sample_seed
from crucible.nodes.policy import budget_left, next_decision, told
from crucible.prompting.prompt import MAX_FINDINGS
from crucible.prompting.templates import render
from crucible.text import whole
from crucible.types import Attempt, Diagnosis, Message, Sampling, State, Tokens

MAX_DIAGNOSIS_TOKENS = 120

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "cause": {"type": "string", "maxLength": 240},
        "fix": {"type": "string", "maxLength": 240},
    },
    "required": ["cause", "fix"],
    "additionalProperties": False,
}


class Reflect(BaseNode):
    name = "reflect"

    def run(self, state: State, context: Context) -> Update:
        context.check_cancelled()
        decision, attempt = next_decision(state, context.cycles)
        if attempt is None:
            context.emit("decision", decision=decision)
            return {"decision": decision, "repair_of": None}
        context.emit("decision", decision=decision, attempt_id=attempt.id)
        diagnosis = Diagnosis(attempt_id=attempt.id, cause="", fix="")
        with context.optional("a failure is not diagnosed"):  # without a diagnosis, the executed facts must do
            diagnosis = self._diagnose(attempt, state, context)
        context.check_cancelled()
        return {
            "decision": decision,
            "repair_of": attempt.id,
            "diagnoses": [diagnosis],
            "tokens": Tokens(prompt=diagnosis.prompt_tokens, completion=diagnosis.completion_tokens),
        }

    def _diagnose(self, attempt: Attempt, state: State, context: Context) -> Diagnosis:
        allowed = min(MAX_DIAGNOSIS_TOKENS, budget_left(state, context.cycles) // 2)
        if not context.tools.reflection or allowed < MAX_DIAGNOSIS_TOKENS // 2:
            return Diagnosis(attempt_id=attempt.id, cause="", fix="")
        errors = [finding for finding in told(attempt, context.tools).findings if finding.severity == "error"][
            :MAX_FINDINGS
        ]
        prompt = render("diagnose", prompt=state["task"].prompt.strip(), code=attempt.code, findings=errors)
        seed = sample_seed(state["seed"], state["cycle"], -1)
        try:
            (completion,) = context.model.generate(
                [Message(role="user", content=prompt)],
                [Sampling(max_tokens=allowed, seed=seed, json_schema=SCHEMA)],
                cancel=context.cancel,
                deadline_s=context.remaining_s(),
            )
        except ContextOverflowError:  # too long to be thought about: the facts must do
            return Diagnosis(attempt_id=attempt.id, cause="", fix="")
        for notice in context.model.notices():
            context.emit("engine-restarted", message=notice)
        context.check_cancelled()
        cause, fix = read_diagnosis(completion.text)
        context.emit("diagnosis", attempt_id=attempt.id, cause=cause, fix=fix)
        return Diagnosis(
            attempt_id=attempt.id,
            cause=cause,
            fix=fix,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
        )


def read_diagnosis(text: str) -> tuple[str, str]:
    """(cause, fix) from the model's JSON, one line each; empty where it was cut off or is not what was asked."""
    try:
        data = json.loads(text)
    except ValueError:
        return "", ""
    if not isinstance(data, dict):
        return "", ""
    cause, fix = data.get("cause"), data.get("fix")
    return _line(cause), _line(fix)


def _line(value: object) -> str:
    return whole(" ".join(value.split())[:240]) if isinstance(value, str) else ""
