"""Keys of a settings file that have another name here, and values that mean something else here or that nothing reads.

A file with `engine: sgllang_trt`, one `temperature` and the lists `tools.enable` and `tools.disabled` works as it stands.
Translating never loosens what may run: a list can ask for a human's yes, and cannot waive it.
"""

from __future__ import annotations

from typing import Any

from crucible.config.checks import plain
from crucible.config.document import Document, Place, Said
from crucible.config.settings import ToolsSettings

ENGINES = {"sgllang_trt": "sglang", "sglang_trt": "sglang", "sgllang": "sglang"}
SWITCHES = tuple(name for name, field in ToolsSettings.model_fields.items() if field.annotation is bool)
EXECUTION = "autonomous_execution"
FIXED = {
    "code_generation": "is always on: nothing here switches it",
    "remote_actions": "is never on: nothing here acts on other systems, so nothing reads it",
    "weight_updates": "is read by nothing: weights change by `crucible finetune` alone, after a person's yes",
}


def translate(document: Document, *, context_length: int) -> list[Said]:
    """Put our keys in the place of the others in `document`, and return a note for each.

    context_length: the setting where the file has none. A key of ours that the file has too wins. Lists that are none are
    problems of the document."""
    if not isinstance(document.data, dict):
        return []
    document.data = {key: dict(part) if isinstance(part, dict) else part for key, part in document.data.items()}
    notes: list[Said] = []
    model, tools = document.data.get("model"), document.data.get("tools")
    if isinstance(model, dict):
        notes += _model(document, model, context_length)
    if isinstance(tools, dict):
        for key in ("disabled", "enable"):  # what both name stays off
            notes += _switched(document, tools, key)
    return notes


def _model(document: Document, model: dict[str, Any], context_length: int) -> list[Said]:
    notes: list[Said] = []
    engine = model.get("engine")
    if isinstance(engine, str) and engine in ENGINES:
        model["engine"] = ENGINES[engine]
        said = "a TensorRT-LLM server is asked by `engine: openai`, `server: tensorrt-llm` and its `base_url`"
        notes.append(
            (document.position(("model", "engine")), f"model.engine: {engine} is read as {ENGINES[engine]}; {said}")
        )
    temperature = model.get("temperature")
    if isinstance(temperature, int | float) and not isinstance(temperature, bool):
        place: Place = ("model", "temperature")
        del model["temperature"]
        if "temperatures" in model:
            notes.append((document.position(place), "model.temperature: model.temperatures is set, and wins"))
        else:
            model["temperatures"] = [temperature]
            document.positions["model", "temperatures"] = document.positions[place]
            said = "the first sample of a run is greedy all the same where cycles.greedy_first is true"
            notes.append(
                (
                    document.position(place),
                    f"model.temperature: {temperature} is read as model.temperatures: [{temperature}]; {said}",
                )
            )
    answer, room = model.get("max_tokens"), model.get("context_length", context_length)
    if isinstance(answer, int) and isinstance(room, int) and answer >= room:
        said = f"model.max_tokens: {answer} tokens leave no room for a prompt: model.context_length ({room}) holds both"
        notes.append((document.position(("model", "max_tokens")), said))
    return notes


def _switched(document: Document, tools: dict[str, Any], key: str) -> list[Said]:
    """The names that `tools.enable` or `tools.disabled` lists, as settings of their own."""
    if key not in tools:
        return []
    listed = tools.pop(key)
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        document.problems.append((document.position(("tools", key)), f"tools.{key}: must be a list of names"))
        return []
    said = (
        (place, name, _part(document, tools, name, place, on=key == "enable")) for place, name in _places(key, listed)
    )
    return [(document.position(place), f"tools.{key}: {plain(name)} {words}") for place, name, words in said if words]


def _places(key: str, listed: list[str]) -> list[tuple[Place, str]]:
    return [(("tools", key, index), name) for index, name in enumerate(listed)]


def _part(document: Document, tools: dict[str, Any], name: str, place: Place, *, on: bool) -> str:
    """Switch one part; what is to be said of it."""
    if name in SWITCHES:
        document.positions.setdefault(("tools", name), document.positions[place])
        wins = f"is not read: tools.{name} is set to {str(tools.get(name)).lower()}, and wins"
        return wins if tools.setdefault(name, on) is not on else ""
    if name == EXECUTION and on:
        return "is not read: `cycles.approve: auto` in your own file, or --approve auto, lets programs run unasked"
    if name == EXECUTION:
        return _ask(document, place)
    return FIXED.get(name, f"is read by nothing here; there are {', '.join(SWITCHES)}")


def _ask(document: Document, place: Place) -> str:
    cycles = document.data.get("cycles") or {}
    if not isinstance(cycles, dict):
        return "is not read: cycles must hold settings"
    document.data["cycles"] = cycles
    document.positions.setdefault(("cycles", "require_human_approval"), document.positions[place])
    if cycles.setdefault("require_human_approval", True) is not True:
        return "is not read: cycles.require_human_approval is set to something else, and wins"
    return (
        "is read as cycles.require_human_approval: true: programs run in the sandbox after a yes; "
        "`cycles.approve: never` runs none"
    )
