"""The REST interface of `penstock up`: wishes go to the ledger, facts come from it; nothing here touches an engine."""

from penstock.interfaces.http.access import Role
from penstock.interfaces.http.address import Address, checked_address
from penstock.interfaces.http.app import make_app
from penstock.interfaces.http.listening import DEFAULT_PORT, Listener
from penstock.interfaces.http.sessions import LoginLink
from penstock.interfaces.http.token_book import NamedToken, TokenBook
from penstock.interfaces.http.tokens import TokenHash, kept_token

__all__ = [
    "DEFAULT_PORT",
    "Address",
    "Listener",
    "LoginLink",
    "NamedToken",
    "Role",
    "TokenBook",
    "TokenHash",
    "checked_address",
    "kept_token",
    "make_app",
]
