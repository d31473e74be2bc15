"""The REST interface of `penstock up`: wishes go to the ledger, facts come from it; nothing here touches an engine."""

from penstock.interfaces.http.app import make_app
from penstock.interfaces.http.listening import DEFAULT_PORT, Listener
from penstock.interfaces.http.tokens import kept_token

__all__ = ["DEFAULT_PORT", "Listener", "kept_token", "make_app"]
