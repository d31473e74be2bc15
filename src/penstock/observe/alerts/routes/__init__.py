"""Where messages go: each kind of receiver is one file, with one function from a message to what is sent."""

from penstock.observe.alerts.routes.sending import ROUTE_KINDS, check_route, deliver

__all__ = ["ROUTE_KINDS", "check_route", "deliver"]
