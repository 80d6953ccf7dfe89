"""Several SGLang servers of the same weights behind SGLang's router, asked like one of them.

The router sends a request to the server that has read most of its beginning, and asks another where one does not answer.
What was half answered when a server died is the client's to ask again. A server that died is started anew beside the others.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crucible.errors import CrucibleError, InputError
from crucible.models.sglang.process import ServerProcess, SglangOptions, SglangProcess, gpus
from crucible.models.transport.child import HOST, free_port

ROUTE = Path(__file__).with_name("route.py")
LOOK_S = 0.5


class RouterProcess(ServerProcess):
    """SGLang's router over the servers at `urls`, of `slots` requests each. Ready when constructed; raises like them."""

    def __init__(
        self,
        python: Path,
        urls: Sequence[str],
        *,
        slots: int,
        port: int,
        api_key: str,
        log_dir: Path | None,
        start_timeout_s: float,
    ) -> None:
        super().__init__("router", log_dir=log_dir, port=port, api_key=api_key, what="SGLang's router")
        settings = {
            "worker_urls": list(urls),
            "host": HOST,
            "port": self.port,
            "api_key": api_key,
            "prometheus_host": HOST,  # as it comes it listens to all the world
            "prometheus_port": free_port(),
            "log_level": "warn",
            "worker_startup_check_interval": 1,
            # As it comes, one server takes all that begins alike until 64 requests wait there.
            "balance_abs_threshold": max(1, slots // 4),
            "balance_rel_threshold": 1.1,
            # A server that went away is left out within seconds, and taken back as soon as it answers.
            "health_check_interval_secs": 1,
            "health_failure_threshold": 1,
            "health_success_threshold": 1,
            "cb_failure_threshold": 1,
            "cb_success_threshold": 1,
            "cb_timeout_duration_secs": 2,
            "shutdown_grace_period_secs": 0,
        }
        command = [str(python), "-P", str(ROUTE), str(self._settings("settings.json", json.dumps(settings)))]
        self._serve(command, "/readiness", seconds=start_timeout_s)


class Replicas:
    """`count` servers and their router, ready when constructed. A GPU, where there are any, belongs to one of them.

    Notices of deaths go to `tell`. Raises InputError (port in use, fewer GPUs than servers) and ModelUnavailableError.
    """

    def __init__(
        self,
        options: SglangOptions,
        count: int,
        *,
        log_dir: Path | None,
        start_timeout_s: float,
        progress: Callable[[str], None] | None = None,
        tell: Callable[[str], None],
    ) -> None:
        there = gpus()
        if 0 < there < count:
            raise InputError(f"model.replicas is {count}, and a server needs a GPU of its own: here are {there}")
        each = there // count
        self._devices = [range(number * each, (number + 1) * each) if each else None for number in range(count)]
        self._options, self._log_dir, self._start_timeout_s = options, log_dir, start_timeout_s
        self._tell, self.api_key = tell, secrets.token_hex(16)
        self._closing, self._lock = threading.Event(), threading.Lock()
        ports = [free_port() for _ in range(count)]
        with ThreadPoolExecutor(count) as pool:
            starts = [
                pool.submit(self._start, number, port, None if number else progress)
                for number, port in enumerate(ports)
            ]
        self._servers = [start.result() for start in starts if not start.exception()]
        try:
            for start in starts:
                start.result()
            self._router = RouterProcess(
                options.python,
                self.servers,
                slots=options.slots,
                port=options.port,
                api_key=self.api_key,
                log_dir=log_dir,
                start_timeout_s=start_timeout_s,
            )
        except BaseException:
            for server in self._servers:
                server.close()
            raise
        self.url = self._router.url
        self._mending = threading.Thread(target=self._mend, daemon=True, name="crucible-replicas")
        self._mending.start()

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(server.url for server in self._servers)

    @property
    def pid(self) -> int:
        """The router's."""
        return self._router.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """The servers'."""
        return tuple(server.pid for server in self._servers)

    def wait(self, seconds: float) -> int | None:
        """The router's exit code, None if it still lives after `seconds`."""
        return self._router.wait(seconds)

    def last_words(self) -> str:
        return self._router.last_words()

    def serve(self, options: SglangOptions) -> None:
        """Set the options of servers that are started anew from now on."""
        with self._lock:
            self._options = options

    def close(self) -> None:
        """Ends them all. A second call does nothing."""
        self._closing.set()
        self._router.close()
        with self._lock:
            for server in self._servers:
                server.close()
        self._mending.join()

    def _start(self, number: int, port: int, progress: Callable[[str], None] | None = None) -> SglangProcess:
        return SglangProcess(
            self._options.model_copy(update={"port": port}),
            log_dir=self._log_dir,
            start_timeout_s=self._start_timeout_s,
            progress=progress,
            name=f"sglang-{number}",
            api_key=self.api_key,
            devices=self._devices[number],
            unwanted=self._closing,
        )

    def _mend(self) -> None:
        """Starts what died anew at its old address, once per death; what does not start again is left out."""
        lost: set[int] = set()
        while not self._closing.wait(LOOK_S):
            for number, server in enumerate(self._servers):
                if number in lost or server.wait(0) is None:
                    continue
                if self._closing.is_set():
                    return
                self._tell(
                    f"SGLang server {number} of {len(self._servers)} died ({server.last_words()}); the others go on"
                )
                server.close()
                try:
                    anew = self._start(number, server.port)
                except CrucibleError as error:
                    if not self._closing.is_set():
                        lost.add(number)
                        self._tell(f"SGLang server {number} stays out: {error}")
                    continue
                with self._lock:
                    self._servers[number] = anew
                    if self._closing.is_set():
                        anew.close()
