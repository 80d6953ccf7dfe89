"""The settings, section by section: types, ranges, meaning. Their defaults live in `defaults/*.yaml` alone.

A `Settings` is plain frozen data: making one reads no file and no environment (`load.load_settings` does).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from crucible.config.learning import CurriculumSettings, HealthLimits, HintSettings
from crucible.config.paths import Paths
from crucible.config.policy import Action, Key
from crucible.config.section import Section
from crucible.types import Frozen, Limits


def _http(url: str) -> str:
    if not re.match(r"https?://[^\s/]", url):
        raise ValueError("must begin with http:// or https:// and name a host")
    return url


def _key(key: SecretStr | None) -> SecretStr | None:
    """Without the white space around it, as a file or a variable leaves it there."""
    text = key.get_secret_value().strip("\ufeff \t\r\n\v\f") if key else ""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("must be one line of ASCII characters")
    return SecretStr(text) if text else None


def _schedule(temperatures: tuple[float, ...]) -> tuple[float, ...]:
    if not 1 <= len(temperatures) <= 256:
        raise ValueError("must list 1 to 256 temperatures")
    return temperatures


Url = Annotated[str, AfterValidator(_http)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
Schedule = Annotated[tuple[Temperature, ...], AfterValidator(_schedule)]
Weight = Annotated[float, Field(ge=0, le=1_000_000)]


class ModelSettings(Section):
    """The model that answers, its engine, and the parameters of samples."""

    name: Name
    """A name from the catalogue, or what the server at `base_url` calls its model."""
    engine: Literal["auto", "embedded", "openai", "scripted", "sglang"]
    """What runs the model; `auto`: SGLang where configured or a GPU can run it, else the embedded engine."""
    build: Literal["auto", "prebuilt"]
    """Which embedded engine: `auto` takes the one compiled for this machine (`crucible models build`) where there is one."""
    adapter: Name | None = None
    """Fine-tuned adapter served on top of the model, by name; None serves the one promoted for it, `base` none at all."""
    base_url: Url | None = None
    """Address of an OpenAI-compatible or SGLang server."""
    server: Literal["any", "llama.cpp", "sglang", "sglang-lora", "vllm", "tensorrt-llm", "lmstudio", "ollama", "openai"]
    """What kind of server the openai engine asks: what may be asked of it, and how."""
    sglang_args: tuple[str, ...]
    """Further arguments for SGLang's launch_server, after Crucible's own."""
    replicas: int = Field(ge=1, le=64)
    """SGLang servers that share the work behind its router, each on GPUs of its own; one that dies loses no request."""
    api_key: Annotated[SecretStr | None, AfterValidator(_key)] = None
    """Key that server asks for; masked wherever settings are shown."""
    port: int = Field(ge=0, le=65535)
    """Local TCP port of the embedded engine; 0 takes a free one."""
    context_length: int = Field(ge=256, le=1 << 20)
    """Tokens one request (prompt and answer) may span; memory grows with it."""
    slots: int = Field(ge=1, le=256)
    """Requests the embedded engine decodes at once."""
    draft: Name | None = None
    """What guesses the next tokens for the embedded engine's model to check: a smaller model's name, or `ngrams`."""
    threads: int = Field(ge=0, le=1024)
    """CPU threads of the embedded engine; 0 picks by what else the run does."""
    timeout_s: float = Field(gt=0, le=86_400)
    """Seconds without an answer after which a request counts as failed."""
    retries: int = Field(ge=0, le=100)
    """How often a request to a server is sent again when it fails for a passing reason."""
    fallback: tuple[Name, ...]
    """Models to go on with when the engine fails, on the embedded engine, the first that works."""
    cache: bool
    """Whether a server's answers are remembered, for asking exactly the same again."""
    prompt_price: float = Field(ge=0)
    """Price of a million prompt tokens, for what `models status` reports."""
    completion_price: float = Field(ge=0)
    """Price of a million generated tokens."""
    hub_url: Url
    """Where model files are pulled from; each is checked against its published SHA-256."""
    script: Path | None = None
    """File the scripted engine answers from."""
    prefill: bool
    """Whether the answer's first words are given to the model, as its maker does when measuring it."""
    syntax: bool
    """Whether a program that does not parse is cut there, and the model goes on from what does."""
    temperatures: Schedule
    """Sampling temperatures over the samples of a batch, repeated as needed; 0 is greedy."""
    top_p: float = Field(gt=0.0, le=1.0)
    """Probability mass that nucleus sampling draws from."""
    max_tokens: int = Field(ge=1, le=1 << 20)
    """Tokens one sample may write; a task may ask for fewer."""


