//! Which addresses lie in the public Internet, and which in a network that only this machine is in.
//!
//! From the registries of special-purpose addresses (RFC 6890, IANA as of 2025). What carries an IPv4 address in it is that
//! address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Into the Internet.
    Public,
    /// Into a network that belongs to somebody, or nowhere: only where that was granted.
    Private(&'static str),
    /// To this link, and to the services that clouds give credentials out from: only where the address itself was granted.
    Local(&'static str),
}

/// Where clouds tell a machine who it is, beside what is link-local: their addresses.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),                   // Microsoft
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),                 // Alibaba
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),                     // Oracle
];

/// Networks of RFC 6890 that are not public.
const V4: [(Ipv4Addr, u32, &str); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an address of this host"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, PRIVATE),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "an address that a provider shares out"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, LOOPBACK),
    (Ipv4Addr::new(172, 16, 0, 0), 12, PRIVATE),
    (Ipv4Addr::new(192, 0, 0, 0), 24, RESERVED),
    (Ipv4Addr::new(192, 0, 2, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(192, 88, 99, 0), 24, RESERVED),
    (Ipv4Addr::new(192, 168, 0, 0), 16, PRIVATE),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "an address for measurements"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(203, 0, 113, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "an address of a group"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, RESERVED),
    (Ipv4Addr::BROADCAST, 32, "the address of everybody"),
];

/// What in the global unicast range is not public; outside that range nothing is.
const V6: [(Ipv6Addr, u32, &str); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, RESERVED),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, DOCUMENTATION),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, DOCUMENTATION),
];

const PRIVATE: &str = "an address of a private network";
const LOOPBACK: &str = "an address of this machine";
const LINK: &str = "an address of this link";
const DOCUMENTATION: &str = "an address for examples";
const RESERVED: &str = "a reserved address";
const METADATA_WHAT: &str = "where a cloud gives out credentials";

/// Where `address` leads.
pub(crate) fn network(address: IpAddr) -> Network {
    if METADATA.contains(&address) {
        return Network::Local(METADATA_WHAT);
    }
    match address {
        IpAddr::V4(address) => network_v4(address),
        IpAddr::V6(address) => match inner(address) {
            Some(inner) => network(IpAddr::V4(inner)),
            None => network_v6(address),
        },
    }
}

fn network_v4(address: Ipv4Addr) -> Network {
    if address.is_link_local() {
        return Network::Local(LINK);
    }
    let within = |(network, length, _): &&(Ipv4Addr, u32, &str)| {
        (address.to_bits() ^ network.to_bits()).leading_zeros() >= *length
    };
    V4.iter().find(within).map_or(Network::Public, |(_, _, what)| Network::Private(what))
}

fn network_v6(address: Ipv6Addr) -> Network {
    let [first, second, ..] = address.segments();
    let within = |(network, length, _): &&(Ipv6Addr, u32, &str)| {
        (address.to_bits() ^ network.to_bits()).leading_zeros() >= *length
    };
    match first {
        // Amazon has several services there, and may have more: fd00:ec2::/32.
        0xfd00 if second == 0xec2 => Network::Local(METADATA_WHAT),
        _ if address.is_loopback() => Network::Private(LOOPBACK),
        0xfe80..0xfec0 => Network::Local(LINK),
        0xfc00..0xfe00 | 0xfec0..0xff00 => Network::Private(PRIVATE),
        0xff00.. => Network::Private("an address of a group"),
        0x2000..0x4000 => V6.iter().find(within).map_or(Network::Public, |(_, _, what)| Network::Private(what)),
        _ => Network::Private(RESERVED),
    }
}

/// The IPv4 address that an IPv6 address is another spelling of, or a way to.
fn inner(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // The unspecified and the loopback address are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Compatible and mapped (RFC 4291 §2.5.5), translated (RFC 2765 §2.1).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(of(high, low)),
        // NAT64 (RFC 6052 §2.1).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        // 6to4 (RFC 3056 §2).
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Network {
        network(text.parse().unwrap())
    }

    #[test]
    fn the_internet_is_public() {
        for text in ["1.1.1.1", "9.9.9.9", "172.32.0.1", "100.128.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.255"] {
            assert_eq!(at(text), Network::Public, "{text}");
        }
        for text in ["2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "64:ff9b::1.1.1.1", "::ffff:1.1.1.1"] {
            assert_eq!(at(text), Network::Public, "{text}");
        }
    }

    #[test]
    fn other_networks_are_not_in_any_spelling() {
        let v4 = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
        ];
        for text in v4 {
            assert!(matches!(at(text), Network::Private(_)), "{text}");
            let bits = text.parse::<Ipv4Addr>().unwrap().to_bits();
            let (high, low) = (bits >> 16, bits & 0xffff);
            for text in [
                format!("::ffff:{high:x}:{low:x}"),
                format!("64:ff9b::{high:x}:{low:x}"),
                format!("2002:{high:x}:{low:x}::1"),
                format!("::ffff:0:{high:x}:{low:x}"),
                format!("::{high:x}:{low:x}"),
            ] {
                assert!(matches!(at(&text), Network::Private(_)), "{text}");
            }
        }
        for text in [
            "::",
            "::1",
            "fc00::1",
            "fdff::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "2001::1",
            "100::1",
            "64:ff9b:1::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(matches!(at(text), Network::Private(_)), "{text}");
        }
    }

    #[test]
    fn links_and_the_services_that_give_out_credentials_are_local() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "169.254.170.2",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::ffff:168.63.129.16",
        ] {
            assert!(matches!(at(text), Network::Local(_)), "{text}");
        }
    }
}
