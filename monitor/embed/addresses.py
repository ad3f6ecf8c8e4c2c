"""Which network addresses a fetch may connect to."""

from __future__ import annotations

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[str]:
    """Every address of ``host``, in the resolver's order. Raises OSError where there is none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def allowed(address: str, *, allow_private: bool) -> bool:
    """Whether ``address`` (numeric, v4 or v6) may be connected to.

    Only globally routable unicast addresses are, also judged by the IPv4 address that a mapped, 6to4 or NAT64
    address carries. With ``allow_private`` loopback and private networks are as well; link-local addresses (where
    clouds serve credentials), multicast and unspecified ones never are.
    """
    try:
        parsed: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(_acceptable(candidate, allow_private) for candidate in _faces(parsed))


def _faces(address: Address) -> list[Address]:
    """The address itself, or the IPv4 address inside it where that is what would be reached."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return [address.ipv4_mapped]
        if address.sixtofour is not None:
            return [address, address.sixtofour]
        if address in _NAT64:
            return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]


def _acceptable(address: Address, allow_private: bool) -> bool:
    if address.is_multicast or address.is_link_local or address.is_unspecified:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return allow_private
    if address.is_global:
        return not address.is_reserved
    return (
        allow_private
        and (address.is_private or address.is_loopback)
        and not (address.is_reserved and not address.is_loopback)
    )
