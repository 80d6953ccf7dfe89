"""Errors as servers write them, and what each means here: in an answer's status and body, or in the middle of a stream."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from crucible.errors import ContextOverflowError, EngineError, ModelUnavailableError
from crucible.models.transport.payload import count, mapping, string
from crucible.models.transport.quoting import quote, words

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_OVERFLOW = re.compile(
    r"context.{0,12}(size|length|window)|exceed_context|context_length|prompt is too long|inputs? tokens.{0,40}must be",
    re.IGNORECASE,
)
_STATUS = {
    "server_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "internalservererror": 500,
    "api_error": 500,
    "overloaded_error": 503,
    "unavailable_error": 503,
    "service_unavailable": 503,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "timeout_error": 504,
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "notfounderror": 404,
}
"""HTTP status of an error that came without one, by its type."""


class Problem(NamedTuple):
    """An error in a server's words."""

    message: str
    kind: str = ""
    """Type and code."""
    status: int | None = None
    """HTTP status, where the words name one."""


def problem(document: Any, event: str = "", *, plain: bool = False) -> Problem | None:  # noqa: ANN401 - JSON
    """The error that a JSON document says, None where it says none.

    event: the name of the server-sent event it came as. plain: a document that holds nothing but a message is an error too.
    """
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    said = mapping(document)
    error = said.get("error") or said.get("errors")
    if not error:
        error = next((item.get("error") for item in _choices(said) if item.get("error")), None)
    if error:
        return _problem(error, said)
    if event == "error" or said.get("object") == "error" or said.get("type") == "error":
        return _problem(said or document, said)
    if plain and (said.get("detail") or (isinstance(said.get("message"), str) and "content" not in said)):
        return None if "choices" in said else _problem(said, said)
    return None


def _choices(said: dict[str, Any]) -> list[dict[str, Any]]:
    choices = said.get("choices")
    return [mapping(item) for item in choices] if isinstance(choices, list) else []


def _problem(error: Any, around: dict[str, Any]) -> Problem:  # noqa: ANN401 - JSON
    if isinstance(error, list) and error:
        error = error[0]
    said = mapping(error)
    texts = (said.get(name) for name in ("message", "detail", "msg", "error"))
    message = error if isinstance(error, str) else next(filter(None, map(_text, texts)), "") or _text(error)
    kind, code = string(said.get("type")), said.get("code", around.get("code"))
    number = count(code)
    status = number if number is not None and 400 <= number < 600 else _STATUS.get(kind.lower())
    status = status or _STATUS.get(string(code).lower())
    return Problem(message or "no reason given", f"{kind} {string(code)}".strip(), status)


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return value
    return json.dumps(value) if value else ""


def refusal(
    status: int,
    body: bytes,
    *,
    url: str,
    model: str,
    content_type: str = "",
    retry_after: str | None = None,
    hide: Iterable[str] = (),
) -> EngineError | ModelUnavailableError:
    """The error that a server's HTTP error means. retry_after: the header of that name. hide: secrets it may repeat."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    found = problem(document, "error") if document else None
    if found is None:
        said = words(body, hide=hide)
        found = Problem(
            f"{content_type.partition(';')[0]}: {said}" if said and content_type else said or "no reason given"
        )
    error = _failure(found, status, quote(found.message, hide=hide), url, quote(model, 80))
    if status in TRANSIENT and not isinstance(error, ContextOverflowError):
        error.transient_s = seconds(retry_after)
    return error


def failure(found: Problem, *, url: str, model: str, hide: Iterable[str] = ()) -> EngineError | ModelUnavailableError:
    """The error that a server's words mean under a status of success: in the middle of an answer, say."""
    message = quote(found.message, hide=hide)
    error = _failure(found, found.status, message, url, quote(model, 80))
    if type(error) is EngineError:
        error = EngineError(f"{url} failed while answering: {message}")
    if found.status in (None, *TRANSIENT) and not isinstance(error, ContextOverflowError):
        error.transient_s = 0.0
    return error


def _failure(
    found: Problem, status: int | None, message: str, url: str, model: str
) -> EngineError | ModelUnavailableError:
    if _OVERFLOW.search(found.kind) or (status in (None, 400, 413, 422, 500) and _OVERFLOW.search(message)):
        return ContextOverflowError(f"{message}; shorten the task or raise model.context_length")
    if status in (401, 403):
        return ModelUnavailableError(f"{url} refuses the key (HTTP {status}); set model.api_key")
    if status == 404:
        return ModelUnavailableError(
            f"{url} has no model {model!r}, or no chat completions there (HTTP 404: {message})"
        )
    if status in (502, 503, 504):
        return ModelUnavailableError(f"{url} is not ready (HTTP {status}: {message}); try again later")
    return EngineError(f"{url} answers HTTP {status}: {message}")


def seconds(retry_after: str | None) -> float:
    """A Retry-After header: seconds, or a date; 0 for anything else."""
    said = (retry_after or "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", said):
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
