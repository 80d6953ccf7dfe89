"""LangGraph's SQLite checkpointer, for runs that go on without checkpoints rather than lose what they came to."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.sqlite import SqliteSaver

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
    from langgraph.checkpoint.serde.base import SerializerProtocol


class LenientSaver(SqliteSaver):
    """Reports what it cannot write to `on_failure(run_id, error)`, and raises nothing for it."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        serde: SerializerProtocol,
        on_failure: Callable[[str, Exception], None],
    ) -> None:
        super().__init__(connection, serde=serde)
        self._on_failure = on_failure

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        try:
            return super().put(config, checkpoint, metadata, new_versions)
        except (sqlite3.Error, OSError, TypeError, ValueError) as error:
            here = config["configurable"]
            self._on_failure(here["thread_id"], error)
            kept = {name: here.get(name, "") for name in ("thread_id", "checkpoint_ns")}
            return {"configurable": {**kept, "checkpoint_id": checkpoint["id"]}}

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        try:
            super().put_writes(config, writes, task_id, task_path)
        except (sqlite3.Error, OSError, TypeError, ValueError) as error:
            self._on_failure(config["configurable"]["thread_id"], error)
