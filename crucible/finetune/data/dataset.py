"""Training data from episodes. Pure functions: the same episodes give the same data, in whatever order they come.

Only what was proved is learned from: an attempt counts as right if its episode's hidden tests passed (the visible ones
where there were no others), under a verdict that the program could not forge; it counts as wrong if a test failed. What a
model is asked is the task alone, without the examples, the failures and the hints that the loop put beside it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from statistics import median
from typing import Literal, NamedTuple

from crucible.finetune.data.contamination import Contamination
from crucible.prompting.prompt import AFTER_THE_PROGRAM, direct_prompt, stops
from crucible.prompting.recipe import INSIDE_FENCE, Recipe
from crucible.security.judge.visible import has_tests
from crucible.security.trust.secrets import REDACTED, redact
from crucible.types import Attempt, Episode, Frozen, Message, Task, Verdict

Kind = Literal["sft", "dpo", "online"]
"""Whole verified answers; a right and a wrong answer to the same; tasks alone, which the model answers in training."""


class DataSettings(Frozen):
    """The choice of training examples among the episodes."""

    per_task: int = 4
    """Different programs, or pairs, of one task."""
    level_share: float = 0.5
    """How much of all one difficulty may be, where there are several."""
    unsure: bool = False
    """Only tasks that were failed too: from one that it always solves a model has little to learn."""
    max_chars: int = 6000
    """Longer programs are left out: a small model learns to go on and on from them."""


class Example(Frozen):
    """One thing to learn from. Only for `dpo` it has a `rejected`."""

    task: Task
    """Without a hint."""
    prompt: tuple[Message, ...]
    """As the model is asked when it is used; a last assistant message is the opening of its answer."""
    chosen: str = ""
    """What the model is to write after the prompt; for `online` a success of the past, if there was one."""
    rejected: str = ""
    ends: bool = True
    """Whether the model is to end its answer there. Where it was stopped, nobody knows whether it would have."""
    episodes: tuple[str, ...]
    """Ids of those it was taken from."""

    @property
    def id(self) -> str:
        """SHA-256 of all that is learned from."""
        said = [[message.role, message.content] for message in self.prompt]
        return hashlib.sha256(json.dumps([said, self.chosen, self.rejected, self.ends]).encode()).hexdigest()


class Dataset(Frozen):
    """`left_out`: how many attempts or tasks were not taken, by the reason."""

    kind: Kind
    examples: tuple[Example, ...]
    episodes: dict[str, str]
    """SHA-256 of every episode that an example was taken from, by its id."""
    left_out: dict[str, int]

    @property
    def sha256(self) -> str:
        """The version: of the examples, in their order, and of the episodes."""
        return hashlib.sha256(
            json.dumps([self.kind, [each.id for each in self.examples], sorted(self.episodes.items())]).encode()
        ).hexdigest()

    @property
    def levels(self) -> dict[str, int]:
        """Return how many examples there are of every difficulty."""
        return dict(sorted(Counter(each.task.difficulty or "none" for each in self.examples).items()))


class _Answer(NamedTuple):
    code: str
    """As the model wrote it."""
    ended: bool
    """Whether its end was the model's own."""
    episode_id: str


class _Known(NamedTuple):
    """A task with what was tried. Programs by their fingerprint."""

    task: Task
    episodes: list[str]
    right: dict[str, _Answer]
    wrong: dict[str, _Answer]


