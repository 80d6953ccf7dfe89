# ruff: noqa: E501, RUF001
"""Extraction by kind: what small and large models do to a program, and that it still behaves as it was meant."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from crucible.languages.python.extract import extract, extract_for
from crucible.languages.python.extraction.repetition import repetition
from crucible.problems.sets import load
from crucible.types import Example, Task


def fenced(code: str) -> str:
    return f"```python\n{textwrap.dedent(code).strip()}\n```"


def loaded(answer: str, entry: str | None = "f", **known: Any) -> dict[str, Any]:
    """The names of the extracted program, loaded as the judge loads a function's module."""
    code = extract(answer, entry_point=entry, **known).code
    names: dict[str, Any] = {"__name__": "solution", "__src__": code}
    exec(compile(code, "answer", "exec"), names)
    return names


ADD = "def f(x):\n    return x + 1\n"


def check(answer: str, **known: Any) -> None:
    assert loaded(answer, **known)["f"](1) == 2


# ------------------------------------------------------------- programs that are run as a whole

STDIN = Task(prompt="Read n, print its double.", examples=(Example(input="3\n", output="6\n"),))
PROGRAMS = {
    "a main guard": "def main():\n    print(int(input()) * 2)\n\nif __name__ == '__main__':\n    main()\n",
    "a call": "def solve():\n    print(int(input()) * 2)\n\nsolve()\n",
    "prints below a function": "def g(n):\n    return 2 * n\n\nn = int(input())\nresult = g(n)\nprint(result)\n",
    "sys.stdin": "import sys\n\ndef g(n):\n    return 2 * n\n\nfor line in sys.stdin:\n    print(g(int(line)))\n",
    "no input at all": "def main():\n    print(6)\n\nmain()\n",
    "sys.exit": "import sys\n\ndef main():\n    print(int(input()) * 2)\n    return 0\n\nsys.exit(main())\n",
    "a thread": "import threading\n\ndef main():\n    print(6)\n\nthreading.Thread(target=main).start()\n",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_keeps_what_runs_it(program: str) -> None:
    assert extract_for(STDIN, f"```python\n{program}```").code == program
    assert extract_for(STDIN, program + "```", inside_fence=True).code == program


def test_a_program_that_reads_input_is_one_without_examples_too() -> None:
    assert extract(fenced(PROGRAMS["a call"])).code == PROGRAMS["a call"]


def test_the_references_of_the_starter_set_come_through_unchanged() -> None:
    for problem in load("starter").problems:
        for solution in problem.solutions:
            found = extract_for(problem.task, f"```python\n{solution.rstrip()}\n```")
            assert found.code.strip() == solution.strip(), problem.id


# ------------------------------------------------------------- what pruning leaves

KEPT = {
    "second name": ("def f(s):\n    return s\n\ng = f", "g(3) == 3"),
    "decorated": ("import functools\ndef f(s):\n    return s\n\ng = functools.cache(f)", "g(3) == 3"),
    "lambda": ("def f(s):\n    return s\n\ng = lambda x: f(x)", "g(3) == 3"),
    "filled by a function": ("T = set()\ndef fill(n):\n    T.update(range(n))\nfill(9)\ndef f(n):\n    return n in T", "f(8)"),
    "filled as an argument": ("t = []\ndef fill(t):\n    t.append(4)\ndef f():\n    return t[0]\nfill(t)", "f() == 4"),
    "filled in a loop": ("t = {}\ndef f(x):\n    return t[x]\nfor i in range(9):\n    t[i] = i * i", "f(3) == 9"),
    "filled by a method": ("t = []\ndef f():\n    return t\nfor i in range(3):\n    t.append(i)", "f() == [0, 1, 2]"),
    "filled in with": (
        "import contextlib\nt = []\ndef f():\n    return t\nwith contextlib.suppress(ValueError):\n    t.append(1)", "f() == [1]"),
    "global in a function": ("def init():\n    global n\n    n = 5\ndef f():\n    return n\ninit()", "f() == 5"),
    "through a second function": (
        "t = []\ndef put():\n    t.append(1)\ndef init():\n    put()\ndef f():\n    return t\ninit()", "f() == [1]"),
    "attribute of a function": ("def f():\n    return f.calls\nf.calls = 7", "f() == 7"),
    "attribute of a class": ("class C:\n    pass\ndef f():\n    return C.n\nC.n = 7", "f() == 7"),
    "settings": ("import sys\ndef f():\n    return sys.getrecursionlimit()\nLIMIT = 4321\nsys.setrecursionlimit(LIMIT)", "f() == 4321"),
    "same line": ("import math; print('hi')\ndef f(x):\n    return math.floor(x)", "f(1.5) == 1"),
    "same line, a value": ("def f(x):\n    return x + n\nn = 1; print(f(1))", "f(1) == 2"),
    "assigned from a call": ("def make():\n    return [1]\ndef f():\n    return table\ntable = make()", "f() == [1]"),
    "chain of values": ("def f():\n    return c\na = 1\nb = a + 1\nc = b + 1", "f() == 3"),
    "unpacked": ("def f():\n    return a + b\na, b = 1, 2", "f() == 3"),
    "optional import": ("try:\n    from maths import prod\nexcept ImportError:\n    from math import prod\ndef f(x):\n    return prod(x)", "f([2, 3]) == 6"),
    "annotated": ("LIMIT: int = 3\ndef f():\n    return LIMIT", "f() == 3"),
    "augmented": ("t = 1\ndef f():\n    return t\nt += 1", "f() == 2"),
    "default": ("def f(x=[1]):\n    return x\nstart = 2\ndef g(x=start):\n    return x", "g() == 2"),
    "class body": ("n = 2\nclass C:\n    m = n\ndef f():\n    return C.m", "f() == 2"),
    "singleton": ("class C:\n    n = 3\nc = C()\ndef f():\n    return c.n", "f() == 3"),
    "conditional": ("import sys\nif sys.maxsize > 5:\n    n = 1\nelse:\n    n = 2\ndef f():\n    return n", "f() == 1"),
    "deleted helper": ("def f():\n    return n\nn = 1\nm = 2\ndel m", "f() == 1"),
}  # fmt: skip


@pytest.mark.parametrize(("program", "holds"), KEPT.values(), ids=KEPT)
def test_pruning_leaves_what_something_left_reads(program: str, holds: str) -> None:
    names = loaded(f"```python\n{program}\nassert False, 'a check of the model'\nprint(f.missing)\n```")
    assert eval(holds, names) is True


DROPPED = {
    "loop of prints": "tests = [1, 2]\nfor t in tests:\n    print(f(t) / 0)",
    "loop of asserts": "for a, b in [(1, 5)]:\n    assert f(a) == b",
    "with": "path = 'x'\nwith open('/nowhere/x') as h:\n    h.write(str(f(1)))",
    "try": "try:\n    f()\nexcept ValueError:\n    print('no')",
    "values": "result = f('a')\nprint(result)",
    "input": "n = int(input())\nprint(f(n))",
    "while": "while True:\n    line = input()\n    print(f(line))",
    "guard": "if __name__ == '__main__':\n    raise SystemExit(f('a'))",
    "test class": "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        assert f(1) == 3\nunittest.main()",
    "call of a test": "def test_f():\n    assert f(1) == 3\ntest_f()",
    "doctest": "import doctest\ndoctest.testmod()",
    "main": "def main():\n    print(f('a'))\nmain()",
    "exit of main": "import sys\ndef main():\n    return f('a')\nsys.exit(main())",
    "comparison": "f(1) == 3\nf('a') == 3",
    "print in a lambda": "list(map(lambda x: print(f(x)), ['a']))",
    "assert over lines": "assert (\n    f('a')\n    == 2\n)",
    "printed in an f-string": "print(f\"{f('a')}\")",
}


@pytest.mark.parametrize("demonstration", DROPPED.values(), ids=DROPPED)
def test_a_wrong_demonstration_fails_no_right_function(demonstration: str) -> None:
    check(f"```python\n{ADD}\n{demonstration}\n```")


# ------------------------------------------------------------- which block


def test_future_imports_stand_first() -> None:
    prompt = "import math\nfrom typing import List\n\ndef f(xs: List[int]) -> int:\n    ..."
    answer = fenced("from __future__ import annotations\n\ndef f(xs: List[int]) -> int:\n    return math.prod(xs)")
    assert loaded(answer, prompt=prompt)["f"]([2, 3]) == 6
    late = fenced('"""Doc."""\nimport math; from __future__ import annotations\n\ndef f(x: Unknown):\n    return x')
    assert loaded(late)["f"](2) == 2
    helper = (
        fenced("import math") + "\n" + fenced("from __future__ import annotations\ndef f(x):\n    return math.floor(x)")
    )
    assert loaded(helper)["f"](2.5) == 2


WRONG = "def f(x):\n    # a longer draft, and wrong in its sign\n    value = x\n    return value - 1\n"
THOUGHTS = {
    "think": f"<think>\n{fenced(WRONG)}\nNo.\n</think>\n{fenced(ADD)}",
    "think, draft behind": f"<think>\nhm\n</think>\n{fenced(ADD)}\n<think>\n{fenced(WRONG)}\n</think>",
    "thinking, in capitals": f"<THINKING>\n{fenced(WRONG)}\n</THINKING>\n\n{fenced(ADD)}",
    "bracket": f"[THINK]{fenced(WRONG)}[/THINK]{fenced(ADD)}",
    "no opening tag": f"So let me try\n{fenced(WRONG)}\nno.\n</think>\n\n{fenced(ADD)}",
    "never closed": f"{fenced(ADD)}\n<think>\n{fenced(WRONG)}",
    "only thoughts": f"<think>\n{fenced(WRONG)}\nbetter:\n{fenced(ADD)}",
    "unbalanced fence in thoughts": f"<think>\n```python\n{WRONG}\n</think>\n{fenced(ADD)}",
    "channels": f"<|channel|>analysis<|message|>{fenced(WRONG)}<|end|><|start|>assistant<|channel|>final<|message|>{fenced(ADD)}<|return|>",
    "thoughts of code without fence": f"<think>\n{WRONG}</think>\n{ADD}",
    "self-correction": f"{fenced(WRONG)}\nWait, that is wrong:\n{fenced(ADD)}",
    "demonstration last": f"{fenced(ADD)}\nUse it:\n{fenced('print(f(1))')}",
    "test last": f"{fenced(ADD)}\n{fenced('def test_f():' + chr(10) + '    assert f(1) == 2')}",
    "stub last": f"{fenced(ADD)}\nThe signature again:\n{fenced('def f(x):' + chr(10) + '    ...')}",
    "cut off last": f"{fenced(ADD)}\nAnother way:\n```python\ndef f(x):\n    return (x +",
    "output last": f"{fenced(ADD)}\nOutput:\n```\n2\n```",
    "shell last": f"{fenced(ADD)}\n```bash\npython f.py\n```",
}  # fmt: skip


@pytest.mark.parametrize("answer", THOUGHTS.values(), ids=THOUGHTS)
def test_the_last_complete_program_outside_thoughts_is_the_answer(answer: str) -> None:
    check(answer)


def test_a_tag_in_a_program_is_the_programs() -> None:
    code = "import re\n\ndef f(text):\n    return re.sub(r'<think>.*?</think>', '', text)\n"
    assert loaded(fenced(code))["f"]("<think>a</think>b") == "b"
    assert loaded(code)["f"]("<think>a</think>b") == "b"


APART = {
    "import": ["import math", "def f(x):\n    return math.floor(x) + 1"],
    "constant": ["STEP: int = 1", "def f(x):\n    return x + STEP"],
    "transitive": ["def a(x):\n    return x", "def b(x):\n    return a(x)", "def f(x):\n    return b(x) + 1"],
    "helper behind": ["def f(x):\n    return g(x)", "def g(x):\n    return x + 1"],
    "class": ["class P:\n    step = 1", "def f(x):\n    return x + P.step"],
    "base class": ["class P:\n    step = 1", "class Q(P):\n    pass\n\ndef f(x):\n    return x + Q.step"],
    "corrected with old helper": [
        "def g(x):\n    return x + 1\ndef f(x):\n    return g(x) + 5",
        "def f(x):\n    return g(x)",
    ],
    "filled table": ["T = {}\nfor i in range(9):\n    T[i] = i + 1", "def f(x):\n    return T[x]"],
    "from import": ["from math import floor as fl", "def f(x):\n    return fl(x) + 1"],
    "decorator": ["def plus(g):\n    return lambda x: g(x) + 1", "@plus\ndef f(x):\n    return x"],
    "annotation": ["from typing import List", "def f(x: List) -> List:\n    return x + 1"],
}


@pytest.mark.parametrize("blocks", APART.values(), ids=APART)
def test_what_a_program_needs_comes_from_other_blocks(blocks: list[str]) -> None:
    check("\nand\n".join(f"```python\n{block}\n```" for block in blocks))


def test_two_functions_that_tests_name_come_from_two_blocks() -> None:
    task = Task(prompt="Write f and g.", tests="assert g(f(1)) == 1")
    code = extract_for(task, f"{fenced(ADD)}\nand\n{fenced('def g(x):' + chr(10) + '    return x - 1')}").code
    assert "def f" in code and "def g" in code


# ------------------------------------------------------------- fences

FENCES = {
    "docstring": '```python\ndef f(x):\n    """Add.\n\n    ```python\n    f(1)\n    ```\n    """\n    return x + 1\n```',
    "docstring at the margin": "```python\ndef f(x):\n    '''Add:\n```\nf(1)\n```\n    '''\n    return x + 1\n```\nDone.",
    "four ticks": "````python\ndef f(x):\n    '''Add:\n```\nf(1)\n```\n    '''\n    return x + 1\n````",
    "ticks in a string": '```python\ndef f(x):\n    mark = "```"\n    return x + len(mark) - 2\n```',
    "ticks in a comment": "```python\ndef f(x):\n    # ``` is a fence\n    return x + 1\n```",
    "glued close": f"```python\n{ADD.rstrip()}```\nThis works.",
    "glued close, more text": f"```python\n{ADD.rstrip()}``` as you see",
    "inline open": f"Here is the code: ```python\n{ADD}```\nDone.",
    "one line": "Use ```python\ndef f(x): return x + 1``` as the answer.",
    "all in one line": "```python def f(x): return x + 1```",
    "inline code": "Use `f = lambda x: x + 1` or rather `def f(x): return x + 1`.",
    "no language": f"```\n{ADD}```",
    "code behind the fence": f"```{ADD}```",
    "quoted": "\n".join("> " + line for line in fenced(ADD).split("\n")),
    "list": "1. Write:\n\n   " + fenced(ADD).replace("\n", "\n   "),
    "list, code at the margin": f"- Write:\n  ```python\n{ADD}  ```\n- Done",
    "nested list": "- a\n  - b\n\n      " + fenced(ADD).replace("\n", "\n      "),
    "bullet fence": f"- ```python\n  {ADD.replace(chr(10), chr(10) + '  ')}\n  ```",
    "tildes": f"~~~python\n{ADD}~~~",
    "attributes": f"```{{.python .numberLines}}\n{ADD}```",
    "file name": f"```python title='f.py'\n{ADD}```",
    "file name behind a colon": f"```python:f.py\n{ADD}```",
    "capitals": f"```Python3\n{ADD}```",
    "never closed": f"Sure:\n```python\n{ADD}",
    "closed twice": f"```python\n{ADD}```\n```\n",
    "language as a line": f"```\npython\n{ADD}```",
    "invisible before the fence": f"\u200b```python\n{ADD}```",
    "markdown in markdown": f"````markdown\nAnswer:\n```python\n{ADD}```\n````",
    "crlf": fenced(ADD).replace("\n", "\r\n"),
    "indented": "Like this:\n\n    def f(x):\n        return x + 1\n\nDone.",
    "longer close": f"```python\n{ADD}`````",
    "wrong language": f"```c\n{ADD}```",
}  # fmt: skip


@pytest.mark.parametrize("answer", FENCES.values(), ids=FENCES)
def test_every_form_of_fence(answer: str) -> None:
    check(answer)


# ------------------------------------------------------------- characters and wrappings

CHARACTERS = {
    "byte order mark": f"```python\n\ufeff{ADD}```",
    "byte order mark first": f"\ufeff{ADD}",
    "nbsp": f"```python\n{ADD.replace('    ', chr(0xA0) * 4)}```",
    "ideographic blank": f"```python\n{ADD.replace('    ', chr(0x3000) * 2)}```",
    "zero width": f"```python\n{ADD.replace(':', ':' + chr(0x200B))}```",
    "word joiner in a name": f"```python\n{ADD.replace('return', 'ret' + chr(0x2060) + 'urn')}```",
    "soft hyphen": f"```python\n{ADD.replace('return', 're' + chr(0xAD) + 'turn')}```",
    "line separator": f"```python\n{ADD.replace(chr(10), chr(0x2028))}\n```",
    "unfenced nbsp": ADD.replace("    ", chr(0xA0) * 4),
    "direction marks": f"```python\n{chr(0x200E)}{ADD}```",
    "full width": "```python\ndef f（x）：\n    return x ＋ 1\n```",
    "minus sign": "```python\ndef f(x):\n    return x − −1\n```",
    "smart quotes": "```python\ndef f(x):\n    return {“a”: 1}[“a”] + x\n```",
    "smart single quotes": "```python\ndef f(x):\n    return {‘a’: 1}[‘a’] + x\n```",
    "html": "```python\ndef f(x):\n    return x + 1 if x &lt; 9 and 1 else 0\n```",
    "html that parses": "```python\ndef f(x):\n    lt = 5\n    if 0 &lt; x:\n        return x + 1\n```",
    "html quotes": "```python\ndef f(x):\n    return x + {&quot;a&quot;: 1}[&#39;a&#39;]\n```",
    "markdown escapes": "```python\ndef f(x):\n    my\\_value = x\n    return my\\_value + 1\n```",
}  # fmt: skip


@pytest.mark.parametrize("answer", CHARACTERS.values(), ids=CHARACTERS)
def test_characters_that_stand_in_for_others(answer: str) -> None:
    check(answer)


def test_characters_in_strings_stay() -> None:
    code = "def f(x):\n    return '\u00a0\u200b“&lt;”' + x\n"
    assert extract(fenced(code), entry_point="f").code == code
    mixed = code.replace("    return", "\u00a0\u00a0\u00a0\u00a0return")
    assert extract(f"```python\n{mixed}```", entry_point="f").code == code


JSON = '{"code": "def f(x):\\n    return x + 1\\n"}'
WRAPPINGS = {
    "json": JSON,
    "json in a fence": f"```json\n{JSON}\n```",
    "json in a bare fence": f"```\n{JSON}\n```",
    "json in prose": f"Here it is: {JSON}\nDone.",
    "json with raw newlines": '{"solution": "def f(x):\n    return x + 1"}',
    "json, cut off": JSON[:-2],
    "json, explained": f'{{"explanation": "Add one.\\nThen return.", {JSON[1:]}',
    "json of lines": '{"code": ["def f(x):", "    return x + 1"]}',
    "json with a fence in it": '{"answer": "```python\\ndef f(x):\\n    return x + 1\\n```"}',
    "tool call": f'{{"name": "python", "arguments": {JSON}}}',
    "tool call, arguments as text": '{"name": "python", "arguments": "{\\"code\\": \\"def f(x):\\\\n    return x + 1\\"}"}',
    "tool_call tag": f'<tool_call>\n{{"name": "python", "arguments": {JSON}}}\n</tool_call>',
    "TOOL_CALLS": f'[TOOL_CALLS][{{"name": "run", "arguments": {JSON}}}]',
    "parameter tag": f"<tool_call>\n<function=python>\n<parameter=code>\n{ADD}</parameter>\n</function>\n</tool_call>",
    "python tag": f"<|python_tag|>{ADD}",
    "code tag": f"<code>\n{ADD}</code>",
    "PYTHON tag": f"[PYTHON]\n{ADD}[/PYTHON]",
    "html block": "<pre><code class='language-python'>def f(x):\n    return x + 1 if x &lt; 9 else 0\n</code></pre>",
    "python literal": "{'code': '''def f(x):\n    return x + 1\n'''}",
    "diff": "```diff\n--- a/f.py\n+++ b/f.py\n@@ -1,2 +1,2 @@\n def f(x):\n-    return x\n+    return x + 1\n```",
    "diff of a new file": "```diff\n--- /dev/null\n+++ b/f.py\n@@ -0,0 +1,2 @@\n+def f(x):\n+    return x + 1\n```",
    "diff without head": "```diff\n def f(x):\n-    return x\n+    return x + 1\n```",
    "diff as python": "```python\n+def f(x):\n+    return x + 1\n```",
    "diff without fence": "--- a/f.py\n+++ b/f.py\n@@ -1,2 +1,2 @@\n def f(x):\n-    return x\n+    return x + 1",
    "numbers": "```python\n1 def f(x):\n2     return x + 1\n```",
    "numbers and bars": "```\n 1 | def f(x):\n 2 |     y = x\n 3 |\n 4 |     return y + 1\n```",
    "numbers and colons": "```\n1: def f(x):\n2:     return x + 1\n```",
    "numbers and tabs": "```\n     9\tdef f(x):\n    10\t    return x + 1\n```",
    "session": "```\n>>> def f(x):\n...     return x + 1\n...\n>>> f(1)\n2\n```",
    "method": "```python\nclass Solution:\n    def f(self, x):\n        return x + 1\n```",
    "method with state": "```python\nclass Solution:\n    def __init__(self):\n        self.n = 1\n    def f(self, x):\n        return x + self.n\n```",
    "static method": "```python\nclass Tools:\n    @staticmethod\n    def f(x):\n        return x + 1\n```",
    "method of another name": "```python\nclass Solution:\n    def increment(self, x):\n        return x + 1\n```",
    "method without its class": "```python\ndef f(self, x):\n    return self.g(x)\n\ndef g(self, x):\n    return x + 1\n```",
    "method called below": "```python\nclass Solution:\n    def f(self, x):\n        return x + 1\n\nsol = Solution()\nprint(sol.f('a'))\n```",
}  # fmt: skip


@pytest.mark.parametrize("answer", WRAPPINGS.values(), ids=WRAPPINGS)
def test_every_wrapping(answer: str) -> None:
    check(answer)


@pytest.mark.parametrize("answer", ["def g(self, x):\n    return x + 1", "def g(x):\n    return x + 1"])
def test_a_function_given_for_a_method(answer: str) -> None:
    assert loaded(fenced(answer), "Solution().g")["Solution"]().g(1) == 2


# ------------------------------------------------------------- repetition


@pytest.mark.parametrize("unit", ["assert f(1) == 2\n", "assert f(1) == 2\n\n", "# Test\nprint(f(1))\n", "0, 1, "])
def test_a_repeated_end_is_cut_and_named(unit: str) -> None:
    found = extract(f"```python\n{ADD}\n{unit * 400}", entry_point="f")
    assert found.code == ADD and "repetition" in found.how


def test_counting_up_is_repetition_too() -> None:
    text = "".join(f"assert f({n}) == {n + 1}\n" for n in range(40))
    cut = repetition(ADD + text)
    assert cut is not None and (ADD + text)[:cut] == f"{ADD}assert f(0) == 1\n"


@pytest.mark.parametrize(
    "text",
    [
        "GRID = [\n" + "    [0, 0, 0, 0, 0, 0, 0, 0, 0],\n" * 9 + "]\n",
        "def f(x):\n" + "".join(f"    if x == {n}:\n        return {n * n % 7}\n" for n in range(30)),
        "TABLE = {\n" + "".join(f"    {n}: {n * n},\n" for n in range(60)) + "}\n",
        "x = 1\n" * 8,
        "PRIMES = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97]\n",
    ],
)
def test_a_programs_own_repetition_is_none(text: str) -> None:
    for end in range(len(text)):
        assert repetition(text[:end]) is None
