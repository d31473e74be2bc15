"""`penstock token`: more keys to the server, each with a name and a role."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.clock import SystemClock
from penstock.errors import ConfigError
from penstock.flow import duration_us
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder, environment_of
from penstock.interfaces.cli.screen import TEXT, print_json, screen, table, time_text
from penstock.interfaces.http import NamedToken, Role, TokenBook

__all__ = ["command"]

_DEEDS = ("new", "list", "revoke")


def command(
    deed: Annotated[str, typer.Argument(metavar="new|list|revoke", help="Make one, list them, or end one.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="What the token is called.")] = None,
    *,
    role: Annotated[
        str, typer.Option("--role", help="viewer: sees what flows do; operator: sees rows too, and acts.")
    ] = "viewer",
    ttl: Annotated[
        str | None, typer.Option("--ttl", metavar="SPAN", help="It ends after so long, such as 30d.")
    ] = None,
    env: EnvironmentName = "dev",
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Make, list or end tokens of the server beside its own one.

    A token is shown once; only its hash is kept. A server that runs knows of a change at once, and sessions of the
    page that were opened with a token end with it. Example: penstock token new ann --role viewer
    """
    _, environment = environment_of(project, env)
    book = TokenBook(environment.folder, SystemClock())
    if deed not in _DEEDS:
        raise ConfigError(f"{deed!r} is nothing to do with tokens", hint=f"one of {', '.join(_DEEDS)}")
    if deed == "list":
        _list(book, env=env, as_json=as_json)
        return
    if name is None:
        raise ConfigError(f"which token? `penstock token {deed}` wants a name", hint=f"penstock token {deed} NAME")
    if deed == "revoke":
        ended = book.revoke(name)
        _tell({"revoked": ended.name}, f"{ended.name}: the token and its sessions end", as_json=as_json)
        return
    if role not in [one.value for one in Role]:
        raise ConfigError(f"there is no role {role!r}", hint=f"roles: {', '.join(Role)}")
    made, token = book.make(name, Role(role), ttl_us=None if ttl is None else duration_us(ttl, what="--ttl"))
    facts = {**_values(made), "token": token}
    _tell(facts, f"token of {made.name}, {made.role} (shown once, only its hash is kept): {token}", as_json=as_json)


def _tell(facts: dict[str, object], line: str, *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        screen().print(line, markup=False, soft_wrap=True)


def _list(book: TokenBook, *, env: str, as_json: bool) -> None:
    tokens = book.tokens()
    if as_json:
        print_json({"env": env, "tokens": [_values(one) for one in tokens]})
    elif not tokens:
        screen().print(f"{env} has the server's own token only: penstock token new NAME --role viewer", markup=False)
    else:
        rows = [(one.name, one.role, one.id, time_text(one.made_us), _end(one)) for one in tokens]
        columns = (("name", TEXT), ("role", TEXT), ("id", TEXT), ("made", TEXT), ("ends", TEXT))
        screen().print(table(columns, rows))


def _end(token: NamedToken) -> str:
    return "never" if token.until_us is None else time_text(token.until_us)


def _values(token: NamedToken) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role.value,
        "made_us": token.made_us,
        "until_us": token.until_us,
    }