def build(
    kind: Kind,
    episodes: Iterable[Episode],
    recipe: Recipe,
    evaluated: Contamination,
    settings: DataSettings | None = None,
    paid: Set[str] = frozenset(),
) -> Dataset:
    """Return what can be learned from `episodes`.

    recipe: how the model to be trained is asked. evaluated: the problems to measure on, of which nothing may be in it.
    paid: for `online`, the texts of tasks whose hidden tests are known and can pay where there are no visible ones.
    """
    settings = settings or DataSettings()
    left_out: Counter[str] = Counter()
    tasks: dict[str, _Known] = {}
    hashes: dict[str, str] = {}
    for episode in sorted(episodes, key=lambda each: each.episode_id):
        task = episode.task.model_copy(update={"hint": ""})
        if (why := _unfit(task, episode, evaluated)) is not None:
            left_out[why] += 1
            continue
        hashes[episode.episode_id] = hash_episode(episode)
        known = tasks.setdefault(task.text, _Known(task, [], {}, {}))
        known.episodes.append(episode.episode_id)
        for attempt in episode.attempts:
            right = judge(attempt, episode)
            programs = known.right if right else known.wrong
            if right is None:
                left_out["not proved right or wrong"] += 1
            elif (why := _flawed(attempt, task, evaluated, settings) if right else _secret(attempt.code)) is not None:
                left_out[why] += 1
            elif attempt.fingerprint in programs:
                left_out["the same program again"] += 1
            else:
                programs[attempt.fingerprint] = _Answer(
                    as_written(attempt), _ended(attempt, task, recipe), episode.episode_id
                )
    for known in tasks.values():
        for refuted in known.right.keys() & known.wrong.keys():  # hidden tests of another episode, say
            del known.right[refuted]
            left_out["right in one episode, wrong in another"] += 1
    if settings.unsure:
        sure = [text for text, known in tasks.items() if not known.wrong]
        for text in sure:
            left_out["of a task that was never failed"] += max(1, len(tasks.pop(text).right))
    if kind == "online":
        for text in [text for text, known in tasks.items() if text not in paid and not has_tests(known.task)]:
            left_out["without visible tests, and in no hidden set (--hidden-set)"] += 1
            del tasks[text]
    found = [each for known in tasks.values() for each in _MAKERS[kind](known, recipe, settings)]
    examples = _balanced(found, settings, left_out)
    used = {name for each in examples for name in each.episodes}
    return Dataset(
        kind=kind,
        examples=tuple(examples),
        episodes={name: hashes[name] for name in sorted(used)},
        left_out=dict(sorted(left_out.items())),
    )


def judge(attempt: Attempt, episode: Episode) -> bool | None:
    """Return whether the attempt is known to be right (True) or wrong (False); None where nothing is proved.

    Where there were hidden tests, a pass of the visible ones alone proves nothing; a failure is one in any case. Verdicts
    that rest on the program's own word prove nothing either. In earlier episodes the best attempt alone was judged by the
    hidden tests."""
    if attempt.verdict is None:
        return None
    if attempt.hidden_verdict is not None:
        return _proved(attempt.hidden_verdict)
    if episode.hidden_verdict is None:
        return _proved(attempt.verdict)
    best = next((each for each in episode.attempts if each.id == episode.best_attempt), None)
    if best is not None and attempt.fingerprint == best.fingerprint:
        return _proved(episode.hidden_verdict)
    return False if _proved(attempt.verdict) is False else None


def as_written(attempt: Attempt) -> str:
    """The program in the model's own characters: what was run is rid of blanks at the ends of lines, and to learn it would be
    to learn another hand's layout."""
    wanted = [line.rstrip() for line in attempt.code.rstrip().split("\n")]
    lines = attempt.completion.replace("\r\n", "\n").split("\n")
    for start in range(len(lines) - len(wanted) + 1):
        found = lines[start : start + len(wanted)]
        if [line.rstrip() for line in found] == wanted:
            return "\n".join(found)
    return attempt.code  # mended, with a line of the task's for instance


def _ended(attempt: Attempt, task: Task, recipe: Recipe) -> bool:
    """Whether the end of an answer was the model's own. The loop stops one at the line after the function that is wanted: to
    learn that an answer ends there is to leave out the helper that would have come next."""
    return attempt.finish_reason == "stop" and not set(stops(task, recipe)) & set(AFTER_THE_PROGRAM)


def _proved(verdict: Verdict) -> bool | None:
    if verdict.trust != "full" or not verdict.total:
        return None
    return verdict.verdict == "pass"


def hash_episode(episode: Episode) -> str:
    return hashlib.sha256(episode.model_dump_json().encode()).hexdigest()


def _unfit(task: Task, episode: Episode, evaluated: Contamination) -> str | None:
    if task.language != "python":
        return "another language"
    if episode.status in ("refused", "error"):
        return "nothing was run"
    said = "\n".join((task.text, task.tests, *map(str, task.examples)))
    return _secret(said) or ("too like an evaluation problem" if evaluated.reason(task.text) else None)


def _secret(text: str) -> str | None:
    """Stored episodes are redacted: what stands in a secret's place is no program that was run."""
    return "a secret in it" if REDACTED in text or redact(text).found else None


