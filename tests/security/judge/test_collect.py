"""Which tests a source defines: every one is run, or refused by its name."""

from __future__ import annotations

import ast

import pytest

from crucible.errors import InputError
from crucible.security.judge import collect

MIXIN = """
import unittest
class Checks:
    def test_b(self): pass
    def test_a(self): pass
class Base(unittest.TestCase):
    def test_base(self): pass
    test_gone = lambda self: None
class One(Checks, Base):
    test_gone = None
    test_alias = None
class Abstract(unittest.TestCase):
    def setUp(self): pass
"""


def test_methods_are_inherited_from_bases_and_mixins() -> None:
    found = {each.name: each.methods for each in collect.classes(ast.parse(MIXIN))}
    assert found["One"] == ("test_a", "test_b", "test_base")
    assert found["Base"] == ("test_base", "test_gone")
    assert found["Abstract"] == () and "Checks" not in found


def test_a_plain_class_named_test_is_run_as_it_is_written() -> None:
    (found,) = collect.classes(ast.parse("class TestF:\n    def test_b(self): pass\n    async def test_a(self): pass"))
    assert (found.methods, found.is_unittest) == (("test_b", "test_a"), False)


def test_functions_are_found_wherever_the_module_defines_them() -> None:
    source = "def test_a(): pass\nasync def test_b(x=1): pass\nif True:\n    def test_c(): pass\ntest_d = lambda: None"
    assert collect.functions(ast.parse(source)) == ["test_a", "test_b", "test_c", "test_d"]


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("def test_a(tmp_path): pass", "test_a needs tmp_path"),
        ("def test_a(x=1, *, y): pass", "test_a needs y"),
        ("class TestF:\n    def test_a(self, capsys): pass", "TestF.test_a needs capsys"),
        ("class Checks:\n    def test_a(self): pass", "class Checks"),
    ],
)
def test_what_nothing_would_run_is_refused_by_name(source: str, named: str) -> None:
    tree = ast.parse(source)
    with pytest.raises(InputError, match=named):
        collect.functions(tree), collect.classes(tree)


def test_a_class_that_the_tests_use_themselves_is_no_class_of_tests() -> None:
    assert collect.classes(ast.parse("class Checks:\n    def test_a(self): pass\nChecks().test_a()")) == []
