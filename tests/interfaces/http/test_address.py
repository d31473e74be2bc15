"""Where the server listens: what is refused before it does, and what https is like. No test leaves loopback."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from penstock.clock import ManualClock
from penstock.control import bare_project, opened_ledger
from penstock.errors import ConfigError
from penstock.interfaces.http import Listener, checked_address, kept_token, make_app
from tests.interfaces.user import started, typed

NAME = "flows.example.org"


@dataclass(frozen=True)
class Certificate:
    """Two files: a certificate that is signed by itself, of 127.0.0.1, and its key."""

    cert: Path
    key: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Made by openssl."""
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "a.crt", folder / "a.key")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    about = ("-subj", "/CN=penstock", "-addext", "subjectAltName=IP:127.0.0.1")
    places = ("-out", str(made.cert), "-keyout", str(made.key))
    subprocess.run(["openssl", "req", "-x509", *curve, *about, *places, "-days", "2"], check=True, capture_output=True)
    return made


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::7"])  # noqa: S104 - nothing listens there
def test_other_machines_are_let_in_by_tls_and_names_only(host: str, certificate: Certificate) -> None:
    """Each of the three that is missing is said, with what to do; with all it is an address."""
    files = {"cert": certificate.cert, "key": certificate.key}
    with pytest.raises(ConfigError, match="without TLS"):
        checked_address(host, cert=None, key=None, names=[NAME], tokens=1)
    with pytest.raises(ConfigError, match="nobody has a token of their own") as caught:
        checked_address(host, **files, names=[NAME], tokens=0)
    found = checked_address(host, **files, names=[NAME.upper()], tokens=1)

    assert "penstock token new" in str(caught.value)
    assert found.host == host
    assert not found.is_loopback
    assert NAME in found.names
    assert found.url(7654).startswith("https://")


def test_all_addresses_want_a_name(certificate: Certificate) -> None:
    """Of an address that is all of them nobody knows by which name it is asked, and it is shown by one."""
    files = {"cert": certificate.cert, "key": certificate.key}
    with pytest.raises(ConfigError, match="none is said to be asked for"):
        checked_address("0.0.0.0", **files, names=[], tokens=1)  # noqa: S104 - nothing listens there

    assert checked_address("0.0.0.0", **files, names=[NAME], tokens=1).url(1) == f"https://{NAME}:1"  # noqa: S104 - so
    assert checked_address("192.0.2.7", **files, names=[], tokens=1).names == {"192.0.2.7"}
    assert checked_address("::1", cert=None, key=None, names=[], tokens=0).url(1) == "http://[::1]:1"


@pytest.mark.parametrize("host", ["flows.example.org", "", "127.1", "0x7f.0.0.1", "127.0.0.1:80", "localhost.evil"])
def test_a_name_is_no_address(host: str) -> None:
    """What a name stands for is for others to say: only a number tells whether it is loopback."""
    with pytest.raises(ConfigError, match="is no address to listen at"):
        checked_address(host, cert=None, key=None, names=[], tokens=1)


@pytest.mark.parametrize("name", ["*", "https://flows.example.org", "flows.example.org:80", "", "a/b", "a b"])
def test_what_is_no_name_of_a_machine_is_none(name: str) -> None:
    """It would match nothing, or everything."""
    with pytest.raises(ConfigError, match="is no name of a machine"):
        checked_address("127.0.0.1", cert=None, key=None, names=[name], tokens=0)


def test_a_certificate_is_read_before_anything_listens(certificate: Certificate, tmp_path: Path) -> None:
    """One file of two, files that are not there, or the wrong way round, are told at once."""
    missing = tmp_path / "none.pem"
    with pytest.raises(ConfigError, match="TLS takes two files"):
        checked_address("127.0.0.1", cert=certificate.cert, key=None, names=[], tokens=0)
    for cert, key in ((missing, certificate.key), (certificate.key, certificate.cert)):
        with pytest.raises(ConfigError, match="are no certificate and its key"):
            checked_address("127.0.0.1", cert=cert, key=key, names=[], tokens=0)


