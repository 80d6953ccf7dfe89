"""An HTTP client for one server, made of an address and a key as a user set them. Both may be wrong, and both may be secret."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import httpx

from crucible.errors import InputError
from crucible.models.transport.quoting import shown

PROXIES = "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"


class Address(NamedTuple):
    """A server's base URL in parts: what is sent, what may be shown, and what must not be."""

    url: str
    """Without user, password, query and fragment."""
    query: str
    auth: tuple[str, str] | None
    secrets: tuple[str, ...]

    def at(self, path: str) -> str:
        """The URL of `path`, which may have a query of its own."""
        path, _, own = path.partition("?")
        query = "&".join(part for part in (own, self.query) if part)
        return f"{self.url}{path}{f'?{query}' if query else ''}"


def address(base_url: str) -> Address:
    """Raises InputError for what is no http address."""
    try:
        parts = urlsplit(base_url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        httpx.URL(base_url)
    except (ValueError, httpx.InvalidURL):
        known = False
    if not known:
        raise InputError(f"model.base_url {shown(base_url)!r} is no address of a server (http://HOST:PORT)")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return Address(
        url=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}",
        query=parts.query,
        auth=(user, password) if user or password else None,
        secrets=tuple(_secrets(parts, user, password)),
    )


def _secrets(parts: SplitResult, user: str, password: str) -> Iterator[str]:
    yield from filter(None, (parts.password, password))
    if not password and user:  # a key in the user's place
        yield user
    yield from (value for _, value in parse_qsl(parts.query))


def checked_key(key: str | None) -> str | None:
    """`key` without the white space around it, None where nothing is left. Raises InputError for what no header can hold."""
    key = (key or "").strip("\ufeff \t\r\n\v\f")
    if not (key.isascii() and key.isprintable()):
        raise InputError("model.api_key holds line ends or characters beyond ASCII, which no key has; set it anew")
    return key or None


def this_machine(host: str | None) -> bool:
    """Return whether `host` names this machine. Any other is another machine, whatever its name resolves to."""
    name = (host or "").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return bool(mapped.is_loopback or mapped.is_unspecified)


def client(to: Address, key: str | None, timeout: httpx.Timeout) -> httpx.Client:
    """A client for `to`, which uses the environment's proxies but on the way to this machine. Raises InputError."""
    try:
        return httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            auth=to.auth if to.auth and not key else None,
            timeout=timeout,
            # No connection is kept: `Line.trace` then sees the socket of every request.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=not this_machine(urlsplit(to.url).hostname),
        )
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        # The library's own words may hold the proxy's password.
        raise InputError(unusable(to.url)) from error


def unusable(url: str) -> str:
    """Return why no client can be made, which lies in the environment."""
    return (
        f"no connection to {shown(url)} can be made as the environment says: see {PROXIES} (an http:// address; SOCKS "
        "needs the package httpx[socks]), SSL_CERT_FILE and SSL_CERT_DIR"
    )
