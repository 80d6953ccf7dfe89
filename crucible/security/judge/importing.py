"""What tests may import: the program beside them under any name, and no library that the sandbox lacks. Follows guest.py."""

import importlib.abc
import importlib.machinery
import sys

LIBRARIES = frozenset(
    "attr bs4 cv2 django flask hypothesis lxml matplotlib mock mpmath networkx nltk nose numpy pandas parameterized pluggy "
    "pydantic pytest requests scipy seaborn skimage sklearn sympy tensorflow torch tqdm yaml".split()
)
"""Never the program, though the sandbox lacks them: else it could supply the very functions that compare."""


def absent(module, name):
    """Return the attribute of a library that is not there: marks alone, which say nothing about the program."""
    if (module, name) != ("pytest", "mark"):
        raise ImportError(f"the tests use {module}.{name}, and {module} is not in the sandbox; use unittest")
    return Marks()


class Marks:
    def __getattr__(self, name):
        if name in ("parametrize", "usefixtures"):
            raise ImportError(f"the tests use pytest.mark.{name}, and pytest is not in the sandbox; use unittest")
        return self

    def __call__(self, *args, **kwargs):
        return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else self


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves the modules that the tests name and nobody else has: libraries, and the program where it is elsewhere."""

    def __init__(self, names, program=None):
        self.names, self.program = names, program

    def find_spec(self, name, path=None, target=None):
        is_library = name.partition(".")[0] in LIBRARIES
        if name not in self.names or (self.program is None and not is_library):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__.partition(".")[0]
        is_library = name in LIBRARIES
        module.__getattr__ = (lambda attribute: absent(name, attribute)) if is_library else self.program.__getattr__


def stand_in(name, module, is_package):
    """Make the program importable under a name that the tests give it."""
    found = module
    if is_package:
        found = type(sys)(name)
        found.__path__ = []
        found.__getattr__ = lambda attribute: getattr(module, attribute)
    sys.modules[name] = found
    package, _, last = name.rpartition(".")
    if package:
        setattr(sys.modules[package], last, found)