class CyclesSettings(Section):
    """The loop's budgets, strategy and approval."""

    max_cycles: int = Field(ge=1, le=1000)
    """Times a run may generate."""
    max_reflect: int = Field(ge=0, le=1000)
    """Failed attempts of a run that may be diagnosed and repaired."""
    samples: int = Field(ge=1, le=256)
    """Candidate programs per cycle."""
    greedy_first: bool
    """Whether the first cycle draws one greedy sample instead of a batch."""
    max_total_tokens: int = Field(ge=1, le=1 << 30)
    """Tokens a run may generate over all cycles."""
    max_wall_s: float = Field(gt=0, le=604_800)
    """Wall seconds a run may take, pauses between resumes not counted."""
    strategy: Literal["auto", "direct", "resample", "repair"]
    """What follows a failed cycle: a repair, fresh samples, either as the facts say, or nothing."""
    require_human_approval: bool
    """Whether generated code waits for a yes before it runs in the sandbox."""
    approve: Literal["ask", "auto", "never"]
    """How that yes is given: on the terminal, always, or not at all (static checks only)."""
    approve_findings: dict[Literal["warning", "error"], Literal["auto", "ask", "never"]]
    """By severity, how a yes is given to findings whose policy is `ask`; as `approve` says where nothing is set."""
    visible_cases: int = Field(ge=0, le=1_000_000)
    """Test cases that the loop may see of a task file without visible tests; the others score the result."""
    seed: int = Field(ge=0, lt=2**32)
    """Every sample's seed is derived from this one."""

    @property
    def approval(self) -> Literal["ask", "auto", "never"]:
        """The policy that both settings make: without the need for a human's yes, asking is not needed."""
        return "auto" if self.approve == "ask" and not self.require_human_approval else self.approve

    def approval_of(self, severity: Literal["warning", "error"]) -> Literal["ask", "auto", "never"]:
        """Return how a yes is given to findings of that severity. What runs nothing at all runs nothing with findings."""
        return "never" if self.approval == "never" else self.approve_findings.get(severity, self.approval)

    @property
    def asks(self) -> bool:
        """Return whether there may be something to ask."""
        return "ask" in (self.approval, self.approval_of("warning"), self.approval_of("error"))


class ToolsSettings(Section):
    """Switches, one per part of the loop."""

    static_analysis: bool
    """Whether advice on candidates is kept; what decides if one may run is checked regardless."""
    lint: bool
    """Whether errors that the linter finds are told to the model when it diagnoses and repairs an attempt."""
    memory: bool
    """Whether solved episodes of similar tasks are put into the prompt."""
    reflection: bool
    """Whether a failed attempt is diagnosed before it is repaired."""
    dataset_logging: bool
    """Whether every run is stored as an episode."""
    disabled_nodes: tuple[Name, ...]
    """Names of plugin nodes to leave out. The built-in four stay."""
    policy: dict[Key, Action]
    """What a finding of the static checks means, by rule, rule family or module; the longest key that fits decides."""
    solves_per_minute: float | None = Field(None, gt=0, le=1_000_000)
    """Solves one Crucible object may begin a minute; more raise RateLimitedError. None for no limit."""
    log_level: Literal["debug", "info", "warning", "error", "off"]
    """What is written to logs/crucible.jsonl in Crucible's home, secrets redacted; off writes nothing."""


class MemorySettings(Section):
    """The use of remembered episodes as examples."""

    k: int = Field(ge=0, le=100)
    """Episodes put into the prompt; 0 for none."""
    min_score: float = Field(ge=-1.0, le=1.0)
    """Cosine similarity of task texts below which an episode is no example."""
    max_shot_chars: int = Field(ge=0, le=1 << 20)
    """Characters of code above which an episode is too long for an example."""


class SandboxSettings(Section):
    """The isolation, and limits of one candidate program for tasks that set none. Same bounds as `types.Limits`."""

    tier: Literal["auto", "A", "B"]
    """The isolating tier; auto takes the strongest that this machine was observed to hold."""
    wall_s: float = Field(gt=0, le=600)
    """Wall seconds it may take."""
    cpu_s: float = Field(gt=0, le=600)
    """CPU seconds it may use."""
    memory_mib: int = Field(ge=64, le=65536)
    """MiB of memory it may use."""
    output_bytes: int = Field(ge=1024, le=1 << 30)
    """Bytes it may write to stdout, and as many to stderr."""
    disk_mib: int = Field(ge=1, le=4096)
    """MiB it may write to its scratch disk."""
    low_trust: bool
    """Judge tests that cannot be carried between two processes in the program's own process, under the trust label low.
    false: refuse them."""

    def limits(self) -> Limits:
        return Limits(**self.model_dump(exclude={"tier", "low_trust"}))


