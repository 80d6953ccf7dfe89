"""A running SGLang server: its settings for this machine, its start, its health, its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crucible.errors import ModelUnavailableError
from crucible.models.transport.child import HOST, Child, free_port
from crucible.types import Frozen

LEASH = Path(__file__).with_name("supervisor.py")
LOOK_S = 0.2
MAX_RANK, ADAPTERS_AT_ONCE = 64, 8
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""Where an adapter may act: SGLang makes room for all of it when it starts."""


class SglangOptions(Frozen):
    """The options a server is started with."""

    python: Path
    """The interpreter of SGLang's environment."""
    weights: Path
    """A folder as transformers writes it."""
    context_length: int
    slots: int
    """Requests decoded at once."""
    port: int = 0
    adapters: dict[str, Path] | None = None
    """PEFT folders by name, loaded from the start, and room for more; None: it takes no adapters, and is faster for it."""
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
        if self.adapters is not None:
            common |= {
                "enable-lora": True,
                "max-lora-rank": MAX_RANK,
                "max-loras-per-batch": ADAPTERS_AT_ONCE,
                "lora-target-modules": TARGETS,
            }
        if gpus:
            # Attention and graphs as SGLang picks them for the device.
            return common | {"device": "cuda", "tp-size": gpus, "mem-fraction-static": 0.85, "dtype": "bfloat16"}
        return common | {
            "device": "cpu",
            "sleep-on-idle": True,  # else its scheduler keeps one core busy with waiting
            "attention-backend": "torch_native",
            "sampling-backend": "pytorch",
            "lora-backend": "torch_native",
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


class ServerProcess(Child):
    """A program that answers HTTP at `url`. Ends, with all of its own processes, on `close` or with this process."""

    def __init__(
        self, name: str, *, log_dir: Path | None, port: int = 0, api_key: str | None = None, what: str = "SGLang"
    ) -> None:
        super().__init__(name, log_dir=log_dir, port=port, api_key=api_key)
        self.port = port or free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._what = what

    def _serve(
        self,
        command: Sequence[str],
        health: str,
        *,
        seconds: float,
        progress: Callable[[str], None] | None = None,
        env: Mapping[str, str] | None = None,
        unwanted: threading.Event | None = None,
    ) -> None:
        """Starts it and returns when `health` answers. Raises ModelUnavailableError with its last words, or as soon as it
        is unwanted."""
        try:
            leashed = [sys.executable, "-P", str(LEASH), *command]
            self._run(leashed, speaks=False, cwd=self.scratch, env=os.environ | (env or {}))
            self._wait_until_ready(health, seconds, progress, unwanted or threading.Event())
        except BaseException:
            self.close()
            raise

    def _settings(self, name: str, text: str) -> Path:
        """In a file of ours alone: arguments, with the key among them, are for all to see."""
        path = self.scratch / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        process.stdin.close()  # the leash ends all of it

    def _wait_until_ready(
        self, health: str, seconds: float, progress: Callable[[str], None] | None, unwanted: threading.Event
    ) -> None:
        import httpx

        began, told = time.monotonic(), 0.0
        with httpx.Client(trust_env=False, timeout=5.0, headers={"Authorization": f"Bearer {self.api_key}"}) as http:
            while (passed := time.monotonic() - began) < seconds:
                if self.wait(0) is not None:
                    raise ModelUnavailableError(f"{self._what} does not start: {self.last_words(settle_s=1.0)}")
                with contextlib.suppress(httpx.HTTPError):  # nobody listens yet
                    if http.get(f"{self.url}{health}").status_code == httpx.codes.OK:
                        return
                if progress is not None and passed - told >= 2.0:
                    told = passed
                    progress(f"{self._what} is starting, {passed:.0f} s (as a rule 30 to 60)")
                if unwanted.wait(LOOK_S):
                    raise ModelUnavailableError(f"{self._what} is not wanted any more")
        raise ModelUnavailableError(f"{self._what} was not ready after {seconds:.0f} s: {self.last_words()}")


class SglangProcess(ServerProcess):
    """Ready to serve when constructed. devices: the NVIDIA devices that are its own, None takes all there are; unwanted:
    set while it starts, it is given up.

    Raises InputError (port in use) and ModelUnavailableError (it does not start; its last words are told).
    """

    def __init__(
        self,
        options: SglangOptions,
        *,
        log_dir: Path | None,
        start_timeout_s: float,
        progress: Callable[[str], None] | None = None,
        name: str = "sglang",
        api_key: str | None = None,
        devices: Sequence[int] | None = None,
        unwanted: threading.Event | None = None,
    ) -> None:
        import yaml

        super().__init__(name, log_dir=log_dir, port=options.port, api_key=api_key)
        said = options.arguments(gpus() if devices is None else len(devices))
        said |= {"host": HOST, "port": self.port, "api-key": self.api_key}
        settings = self._settings("settings.yaml", yaml.safe_dump(said))
        env = {"SGLANG_DISABLE_CUDNN_CHECK": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        if devices:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, devices))
        command = [str(options.python), "-m", "sglang.launch_server", "--config", str(settings)]
        if options.adapters:  # the one thing that SGLang reads from no file
            command += ["--lora-paths", *(f"{name}={path}" for name, path in options.adapters.items())]
        command += options.extra
        self._serve(command, "/health_generate", seconds=start_timeout_s, progress=progress, env=env, unwanted=unwanted)

    @property
    def servers(self) -> tuple[str, ...]:
        """Return where the weights are, for what every one of several servers must be told."""
        return (self.url,)
