# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What can be wrong with TLS, told by the option to correct: its files before connecting, the server's answer after."""

from __future__ import annotations

import ssl

from ..errors import TelemetryError
from .connection import Connection


def check_files(connection: Connection) -> None:
    """Load what the options name, as the connection will. Raises TelemetryError naming the option and the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca, certificate, key = connection.ca_certs, connection.client_cert_file, connection.client_key_file
    for option, path in (("ca_certs", ca), ("client_cert_file", certificate), ("client_key_file", key)):
        _check_readable(option, path)
    if ca:
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError as error:
            raise TelemetryError(
                f"ca_certs={ca} holds no certificate", remedy="Name the authority's certificate in PEM form."
            ) from error
    if key and not certificate:
        raise TelemetryError(
            f"client_key_file={key} is given without client_cert_file", remedy="Give both, or neither."
        )
    if not certificate:
        return
    try:
        context.load_cert_chain(certificate, key or None, password=lambda: "")  # or a terminal would be asked for it
    except (ssl.SSLError, ValueError) as error:
        if "key values mismatch" in str(error).lower().replace("_", " "):
            raise TelemetryError(
                f"client_key_file={key or certificate} is not the key to client_cert_file={certificate}",
                remedy="Give files that belong together.",
            ) from error
        raise TelemetryError(
            f"client_cert_file={certificate} and client_key_file={key} hold no certificate with an unencrypted key",
            remedy="Give both in PEM form, the key without a password.",
        ) from error


def _check_readable(option: str, path: str) -> None:
    if not path:
        return
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise TelemetryError(
            f"{option}={path} cannot be read: {error.strerror}",
            remedy="Name a file of the host that is readable for who connects to Redis.",
        ) from error


def explain(text: str, connection: Connection) -> tuple[str, str] | None:
    """What a failed handshake means, and the remedy; ``text`` is the error of OpenSSL. None when it is not of TLS."""
    low = text.lower().replace("_", " ")
    if "not valid for" in low or "mismatch, certificate" in low or "doesn't match" in low:
        return (
            f"the server's certificate is not for login_host={connection.login_host}",
            "Set login_host to a name that stands in the certificate, or have one made for this name.",
        )
    if "has expired" in low or "not yet valid" in low:
        return (
            f"the server's certificate {'has expired' if 'has expired' in low else 'is not yet valid'}",
            "Renew the certificate of the server, or correct the clock of this host.",
        )
    if "verify failed" in low:
        trusted = f"ca_certs={connection.ca_certs} does" if connection.ca_certs else "the authorities of the system do"
        return (
            f"the server's certificate is of an authority that {trusted} not hold",
            "Name the file of the server's authority in ca_certs.",
        )
    if any(word in low for word in ("wrong version number", "record layer failure", "unknown protocol")):
        return "the server does not speak TLS on this port", _NO_TLS
    if "certificate required" in low or "alert" in low or "eof occurred" in low or "peer did not return" in low:
        if connection.client_cert_file:
            return (
                f"the server refuses client_cert_file={connection.client_cert_file}",
                "Give a certificate of an authority that the server trusts, and that has not expired.",
            )
        return (
            "the server ended the connection: it asks for a client's certificate, or broke down",
            "Set client_cert_file and client_key_file.",
        )
    if "ssl" in low or "certificate" in low:
        return f"TLS failed: {text}", "Check tls, ca_certs, client_cert_file and client_key_file."
    return None


_NO_TLS = "Set login_port to the server's TLS port, or tls to false."


def silent(connection: Connection) -> tuple[str, str]:
    """What it means when nobody answers the handshake, and the remedy."""
    return f"no answer to TLS within {connection.timeout_s:g} s: it hangs, or does not speak TLS on this port", _NO_TLS