def test_up_refuses_before_it_leads(endless: Path, certificate: Certificate) -> None:
    """By option and by penstock.toml; a token of somebody's own is the last thing that it wants."""
    plain = typed(endless, "up", "--host", "0.0.0.0")  # noqa: S104 - it is refused
    (endless / "penstock.toml").write_text(
        f'[server]\nhost = "0.0.0.0"\ntls_cert = "{certificate.cert}"\ntls_key = "{certificate.key}"\n'
    )
    nobody = typed(endless, "up")
    assert typed(endless, "token", "new", "ann").code == 0
    unnamed = typed(endless, "up")

    assert [answer.code for answer in (plain, nobody, unnamed)] == [2, 2, 2]
    assert "--tls-cert FILE and --tls-key FILE" in plain.err
    assert "penstock token new NAME" in nobody.err
    assert "--allowed-host" in unnamed.err


def test_up_speaks_https(endless: Path, certificate: Certificate) -> None:
    """With a certificate, on loopback, by the names that were given: all options arrive where they are meant."""
    files = ("--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key))
    trust = ssl.create_default_context(cafile=str(certificate.cert))
    options = ("--port", "0", "--spares", "0", "--allowed-host", NAME)
    with started(endless, "up", *options, *files, terminal=True) as running:
        url = re.search(r"at (https://127\.0\.0\.1:\d+),", running.wait_for_text("let a flow run"))
        assert url is not None
        with httpx.Client(base_url=url[1], verify=trust, trust_env=False) as client:
            named = client.get("/v1/health", headers={"Host": NAME})
            other = client.get("/v1/health", headers={"Host": f"not.{NAME}"})
        scraped = typed(endless, "generate", "prometheus", "--tls-ca", "flows.crt").out

    assert "scheme: https" in scraped
    assert "ca_file: flows.crt" in scraped
    assert [named.status_code, other.status_code] == [200, 403]


@pytest.fixture
def served(tmp_path: Path, certificate: Certificate) -> Iterator[tuple[str, str]]:
    """An address that speaks https and is called by a name too, and the token."""
    clock = ManualClock()
    environment = bare_project(tmp_path).environment("dev")
    token, made = kept_token(environment.folder)
    address = checked_address("127.0.0.1", cert=certificate.cert, key=certificate.key, names=[NAME], tokens=0)
    with opened_ledger(environment, clock) as ledger:
        app = make_app(environment, ledger, clock, token, names=address.names)
        listener = Listener(app, port=0, address=address)
        listener.start()
        try:
            yield listener.url, str(made)
        finally:
            listener.stop()


def test_https_keeps_its_cookies_to_itself(served: tuple[str, str], certificate: Certificate) -> None:
    """Who trusts the certificate logs in, and the cookie is Secure; a name that was given is as good as loopback."""
    url, token = served
    trust = ssl.create_default_context(cafile=str(certificate.cert))
    with httpx.Client(base_url=url, verify=trust, trust_env=False) as client:
        answer = client.post("/v1/session", json={"token": token, "who": "ann"})
        named = client.get("/v1/flows", headers={"Host": NAME, "Origin": f"https://{NAME}"})
        stranger = client.get("/v1/flows", headers={"Host": "evil.example"})
        page = client.get("/v1/flows", headers={"Origin": "https://evil.example"})

    assert url.startswith("https://127.0.0.1:")
    assert "Secure" in answer.headers["set-cookie"]
    assert [one.status_code for one in (answer, named, stranger, page)] == [200, 200, 403, 403]


def test_https_answers_nobody_in_the_clear(served: tuple[str, str]) -> None:
    """Nor one who does not trust its certificate."""
    url, _ = served
    with httpx.Client(trust_env=False) as client:
        for asked in (url, url.replace("https", "http")):
            with pytest.raises(httpx.TransportError):
                client.get(f"{asked}/v1/health")
