"""Who may see the page? The person who began it, in a browser on this machine: everyone else is turned away.

Other programs of this machine, and every web page that a browser has open, can reach 127.0.0.1. So an address with a
token that works once sets a cookie; requests without the cookie, under another host's name (a name that is pointed
here later), or from another page (`Origin`) get a sentence and nothing else. What is sent runs no script but our own,
loads nothing from elsewhere, and shows in no other page's frame.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ["127.0.0.1", "localhost"]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""Of a run's report, which holds its own styles and pictures and no script."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NO_COOKIE = (
    "This page is for whoever began it: open the address with a token that the terminal shows (each works once). If "
    "you have just come from there, this is it:"
)
USED = "This address has been used, or was mistyped: the terminal shows the next one, which works once."


class Tickets:
    """The token that is good for one entry, and the cookie that it is exchanged for."""

    def __init__(self, port: int, token: str, used: Callable[[str], None]) -> None:
        """`used` is told the next token, once one has been used."""
        self.cookie = f"frostline-{port}"
        self._value = secrets.token_urlsafe(32)
        self._token = token
        self._used = used

    def admits(self, headers: Headers) -> bool:
        """Whether a request carries the cookie."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return found is not None and _same(found.value, self._value)

    def exchange(self, token: str) -> str | None:
        """The cookie for a good token, which is good no more; None for another."""
        if not _same(token, self._token):
            return None
        self._token = secrets.token_urlsafe(24)
        self._used(self._token)
        return f"{self.cookie}={self._value}; Path=/; HttpOnly; SameSite=Strict"


class Guarded:
    """`app` for whoever may see it."""

    def __init__(self, app: ASGIApp, tickets: Tickets) -> None:
        self.app, self.tickets = app, tickets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        return await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> ASGIApp:
        headers, admitted = Headers(scope=scope), self.tickets.admits(Headers(scope=scope))
        if scope["method"] not in ("GET", "HEAD"):
            return self.app if admitted and _is_from_here(headers) else sentence("Not from this page.", 403)
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if tokens:
            cookie = self.tickets.exchange(tokens[0])
            if cookie is None and not admitted:
                return sentence(USED, 403)
            there = RedirectResponse("/", 303)
            if cookie is not None:
                there.headers["Set-Cookie"] = cookie
            return there
        return self.app if admitted else sentence(NO_COOKIE, 403, link=True)


class WithHeaders:
    """`app`, every answer of which has the headers that keep a browser from doing more than it shows."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def sentence(text: str, status: int, *, link: bool = False) -> Response:
    """A page that says one thing. `text` is ours."""
    reload = ' <a href="/">the page</a>.' if link else ""
    return HTMLResponse(
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Frostline</title><p>{text}{reload}</p></html>',
        status,
    )


def _is_from_here(headers: Headers) -> bool:
    """Whether our own page asks: browsers say where a request that changes something comes from."""
    return _same(headers.get("origin", ""), f"http://{headers.get('host', '')}")


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
