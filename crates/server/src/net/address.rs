//! Who a request is from: the other end of its connection, or whom a trusted proxy names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::LimitSettings;

/// A range of addresses, written as `10.0.0.0/8`; an address alone is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// This machine, by IPv4.
    pub const LOOPBACK_V4: Self = Self {
        address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
        prefix: 8,
    };
    /// This machine, by IPv6.
    pub const LOOPBACK_V6: Self = Self {
        address: IpAddr::V6(Ipv6Addr::LOCALHOST),
        prefix: 128,
    };

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, width) = bits(self.address);
        let (other, of) = bits(address);
        let shift = u32::from(width.saturating_sub(self.prefix));
        // A shift of all bits leaves nothing to compare.
        let start = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
        width == of && start(own) == start(other)
    }
}

/// An address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

/// Text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network; write one as 10.0.0.0/8 or fd00::/8")]
pub struct BadNetwork(String);

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let width = bits(address).1;
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| bad())?,
            None => width,
        };
        if prefix > width {
            return Err(bad());
        }
        Ok(Self { address, prefix })
    }
}

impl TryFrom<String> for Network {
    type Error = BadNetwork;

    fn try_from(text: String) -> Result<Self, BadNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What limits by address go by: of IPv6, the /64 that one customer has.
pub(super) fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let start = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(start))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Who a request is from; nobody if it is a trusted proxy that names nobody.
pub(super) fn sender(
    peer: IpAddr,
    headers: &HeaderMap,
    settings: &LimitSettings,
) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if !settings.trusts(peer) {
        return Some(group(peer));
    }
    // Every proxy adds whom it got the request from at the end; what stands further in front, a
    // client may have made up.
    let named = headers.get_all("x-forwarded-for").iter().rev();
    let named = named.flat_map(|value| value.to_str().unwrap_or("").rsplit(','));
    for name in named {
        let address: IpAddr = name.trim().parse().ok()?;
        let address = address.to_canonical();
        if !settings.trusts(address) {
            return Some(group(address));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("::/0", "2001:db8::1", "127.0.0.1"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(ip(inside)), "{network} {inside}");
            assert!(!network.contains(ip(outside)), "{network} {outside}");
        }
        for bad in [
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "",
            "host/8",
            "10.0.0.0/",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_what_it_saw() {
        let settings = LimitSettings {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..LimitSettings::default()
        };
        let from = |peer: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            sender(ip(peer), &headers, &settings)
        };
        // A stranger's word does not count.
        assert_eq!(
            from("203.0.113.9", &["198.51.100.1"]),
            Some(ip("203.0.113.9"))
        );
        assert_eq!(
            from("10.0.0.1", &["198.51.100.1"]),
            Some(ip("198.51.100.1"))
        );
        assert_eq!(
            from("::ffff:10.0.0.1", &["198.51.100.1"]),
            Some(ip("198.51.100.1"))
        );
        // What the client made up stands in front of what the proxies saw.
        let chain = ["192.0.2.1, 198.51.100.1, 10.9.9.9"];
        assert_eq!(from("10.0.0.1", &chain), Some(ip("198.51.100.1")));
        let lines = ["192.0.2.1", "198.51.100.1"];
        assert_eq!(from("10.0.0.1", &lines), Some(ip("198.51.100.1")));
        for nobody in [&[][..], &["10.2.2.2"], &["192.0.2.1, unknown"]] {
            assert_eq!(from("10.0.0.1", nobody), None, "{nobody:?}");
        }
        // One customer's addresses are one sender.
        assert_eq!(from("2001:db8::1", &[]), from("2001:db8::2", &[]));
        assert_ne!(from("2001:db8::1", &[]), from("2001:db8:0:1::1", &[]));
    }
}
