"""Addresses that enter the history, where they stand for ever: they carry no secrets."""

from __future__ import annotations

import re
from urllib.parse import unquote

from backend.domain.errors import Invalid

_REMEDY = "Save a connection and give the address without its token, user name or password."
# Taken by its form alone, since parsers disagree about what is none.
_FORM = re.compile(r"\s*(?P<scheme>[^:/?#]*:)?//(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# In names of parameters that let somebody in: of signed addresses, tokens and passwords.
_SECRET_WORDS = frozenset(
    {"signature", "sig", "hmac", "jwt", "bearer", "auth", "authorization", "sid", "session"}
    | {"credential", "credentials", "secret", "password", "passwd", "passphrase", "pwd"}
    | {"key", "keyid", "apikey", "accesskey", "accesskeyid", "secretkey", "privatekey"}
    | {"token", "accesstoken", "authtoken", "idtoken", "refreshtoken", "privatetoken"}
    | {"securitytoken", "sessionid", "googleaccessid"}
)


def check_address(address: str, *, field: str) -> None:
    """Raises `Invalid` where the address carries what proves who somebody is."""
    found = _FORM.match(address)
    if found and "@" in found["authority"]:
        raise Invalid(
            "The address carries a user name or a password, which would be kept in the history "
            "for everybody to read.",
            remedy=_REMEDY,
            field=field,
        )
    for name in _parameters(found["rest"] if found else address):
        if _lets_in(name):
            raise Invalid(
                f"The address carries a secret in '{name[:40]}', which would be kept in the "
                "history for everybody to read.",
                remedy=_REMEDY,
                field=field,
            )


def bare(address: str) -> str:
    """The address as it may be shown: without user, parameters and fragment."""
    plain = re.split(r"[?#]", address, maxsplit=1)[0]
    found = _FORM.match(plain)
    if found is None or "@" not in found["authority"]:
        return plain
    host = found["authority"].rsplit("@", 1)[-1]
    return f"{found['scheme'] or ''}//{host}{found['rest']}"


def _parameters(rest: str) -> list[str]:
    """The names of the parameters that have a value, in query and fragment."""
    behind = re.split(r"[?#]", rest)[1:]
    pairs = [pair.partition("=") for part in behind for pair in re.split(r"[&;]", part)]
    return [unquote(name.replace("+", " ")) for name, _, value in pairs if value]


def _lets_in(name: str) -> bool:
    words = {word.lower() for word in _WORDS.findall(name)}
    return bool((words | {re.sub(r"[^a-z]", "", name.lower())}) & _SECRET_WORDS)
