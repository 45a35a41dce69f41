"""A server for others to reach, as the process it is: TLS by files, and a key for every call."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from modelyard.errors import WorkspaceError
from modelyard.serving import keys
from modelyard.serving.__main__ import tls_files
from tests.integration.serving_processes import process, wait_until
from tests.mlflow_server import free_port

pytestmark = [pytest.mark.server]


def certify(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its private key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(private, hashes.SHA256())
    )
    places = folder / "tls.pem", folder / "tls.key"
    places[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    places[1].write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    places[1].chmod(0o600)
    return places


def test_files_that_are_no_pair_are_refused_at_the_start(tmp_path: Path) -> None:
    places = tmp_path / "a", tmp_path / "b"
    for place in places:
        place.mkdir()
    (certificate, private), (_, other) = (certify(place) for place in places)
    assert set(tls_files(certificate, private)) == {"ssl_certfile", "ssl_keyfile"}
    locked = tmp_path / "locked.key"
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a password"),
        )
    )
    locked.chmod(0o600)
    for wrong in (other, locked):
        with pytest.raises(WorkspaceError, match="no certificate and its private key"):
            tls_files(certificate, wrong)


def test_tls_and_keys(tmp_path: Path) -> None:
    certificate, private = certify(tmp_path)
    text, _ = keys.add(tmp_path / "keys.json", "shop", ("*",), None, None)
    port, log = free_port(), tmp_path / "log"
    words = ["--folder", tmp_path / "serving", "--port", port, "--keys", tmp_path / "keys.json"]
    words += ["--certificate", certificate, "--private-key", private]
    with process("modelyard.serving", log, *map(str, words)) as child:
        trusted = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(verify=trusted, base_url=f"https://127.0.0.1:{port}") as client:

            def live() -> bool:
                assert child.poll() is None, log.read_text()
                try:
                    return client.get("/v2/health/live").status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(live)
            assert client.get("/v2").status_code == 401
            assert "max-age" in client.get("/v2").headers["strict-transport-security"]
            assert client.get("/v2", headers={"x-api-key": text}).json()["name"] == "modelyard"
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/v2/health/live", trust_env=False)
    assert text not in log.read_text()
