//! A routing prefix of either IP version.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP prefix: an address whose bits behind the length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// Makes a prefix, clearing the host bits of `address`; `None` if `length` is too long for
    /// the address's version (more than 32 or 128 bits).
    pub fn new(address: IpAddr, length: u8) -> Option<Prefix> {
        let address = match address {
            IpAddr::V4(v4) if length <= 32 => {
                Ipv4Addr::from_bits(v4.to_bits() & mask_v4(length)).into()
            }
            IpAddr::V6(v6) if length <= 128 => {
                Ipv6Addr::from_bits(v6.to_bits() & mask_v6(length)).into()
            }
            _ => return None,
        };
        Some(Prefix { address, length })
    }

    /// The prefix that holds `address` alone.
    pub fn host(address: IpAddr) -> Prefix {
        let length = if address.is_ipv4() { 32 } else { 128 };
        Prefix { address, length }
    }

    /// The first address of the prefix.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of leading bits that are fixed.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether `address` lies inside; always false across IP versions.
    pub fn contains(&self, address: IpAddr) -> bool {
        Prefix::new(address, self.length) == Some(*self)
            && address.is_ipv4() == self.address.is_ipv4()
    }
}

/// The netmask of an IPv4 prefix of `length` <= 32 bits.
pub(crate) fn mask_v4(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

/// The netmask of an IPv6 prefix of `length` <= 128 bits.
pub(crate) fn mask_v6(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A text that is not `ADDRESS/LENGTH`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a prefix such as 10.0.4.0/24")]
pub struct PrefixError(String);

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let error = || PrefixError(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        match length {
            None => Ok(Prefix::host(address)),
            Some(length) => {
                Prefix::new(address, length.parse().map_err(|_| error())?).ok_or_else(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clears_host_bits_and_prints_back() {
        let prefix: Prefix = "10.1.2.3/24".parse().unwrap();
        assert_eq!(prefix.to_string(), "10.1.2.0/24");
        let prefix: Prefix = "2001:db8:ffff::1/33".parse().unwrap();
        assert_eq!(prefix.to_string(), "2001:db8:8000::/33");
        assert_eq!("0.0.0.0/0".parse::<Prefix>().unwrap().length(), 0);
    }

    #[test]
    fn contains_only_its_own_version() {
        let all: Prefix = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.255.255.255".parse().unwrap()));
        assert!(!all.contains("::".parse().unwrap()));
        let v6: Prefix = "::/0".parse().unwrap();
        assert!(v6.contains("ffff::".parse().unwrap()));
        assert!(!v6.contains("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn refuses_what_is_not_a_prefix() {
        for text in ["10.0.0.0/33", "::/129", "10.0.0/8", "x", "", "1.2.3.4/", "1.2.3.4/-1"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
