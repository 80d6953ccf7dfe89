"""Starts SGLang's router from a file of settings: as arguments they would show its key to all.

python route.py SETTINGS.json      in SGLang's environment; imports nothing of Crucible
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    from sglang_router.launch_router import launch_router
    from sglang_router.router_args import RouterArgs

    launch_router(RouterArgs(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
