"""Which addresses Loggia's servers may open: a stranger's address must not reach into the network.

A name is judged by what it resolves to, at the moment of connecting, and numbers are judged
whatever way they are written: the system's resolver turns 0x7f.1 and 2130706433 into 127.0.0.1
first. Address forms that carry an IPv4 address (RFC 4291 mapped, RFC 3056 6to4, RFC 4380 Teredo,
RFC 6052 translation) are judged by that too.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx2

from backend.sources.errors import FetchRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_TRANSLATED = IPv6Network("64:ff9b::/96")
_MOST_CHARACTERS = 4096


class AddressRules:
    """The rules in force; `allowed` are ranges that the operator has opened."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def parsed(self, address: str) -> httpx2.URL:
        """The address in parts. Raises `FetchRefused` where its form alone forbids it."""
        if len(address) > _MOST_CHARACTERS:
            raise FetchRefused(
                "address_too_long",
                f"The address has {len(address)} characters; {_MOST_CHARACTERS} are allowed.",
                "Use a shorter address.",
            )
        try:
            url = httpx2.URL(address.strip())
        except httpx2.InvalidURL as error:
            raise FetchRefused(
                "address_malformed",
                f"'{address[:200]}' is not an address: {error}.",
                "Give a complete address such as https://example.org/models.json.",
            ) from None
        self.check_form(url)
        return url

    def check_form(self, url: httpx2.URL) -> None:
        """Refuses other schemes, credentials in the address, and addresses without a host."""
        if url.scheme not in {"http", "https"}:
            raise FetchRefused(
                "scheme",
                f"Addresses that begin with '{url.scheme or 'nothing'}:' are not opened.",
                "Use an address that begins with https:// or http://.",
            )
        if url.userinfo:
            raise FetchRefused(
                "credentials_in_address",
                "The address carries a user name or a password, which would be kept in the "
                "history for everybody to read.",
                "Save them as a connection and name the connection.",
            )
        if not url.host:
            raise FetchRefused(
                "address_malformed", "The address names no host.", "Give a complete address."
            )
        if url.port is not None and not 0 < url.port < 65536:
            raise FetchRefused(
                "address_malformed",
                f"There is no port {url.port}; ports go up to 65535.",
                "Correct the address.",
            )

    def check_resolved(self, host: str, resolved: Sequence[str]) -> None:
        """Refuses a host of which any address is closed: one open address proves nothing."""
        for text in resolved:
            address = ip_address(text)
            if any(address in network for network in self._allowed):
                continue
            for inner in (address, *_carried(address)):
                if any(inner in network for network in self._allowed):
                    continue
                if (word := _closed(inner)) is not None:
                    shown = f"'{host}' is" if host == text else f"'{host}' leads to {text},"
                    via = "" if inner == address else f" ({inner} inside)"
                    raise FetchRefused(
                        "address_closed",
                        f"{shown} {word} address{via}; Loggia's servers do not open those.",
                        "Use a public address, or ask the operator to add the range to "
                        "LOGGIA_FETCH_ALLOWED_NETWORKS.",
                    )


def parse_networks(text: str) -> tuple[Network, ...]:
    """Ranges such as '10.0.0.0/8, fd00::/8'. Raises `ValueError` naming the one that is wrong."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def _carried(address: Address) -> list[Address]:
    if isinstance(address, IPv4Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour]
    found += list(address.teredo or ())
    if address in _TRANSLATED:
        found.append(IPv4Address(address.packed[-4:]))
    return [inner for inner in found if inner is not None]


def _closed(address: Address) -> str | None:
    """Which kind of closed address this is, or None."""
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address in _TRANSLATED):
        return None  # judged by what it carries
    kinds = {
        "an unspecified": address.is_unspecified,
        "a loopback": address.is_loopback,
        "a link-local": address.is_link_local,
        "a multicast": address.is_multicast,
        "a private": address.is_private or getattr(address, "is_site_local", False),
        "a reserved": address.is_reserved or not address.is_global,
    }
    return next((word for word, applies in kinds.items() if applies), None)