def _flawed(attempt: Attempt, task: Task, evaluated: Contamination, settings: DataSettings) -> str | None:
    if len(attempt.code) > settings.max_chars:
        return "too long"
    if (why := _secret(attempt.code)) is not None:
        return why
    if any(found.severity != "info" and found.action != "allow" for found in attempt.findings):
        return "it needed an approval of its own"
    return "too like an evaluation problem" if evaluated.reason(task.text, attempt.code) else None


# ---------------------------------------------------------------- the three kinds


def _verified(known: _Known, recipe: Recipe, settings: DataSettings) -> list[Example]:
    return [
        Example(
            task=known.task,
            prompt=direct_prompt(known.task, recipe),
            chosen=completion(answer.code, recipe, ends=answer.ended),
            ends=answer.ended,
            episodes=(answer.episode_id,),
        )
        for answer in _usual(known, settings.per_task)
    ]


def _pairs(known: _Known, recipe: Recipe, settings: DataSettings) -> list[Example]:
    return [
        Example(
            task=known.task,
            prompt=direct_prompt(known.task, recipe),
            chosen=completion(good.code, recipe, ends=ends),
            rejected=completion(bad.code, recipe, ends=ends),
            ends=ends,
            episodes=tuple(sorted({good.episode_id, bad.episode_id})),
        )
        for good, bad in _matched(known, settings.per_task)
        for ends in [good.ended and bad.ended]
    ]


def _matched(known: _Known, count: int) -> list[tuple[_Answer, _Answer]]:
    """Pairs of two programs that no other holds, then of one such; those nearest in length first: a pair teaches whatever tells
    its programs apart, and that shall not be their length."""
    apart = sorted(
        itertools.product(known.right.values(), known.wrong.values()),
        key=lambda pair: (abs(len(pair[0].code) - len(pair[1].code)), pair[0].code, pair[1].code),
    )
    pairs: list[tuple[_Answer, _Answer]] = []
    used: set[str] = set()
    for again in range(2):
        for good, bad in apart:
            if len(used & {good.code, bad.code}) <= again:
                pairs.append((good, bad))
                used |= {good.code, bad.code}
    return pairs[:count]


def _tasks(known: _Known, recipe: Recipe, settings: DataSettings) -> list[Example]:
    return [
        Example(
            task=known.task,
            prompt=direct_prompt(known.task, recipe),
            chosen=next((completion(answer.code, recipe) for answer in _usual(known, 1)), ""),
            episodes=tuple(sorted(known.episodes)),
        )
    ]


_MAKERS = {"sft": _verified, "dpo": _pairs, "online": _tasks}


def completion(code: str, recipe: Recipe, *, ends: bool = True) -> str:
    """Return what the model is to write after the recipe's opening, to the end of its answer or of the program."""
    program = code.rstrip() + "\n```" * ends
    return program if recipe.opens_fence else INSIDE_FENCE + program


def _usual(known: _Known, count: int) -> list[_Answer]:
    """Right programs, those first that are nearest in length to what is usual for the task, right or wrong: the choice shall not
    teach another length."""
    if not known.right:
        return []
    usual = median(len(each.code) for each in (*known.right.values(), *known.wrong.values()))
    return sorted(known.right.values(), key=lambda each: (abs(len(each.code) - usual), each.code))[:count]


def _balanced(examples: Sequence[Example], settings: DataSettings, left_out: Counter[str]) -> list[Example]:
    """No difficulty above its share, where there are several. Which of its examples stay is their hashes' lot. Tasks that
    nobody gave a difficulty are of none, and stay."""
    levels: dict[str, list[Example]] = defaultdict(list)
    for each in examples:
        levels[each.task.difficulty].append(each)
    unknown = levels.pop("", [])
    if len(levels) > 1:
        largest = max(levels, key=lambda level: (len(levels[level]), level))
        others = len(examples) - len(unknown) - len(levels[largest])
        most = max(1, int(others * settings.level_share / (1 - settings.level_share)))
        if len(levels[largest]) > most:
            left_out["more of this difficulty than of all others"] += len(levels[largest]) - most
            levels[largest] = sorted(levels[largest], key=lambda each: each.id)[:most]
    return sorted((each for level in (unknown, *levels.values()) for each in level), key=lambda each: each.id)
