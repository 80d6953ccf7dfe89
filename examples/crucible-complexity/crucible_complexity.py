"""A whole plugin node: after every test, warn about functions that branch too much.

Install it beside Crucible (`pip install ./examples/crucible-complexity`) and it runs: no registration call, no
setting. `crucible nodes list` shows it, `crucible graph` draws it, `tools.disabled_nodes: [complexity]` turns it off.
"""

import ast

from crucible.nodes import BaseNode

BRANCHES = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.BoolOp, ast.IfExp, ast.comprehension)
LIMIT = 10


def complexity(function: ast.AST) -> int:
    """McCabe's cyclomatic complexity (IEEE TSE 2(4), 1976): one plus the number of branches."""
    return 1 + sum(isinstance(node, BRANCHES) for node in ast.walk(function))


class Complexity(BaseNode):
    name = "complexity"
    after = "test"

    def run(self, state, context):
        found = []
        for attempt in state["attempts"]:
            if attempt.cycle != state["cycle"] or attempt.verdict is None:
                continue
            for node in ast.walk(ast.parse(attempt.code)):
                if isinstance(node, ast.FunctionDef) and complexity(node) > LIMIT:
                    message = f"{node.name} has a cyclomatic complexity of {complexity(node)}; split it"
                    found.append({"kind": "style", "severity": "info", "attempt_id": attempt.id, "message": message})
        context.emit("complexity", count=len(found))
        return {"feedback": found}
