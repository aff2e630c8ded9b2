"""Which IP addresses nobody's upstream should have: the proxy's own host, its network, its cloud's metadata service.

A name on the allow-list may resolve to anything its owner likes, and to something else a second later. What a name led
to is therefore judged here, address by address. Sources: the IANA special-purpose address registries (RFC 6890).
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Network and what it is; the first row that holds the address names the reason.
SPECIAL: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared with a carrier's NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fe80::/10", "link-local"),
        ("fc00::/7", "private"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
    )
)
GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
# Well-known prefix of NAT64 (RFC 6052) and that of 6to4 (RFC 3056): both lead to the IPv4 address they hold.
_NAT64: Final = IPv6Network("64:ff9b::/96")
_6TO4: Final = IPv6Network("2002::/16")


def parse_networks(text: str) -> tuple[Network, ...]:
    """Read comma-separated networks, `10.0.0.0/8, fd00::/8`; raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def literal(host: str) -> Address | None:
    """The address a host is written as, or None for a name. `127.1` and `0x7f000001` are names, and resolve."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def leads_to(address: Address) -> Address:
    """The address behind the forms that only carry an IPv4 address: IPv4-mapped, NAT64, 6to4; else itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _6TO4:
            return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return address


def refused_because(address: Address, private: Iterable[Network] = ()) -> str | None:
    """What kind of address it is when it may not be connected to, else None. `private` may, whatever they are."""
    real = leads_to(address)
    if any(real in network for network in private):
        return None
    for network, kind in SPECIAL:
        if real in network:
            return kind
    return None if isinstance(real, IPv4Address) or real in GLOBAL_UNICAST else "not global unicast"