class RewardSettings(Section):
    """The worth of an attempt: a weight for each component, and where they begin to fall. `crucible.rewards` computes it."""

    tests: Weight
    """Weight of the share of tests that pass."""
    syntax: Weight
    """Weight of being a program at all."""
    lint: Weight
    """Weight of having few findings of the linter."""
    style: Weight
    """Weight of simple functions and short lines."""
    speed: Weight
    """Weight of taking no more CPU seconds than the reference program."""
    memory: Weight
    """Weight of taking no more memory than the reference program."""
    security: Weight
    """Weight of having few findings of the security rules."""
    length: Weight
    """Weight of a short answer."""
    all_tests_bonus: float = Field(ge=0, le=1)
    """Share of `tests` that only passing all of them earns; 0 pays by the share that pass, 1 all or nothing."""
    complexity_limit: int = Field(ge=1, le=1_000_000)
    """McCabe count of the most complex function above which style falls."""
    line_limit: int = Field(ge=1, le=1_000_000)
    """Characters of the longest line above which style falls."""
    length_limit: int = Field(ge=1, le=1 << 30)
    """Tokens above which length falls, where there is no reference program."""

    @property
    def weights(self) -> dict[str, float]:
        """By component."""
        return self.model_dump(exclude={"all_tests_bonus", "complexity_limit", "line_limit", "length_limit"})

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not any(self.weights.values()):
            raise ValueError("at least one weight must be above 0")
        return self


class Sections(Frozen):
    """The sections of a settings file."""

    model: ModelSettings
    cycles: CyclesSettings
    tools: ToolsSettings
    memory: MemorySettings
    sandbox: SandboxSettings
    rewards: RewardSettings
    curriculum: CurriculumSettings
    hints: HintSettings
    health: HealthLimits


class Explained(NamedTuple):
    """One row of `crucible config show`; `value` is JSON-ready, secrets masked."""

    key: str
    value: Any
    source: str


OF_NO_RUN = {"curriculum", "hints", "health"}
"""Sections that decide nothing about a single run."""
NOT_HASHED = {
    "model": {
        *("api_key", "base_url", "hub_url", "port", "script"),
        *("retries", "cache", "prompt_price", "completion_price"),
    },
    "tools": {"solves_per_minute", "log_level"},
}
"""Secrets, addresses, paths: they say where things are. What they led to is in the run's model identity. And what a run
goes by without noticing: how often one may begin, and what is logged of it."""


class Settings(Sections):
    """All settings of a process, where its files lie, and who set what."""

    paths: Paths
    origin: dict[str, str] = Field(default_factory=dict, repr=False)
    """By dotted key: `default`, `file:line`, the environment variable, or `option`."""

    def hash(self) -> str:
        """SHA-256 (hex) over every setting that can change a run's result: equal hash, equal settings."""
        included = self.model_dump(mode="json", include=set(Sections.model_fields) - OF_NO_RUN, exclude=NOT_HASHED)
        text = json.dumps(included, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def changed(self, overrides: Mapping[str, Mapping[str, Any]], *, home: Path | None = None) -> Settings:
        """These settings with others by section and key, and with another home. Raises ValueError as a settings file does."""
        sections = {
            name: type(section).model_validate({**dict(section), **overrides[name]})
            for name, section in ((name, getattr(self, name)) for name in overrides)
        }
        paths = self.paths if home is None else Paths(home=home, cache=self.paths.cache)
        return self.model_copy(update={**sections, "paths": paths})

    def explain(self) -> list[Explained]:
        """Every setting with its value and the source that set it, in the order of the sections; a mapping entry by entry."""
        dumped = self.model_dump(mode="json", include=set(Sections.model_fields))
        return [
            Explained(name, _masked(part), self.origin.get(name) or self.origin.get(f"{section}.{key}", "given"))
            for section in Sections.model_fields
            for key, value in dumped[section].items()
            for name, part in _entries(f"{section}.{key}", value)
        ]


def _entries(key: str, value: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    if not isinstance(value, dict) or not value:
        return [(key, value)]
    return [(f"{key}.{name}", part) for name, part in value.items()]


def _masked(value: Any) -> Any:  # noqa: ANN401
    """Pydantic masks a SecretStr in JSON by itself; a password inside an address it cannot know."""
    if isinstance(value, str):
        value = re.sub(r"(?<=://)[^/@\s]*@", "**********@", value)
        return re.sub(r"(?<=[?&])([^=&\s]+)=[^&\s#]+", r"\1=**********", value)
    return value
