"""What the transport's tests stand on: a certificate authority, the description of an nginx, a judge and deadlines."""

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DEADLINE = 5.0
"""For exchanges that are expected to succeed."""
SHORT = 0.3
"""For exchanges that are expected to run into their deadline."""


def allow(host: str, port: int, addresses: Sequence[str]) -> str | None:
    """The judge that permits everything: our servers listen on loopback."""
    return None


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of our own, whose root the tests' transports trust."""

    key: ec.EllipticCurvePrivateKey
    root: x509.Certificate
    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        """A fresh root."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, _certificate("Test root", [], key, None, key), folder)

    def trusting(self) -> ssl.SSLContext:
        """A client's context that trusts this authority alone."""
        return ssl.create_default_context(cadata=self.root.public_bytes(serialization.Encoding.PEM).decode())

    def issue(self, *names: str, self_signed: bool = False) -> tuple[Path, Path]:
        """Files of a certificate for `names` and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        signer = (None, key) if self_signed else (self.root, self.key)
        certificate = _certificate(names[0], names, key, *signer)
        stem = self.folder / f"{x509.random_serial_number():x}"
        stem.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        stem.with_suffix(".key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return stem.with_suffix(".crt"), stem.with_suffix(".key")

    def serving(self, *names: str, self_signed: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for `names`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*names, self_signed=self_signed))
        return context


def _certificate(
    common_name: str,
    names: Sequence[str],
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    signing_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    """Somebody accepts connections on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx: its plain port, and its TLS port with a certificate for `nginx.test` and 127.0.0.1."""

    port: int
    tls_port: int


NGINX_CONF = """
{user}daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; root {folder}/html; default_type text/plain;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
    location = /hello   {{ add_header X-Connection $connection; return 200 "hello"; }}
    location = /nothing {{ return 204; }}
    location = /close   {{ keepalive_timeout 0; return 200 "bye"; }}
    location = /gzip    {{ gzip on; gzip_min_length 1; gzip_types *; try_files /large.txt =404; }}
    location = /slow    {{ limit_rate_after 1k; limit_rate 10; try_files /large.txt =404; }}
    location = /moved   {{ return 302 http://127.0.0.1:{port}/hello; }}
  }}
}}
"""
