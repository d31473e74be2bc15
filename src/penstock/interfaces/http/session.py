"""The routes of a session: log in with a token or the printed link, see who one is, log out."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.routing import Route

from penstock.control import Environment
from penstock.interfaces.http.access import OPEN, Role, needed
from penstock.interfaces.http.bodies import Body
from penstock.interfaces.http.guard import cookie_name
from penstock.interfaces.http.keys import Caller, Keys
from penstock.interfaces.http.sessions import SESSION_TTL_S, csrf_of

__all__ = ["session_routes"]


class LogIn(Body):
    """What opens a session. `who`: how the person is called in what is kept; a named token has its own name."""

    token: str = Field(max_length=500)
    who: str = Field(default="", max_length=100)


def session_routes(app: FastAPI, environment: Environment, project: str, keys: Keys) -> None:
    """Add the routes."""

    def told(caller: Caller) -> dict[str, Any]:
        """Who it is, and which routes there are for them to read: the page says of others that they are not there."""
        csrf = None if caller.secret is None else csrf_of(caller.secret)
        about = {"env": environment.name, "project": project, "production": environment.production}
        paths = {route.path for route in app.routes if isinstance(route, Route) and "/v1/" in route.path}
        parts = sorted(path for path in paths if _may_read(caller.role, path))
        return {"session": {"role": caller.role.value, "who": caller.who, "csrf": csrf, **about, "parts": parts}}

    @app.post("/v1/session", tags=["session"])
    def log_in(request: Request, ask: LogIn) -> Response:
        """Open a session: its cookie is HttpOnly and SameSite=Strict, by https Secure too, and ends after 12 hours."""
        if keys.is_tired:
            return _refused(429, "tired", "too many wrong tokens; try again in a minute")
        opened = keys.log_in(ask.token.strip(), ask.who.strip())
        if opened is None:
            return _refused(401, "token", "this is no token of this server, or its link was used before")
        secret, session = opened
        answer = JSONResponse(told(Caller(session.role, session.who, secret)))
        name = cookie_name(request.scope)
        secure = request.scope["scheme"] == "https"
        kept = {"path": "/", "httponly": True, "samesite": "strict", "secure": secure}
        answer.set_cookie(name, secret, max_age=SESSION_TTL_S, **kept)
        return answer

    @app.get("/v1/session", tags=["session"])
    def session(request: Request) -> dict[str, Any]:
        """Who asks: role, name, and the CSRF token that each POST of a session takes as `X-CSRF-Token`; or nobody."""
        caller: Caller | None = getattr(request.state, "caller", None)
        return {"session": None} if caller is None else told(caller)

    @app.delete("/v1/session", tags=["session"], status_code=204)
    def log_out(request: Request) -> Response:
        """End the session."""
        caller: Caller = request.state.caller
        if caller.secret is not None:
            keys.sessions.close(caller.secret)
        answer = Response(status_code=204)
        answer.delete_cookie(cookie_name(request.scope), path="/", httponly=True, samesite="strict")
        return answer


def _may_read(role: Role, path: str) -> bool:
    access = needed("GET", path)
    return access == OPEN or (isinstance(access, Role) and role.covers(access))


def _refused(status: int, code: str, message: str) -> JSONResponse:
    hint = "penstock up prints a new link at each start; a new token: penstock up --new-token"
    return JSONResponse({"error": {"code": code, "message": message, "heals": False, "hint": hint}}, status)
