"""The kinds of receivers, and one way to send to all of them."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from penstock.errors import ConfigError, ConnectorError, did_you_mean
from penstock.observe.alerts.grouping import Route
from penstock.observe.alerts.messages import Message
from penstock.observe.alerts.routes import alertmanager, email, pagerduty, slack, webhook
from penstock.observe.alerts.routes.posts import Post

__all__ = ["ROUTE_KINDS", "RouteKind", "check_route", "deliver"]

_TIMEOUT_S = 10.0
_TOLD = 300


@dataclass(frozen=True, slots=True)
class RouteKind:
    """One kind of receiver: what it needs, what it may have, and how a message goes there, by HTTP or by itself."""

    needs: tuple[str, ...]
    may: tuple[str, ...] = ()
    posts: Callable[[Message, Mapping[str, Any]], list[Post]] | None = None
    send: Callable[[Message, Mapping[str, Any]], None] | None = None


ROUTE_KINDS: Mapping[str, RouteKind] = MappingProxyType(
    {
        "slack": RouteKind(("url",), posts=slack.posts),
        "pagerduty": RouteKind(("routing_key",), ("url",), posts=pagerduty.posts),
        "email": RouteKind(("host", "to", "from"), ("port", "user", "password", "tls"), send=email.send),
        "webhook": RouteKind(("url",), ("secret", "headers"), posts=webhook.posts),
        "alertmanager": RouteKind(("url",), ("headers",), posts=alertmanager.posts),
    }
)


def check_route(route: Route) -> Route:
    """The route, where its kind is known and has what it needs. Raises ConfigError."""
    kind = ROUTE_KINDS.get(route.kind)
    if kind is None:
        close = did_you_mean(route.kind, tuple(ROUTE_KINDS))
        raise ConfigError(
            f"alert route {route.name!r}: there is no kind {route.kind!r}.{close}",
            hint=f"use one of {', '.join(ROUTE_KINDS)}",
        )
    lacking = [name for name in kind.needs if not route.settings.get(name)]
    if lacking:
        raise ConfigError(f"alert route {route.name!r}: {', '.join(lacking)} is missing", hint="see docs/alerts.md")
    strange = [name for name in route.settings if name not in (*kind.needs, *kind.may)]
    if strange:
        raise ConfigError(
            f"alert route {route.name!r}: a {route.kind} has no {strange[0]!r}."
            f"{did_you_mean(strange[0], (*kind.needs, *kind.may))}",
            hint="see docs/alerts.md",
        )
    return route


def deliver(message: Message, route: Route, settings: Mapping[str, Any]) -> None:
    """Send a message. `settings`: those of the route, with secrets in the place of their references.

    Raises ConnectorError, which heals where trying again may help; its text holds no secret.
    """
    kind = ROUTE_KINDS[route.kind]
    if kind.posts is not None:
        for post in kind.posts(message, settings):
            _post(post, route)
        return
    assert kind.send is not None
    try:
        kind.send(message, settings)
    except OSError as error:
        raise _failed(route, f"{type(error).__name__}: {error.strerror or 'the server refused it'}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A receiver is where it was said to be; what is sent there goes nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: the answer is an error."""


_OPENER = urllib.request.build_opener(_NoRedirect())


def _post(post: Post, route: Route) -> None:
    if urlsplit(post.url).scheme not in ("http", "https"):
        raise _failed(route, "its url is neither http nor https", heals=False)
    request = urllib.request.Request(post.url, post.body, dict(post.headers), method="POST")  # noqa: S310 - see above
    try:
        with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
            answer.read(_TOLD)
    except urllib.error.HTTPError as error:
        told = error.read(_TOLD).decode(errors="replace").strip()
        heals = error.code in post.retry_on or error.code >= http.client.INTERNAL_SERVER_ERROR
        raise _failed(route, f"it answered {error.code} {told}".rstrip(), heals=heals) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise _failed(route, f"{type(reason).__name__}: {getattr(reason, 'strerror', None) or 'no answer'}") from None


def _failed(route: Route, why: str, *, heals: bool = True) -> ConnectorError:
    found = ConnectorError(
        f"the alert route {route.name!r} ({route.kind}) could not be told: {why}",
        state_left="the alert is kept, and told again" if heals else "the alert is kept",
        hint=f"penstock alerts test {route.name}",
    )
    found.heals = heals
    return found
