"""The tests' side of a test between two sandboxes: runs the tests against stubs of the program's names. Follows peer.py and
runner.py in the tester's sandbox.
"""

import sys


def alike(left, right):
    """Return whether equal values have their bools at the same places."""
    if type(left) is bool or type(right) is bool:
        return left is right
    if type(left) in (list, tuple) and type(right) in (list, tuple):
        return all(map(alike, left, right))
    if type(left) is type(right) is dict:
        return alike(set(left), set(right)) and all(alike(item, right[key]) for key, item in left.items())
    if type(left) in (set, frozenset) and type(right) in (set, frozenset):
        members = {member: member for member in right}
        return all(alike(member, members[member]) for member in left)
    return True


class RelayRunner(Runner):
    """Knows what a result rests on: "claimed" where the program's own word decided, "low" where True stood for 1."""

    def __init__(self, pipe, module, token, peer):
        super().__init__(pipe, module, token)
        self.peer, self.weak = peer, False

    def begin(self):
        super().begin()
        self.peer.claimed = self.weak = False

    def doubt(self):
        return "low" if self.weak else "claimed" if self.peer.claimed else ""

    def same(self, left, right):
        equal = super().same(left, right)
        self.watch(equal, left, right)
        return equal

    def watch(self, equal, left, right):
        self.weak |= equal is True and not alike(left, right)

    def run_unittest(self, source, keys):
        import unittest

        original = unittest.TestCase.assertEqual

        def watched(case, first, second, msg=None):
            original(case, first, second, msg)
            self.watch(True, first, second)

        unittest.TestCase.assertEqual = watched
        super().run_unittest(source, keys)


def tester(pipe, statements, imports, names, token):
    """Run the tests here, against the program in another sandbox."""
    peer = TesterPeer(pipe, None)
    peer.module = type(sys)("__main__")
    peer.module.__getattr__ = lambda name: stub(peer, name)
    runner = RelayRunner(pipe, peer.module, token, peer)
    sys.meta_path.append(Finder(imports, peer.module))
    for name in names:
        try:
            peer.module.__dict__[name] = stub(peer, name)
        except AttributeError:
            continue
    runner.run(statements)
