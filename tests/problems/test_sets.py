"""Loading sets: files of every form, folders, suites and the shipped set; what is broken is said with its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from crucible.errors import InputError
from crucible.problems import sets
from crucible.problems.sets import load

ONE = {"id": "a", "prompt": "Write f.", "difficulty": "easy", "tests": "assert f(1) == 2"}
TWO = {"id": "b", "prompt": "Write g.", "difficulty": 2, "tests": "assert g(1) == 2"}


def write(path: Path, *rows: object) -> Path:
    text = "\n".join(json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def ids(spec: Path | str, **options: object) -> list[str]:
    return [problem.id for problem in load(spec, **options).problems]  # type: ignore[arg-type]


def refused(spec: Path | str, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load(spec, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_of_every_kind_hold_the_same_problems(tmp_path: Path) -> None:
    lines = write(tmp_path / "s.jsonl", ONE, TWO)
    packed = write(tmp_path / "s.jsonl.gz", ONE, TWO)
    listed = write(tmp_path / "s.json", [ONE, TWO])
    named = write(tmp_path / "s.yaml", {"problems": [ONE, TWO]})
    tasks = [[each.task for each in load(path).problems] for path in (lines, packed, listed, named)]
    assert tasks[0] == tasks[1] == tasks[2] == tasks[3] and ids(lines) == ["a", "b"]
    assert load(lines).problems[1].origin == f"{lines}, line 2"
    assert load(named).problems[1].origin == f"{named}, entry 2"
    assert load(packed).name == "s"


def test_a_single_problem_is_a_set_of_one(tmp_path: Path) -> None:
    (tmp_path / "t.md").write_text("---\ntests: assert f(1) == 2\n---\nWrite f.")
    assert ids(tmp_path / "t.md") == ["t"]
    assert ids(write(tmp_path / "u.json", ONE)) == ["a"]


def test_problems_without_an_id_are_named_after_their_place(tmp_path: Path) -> None:
    bare = {"prompt": "Write f."}
    assert ids(write(tmp_path / "s.jsonl", bare, bare)) == ["s/1", "s/2"]


def test_difficulty_limit_and_ids_choose(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", ONE, TWO, {**ONE, "id": "c"})
    assert ids(path, difficulty=["Easy"]) == ["a", "c"]
    assert ids(path, difficulty=[2, "easy"], limit=2) == ["a", "b"]
    assert ids(path, ids=["c"]) == ["c"]
    assert "difficulties there: 2, easy" in refused(path, difficulty=["9"])
    assert "no problem has the id 'z'" in refused(path, ids=["z"])


def test_a_folder_is_all_its_files_in_order(tmp_path: Path) -> None:
    write(tmp_path / "2.jsonl.gz", TWO)
    write(tmp_path / "1.json", ONE)
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "notes.txt").write_text("no problem")
    assert ids(tmp_path) == ["a", "b"]


def test_the_hash_is_of_the_contents(tmp_path: Path) -> None:
    one, same = write(tmp_path / "1.jsonl", ONE), write(tmp_path / "2.jsonl", ONE)
    assert load(one).sha256 == load(same).sha256 != load(write(tmp_path / "3.jsonl", TWO)).sha256


def test_a_suite_takes_parts_of_sets_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "s.jsonl", ONE, TWO, {**ONE, "id": "c"})
    write(tmp_path / "other.json", {**ONE, "id": "z"})
    parts = [{"path": "data/s.jsonl", "difficulty": ["easy"], "limit": 1}, {"path": "other.json", "ids": ["z"]}]
    assert ids(write(tmp_path / "suite.yaml", {"sets": parts})) == ["a", "z"]
    starter = write(tmp_path / "suite.json", {"sets": [{"set": "starter", "difficulty": 1, "limit": 3}]})
    assert [each.task.difficulty for each in load(starter).problems] == ["1"] * 3


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"difficulty": 1}, "must name one `path`"),
        ({"path": "missing.json"}, "cannot read"),
        ({"path": "suite.yaml"}, "suite in a suite"),
        ({"path": "s.jsonl", "difficulty": ["9"]}, "chooses no problem"),
        ({"path": "s.jsonl", "limits": 3}, "`limits` is no field"),
        ({"path": "s.jsonl", "ids": ["q"]}, "no problem has the id 'q'"),
    ],
)
def test_suites_that_cannot_be_read(tmp_path: Path, part: dict[str, object], said: str) -> None:
    write(tmp_path / "s.jsonl", ONE)
    assert said in refused(write(tmp_path / "suite.yaml", {"sets": [part]}))


def test_the_starter_set_is_shipped() -> None:
    found = load("starter")
    assert len(found.problems) >= 70 and {problem.task.difficulty for problem in found.problems} >= {"1", "2", "3", "4"}
    assert all(problem.hidden and problem.solutions and problem.mutants for problem in found.problems)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("s.jsonl", b'{"prompt": "p"}\n\n{"prompt": ', "line 3: not valid JSON"),
        ("s.jsonl", b'{"prompt": "p"}\n[1]', "line 2: a task file holds one object"),
        ("s.jsonl", b'{"prompt": "p"}\n{"prompt": "\xff"}', "line 2"),
        ("s.jsonl.gz", b"no gzip", "damaged gzip file"),
        # Without the time, which would be part of the test's name: two processes must collect the same.
        ("s.jsonl.gz", gzip.compress(b"{}" * 1000, mtime=0)[:-9], "damaged gzip file"),
        ("s.jsonl", b"\n", "no problems in it"),
        ("s.json", b'{"problems": []}', "no problems in it"),
        ("s.json", b'{"prompt": " "}', "`prompt` is empty"),
        ("s.jsonl", b'{"id": "a", "prompt": "p"}\n{"id": "a", "prompt": "q"}', "line 2: `id` 'a' is used before, in"),
        ("s.csv", b"id,prompt", "no problem file"),
        ("s.yaml", b"- prompt: p\n- prompt: [\n", "not valid YAML"),
        ("s.yaml", b"prompt: p\nsource: 2024-99-99\n", "not valid YAML (month must be in 1..12)"),
    ],
)
def test_broken_files_are_refused_with_their_place(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    message = refused(tmp_path / name)
    assert said in message and str(tmp_path / name) in message


def test_what_is_not_there_is_no_set() -> None:
    assert "no problem set 'nowhere.json'" in refused("nowhere.json")


def test_files_and_rows_have_a_size_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "s.jsonl", ONE, {**TWO, "prompt": "p" * 2000})
    monkeypatch.setattr(sets, "MAX_ROW", 1000)
    assert "line 2: 0.0 MB; a problem may have" in refused(path)
    monkeypatch.setattr(sets, "MAX_BYTES", 1000)
    assert "may have 0 MB" in refused(path)
    packed = write(tmp_path / "s.jsonl.gz", {**TWO, "prompt": "p" * 2000})
    assert "unpacks to more than" in refused(packed)
