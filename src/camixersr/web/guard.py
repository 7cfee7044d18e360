"""Who is let in: names of hosts, origins of pages, tokens; and the headers that every answer has.

A page of another site must not reach a service on this machine: its requests carry that site's Origin, or,
where a name was bound to this address, that name as Host.
"""

import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from camixersr.web.problems import problem
from camixersr.web.settings import Settings

__all__ = ["COOKIE", "Guard", "cookie_of", "owner_of"]

COOKIE = "camixersr_session"
API = "/api/"
NOTHING = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""An inline style without content, which keeps OpenSeadragon from adding one with content."""
POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {NOTHING}; img-src 'self' blob:; "
    "media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def owner_of(token: str) -> str:
    """Whose jobs a token sees: nothing that the token could be told from."""
    return hashlib.sha256(b"owner\0" + token.encode()).hexdigest()[:32] if token else ""


def cookie_of(token: str) -> str:
    """What the page gets for a token, to ask for pictures with; worth nothing when the token goes."""
    return hmac.new(token.encode(), b"camixersr page", hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware.

    Args:
        app: what it guards.
        settings: of the service.
        count: told the status of every answer.
    """

    def __init__(self, app: ASGIApp, settings: Settings, count: Callable[[int], None]) -> None:
        self._app, self._settings, self._count = app, settings, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        refused = self._refused(headers)
        if refused:
            await problem(403, refused)(scope, receive, sending)
            return
        token = self._token(headers)
        if token is None and self._needs_token(scope["path"]):
            answer = problem(
                401,
                "give a token of the service as Authorization: Bearer TOKEN",
                headers={"www-authenticate": "Bearer"},
            )
            await answer(scope, receive, sending)
            return
        scope.setdefault("state", {})["token"] = token or ""
        await self._app(scope, receive, sending)

    def _refused(self, headers: Headers) -> str:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._settings.is_own(host):
            return f"the service is not called {host[:80]!r}; name it with --allow-host"
        if origin is None:
            return ""
        try:
            parts = urlsplit(origin)
            own = parts.scheme in ("http", "https") and self._settings.is_own(parts.netloc)
        except ValueError:
            own = False
        return "" if own else "pages of other sites may not use the service"

    def _needs_token(self, path: str) -> bool:
        return bool(self._settings.tokens) and (path.startswith(API) or path == "/metrics")

    def _token(self, headers: Headers) -> str | None:
        """The token that was given, directly or by the page's cookie; compared in constant time."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        found = None
        for token in self._settings.tokens:
            direct = hmac.compare_digest(given.strip().encode(), token.encode())
            page = hmac.compare_digest(cookie.encode(), cookie_of(token).encode())
            if (direct and scheme.lower() == "bearer") or page:
                found = token
        return found
