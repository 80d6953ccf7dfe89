"""A running SGLang server: its settings for this machine, its start, its health, its end."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from crucible.errors import InputError, ModelUnavailableError
from crucible.models.process import HOST, EngineLog, free_port, port_taken
from crucible.types import Frozen

LEASH = Path(__file__).with_name("leash.py")
LOOK_S = 0.2


class SglangOptions(Frozen):
    """What a server is started with."""

    python: Path
    """The interpreter of SGLang's environment."""
    weights: Path
    """A folder as transformers writes it."""
    context_length: int
    slots: int
    """Requests decoded at once."""
    port: int = 0
    extra: tuple[str, ...] = ()
    """Further arguments for SGLang's launch_server, after ours: the last of two wins."""

    def arguments(self, gpus: int) -> dict[str, object]:
        """For `sglang.launch_server`. gpus: NVIDIA devices here; without any it runs on the CPU."""
        common: dict[str, object] = {
            "model-path": str(self.weights),
            "context-length": self.context_length,
            "max-running-requests": self.slots,
            "enable-metrics": True,
            "enable-cache-report": True,
        }
        if gpus:
            # Attention and graphs as SGLang picks them for the device.
            return common | {"device": "cuda", "tp-size": gpus, "mem-fraction-static": 0.85, "dtype": "bfloat16"}
        return common | {
            "device": "cpu",
            "sleep-on-idle": True,  # else its scheduler keeps one core busy with waiting
            "attention-backend": "torch_native",
            "sampling-backend": "pytorch",
            "cuda-graph-backend-decode": "disabled",
            "cuda-graph-backend-prefill": "disabled",
            "mem-fraction-static": 0.3,
            "max-total-tokens": self.slots * self.context_length,
        }


def gpus() -> int:
    """NVIDIA devices that the driver shows."""
    if shutil.which("nvidia-smi") is None:
        return 0
    said = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)  # noqa: S607
    return sum(line.startswith("GPU ") for line in said.stdout.splitlines()) if said.returncode == 0 else 0


class SglangProcess:
    """Ready to serve when constructed. Ends, with all processes of SGLang's, on `close` or with this process.

    Raises InputError (port in use) and ModelUnavailableError (it does not start; its last words are told).
    """

    def __init__(
        self,
        options: SglangOptions,
        *,
        log_dir: Path | None,
        start_timeout_s: float,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        if options.port and port_taken(options.port):
            raise InputError(f"port {options.port} is in use by another program; set model.port to a free one, or 0")
        self.options = options
        self.api_key = secrets.token_urlsafe(24)
        port = options.port or free_port()
        self.url = f"http://{HOST}:{port}"
        self._scratch = Path(tempfile.mkdtemp(prefix="crucible-sglang-"))
        self._log = EngineLog(log_dir, "sglang.log", hide=self.api_key)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-P", str(LEASH)),
                *(str(options.python), "-m", "sglang.launch_server", "--config", str(self._settings(port))),
                *options.extra,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=self._scratch,
            env=os.environ
            | {"SGLANG_DISABLE_CUDNN_CHECK": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        try:
            self._log.follow(self._process.stdout)
            self._wait_until_ready(start_timeout_s, progress)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """The exit code, None if it still lives after `seconds`."""
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        return self._log.last_words()

    def close(self) -> None:
        """Ends it now. A second call does nothing."""
        if self._process.stdin is not None:
            self._process.stdin.close()  # the leash ends all of it
        self._process.wait()
        self._log.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _settings(self, port: int) -> Path:
        """In a file of ours alone: arguments, with the key among them, are for all to see."""
        import yaml

        said = self.options.arguments(gpus()) | {"host": HOST, "port": port, "api-key": self.api_key}
        path = self._scratch / "settings.yaml"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(said), encoding="utf-8")
        return path

    def _wait_until_ready(self, seconds: float, progress: Callable[[str], None] | None) -> None:
        import httpx

        began, told = time.monotonic(), 0.0
        with httpx.Client(trust_env=False, timeout=5.0, headers={"Authorization": f"Bearer {self.api_key}"}) as http:
            while (passed := time.monotonic() - began) < seconds:
                if self.wait(0) is not None:
                    raise ModelUnavailableError(f"SGLang does not start: {self._log.last_words(settle_s=1.0)}")
                with contextlib.suppress(httpx.HTTPError):  # nobody listens yet
                    if http.get(f"{self.url}/health_generate").status_code == httpx.codes.OK:
                        return
                if progress is not None and passed - told >= 2.0:
                    told = passed
                    progress(f"SGLang is starting, {passed:.0f} s (as a rule 30 to 60)")
                time.sleep(LOOK_S)
        raise ModelUnavailableError(f"SGLang was not ready after {seconds:.0f} s: {self._log.last_words()}")
