//! The keys by which ends of tunnels know each other: Curve25519, as 44 characters of base64.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};

use crate::wire::control::KEY_LEN;

/// Padding may be missing, as the configuration accepts it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a key: {KEY_LEN} octets in base64, 44 characters")]
pub struct KeyError;

fn decode(text: &str) -> Result<[u8; KEY_LEN], KeyError> {
    let octets = BASE64.decode(text.trim()).map_err(|_| KeyError)?;
    let key: [u8; KEY_LEN] = octets.try_into().map_err(|_| KeyError)?;
    // Nobody's key, and what an empty file or a forgotten initialization looks like.
    if key == [0; KEY_LEN] { Err(KeyError) } else { Ok(key) }
}

/// What an end keeps to itself. It is never shown by `Debug`.
#[derive(Clone)]
pub struct PrivateKey {
    octets: [u8; KEY_LEN],
    public: PublicKey,
}

impl PrivateKey {
    /// The key of these octets, which should be random.
    pub fn new(octets: [u8; KEY_LEN]) -> PrivateKey {
        let dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519);
        let mut public = [0; KEY_LEN];
        if let Some(mut dh) = dh {
            dh.set(&octets);
            public.copy_from_slice(&dh.pubkey()[..KEY_LEN]);
        }
        PrivateKey { octets, public: PublicKey(public) }
    }

    /// A new key, made of what `entropy` fills in: it must be unpredictable.
    pub fn generate(entropy: &mut impl FnMut(&mut [u8])) -> PrivateKey {
        let mut octets = [0; KEY_LEN];
        entropy(&mut octets);
        PrivateKey::new(octets)
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The key as a text, for a file that only its owner may read.
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.octets)
    }

    pub(super) fn octets(&self) -> &[u8; KEY_LEN] {
        &self.octets
    }
}

impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<PrivateKey, KeyError> {
        Ok(PrivateKey::new(decode(text)?))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey of {}", self.public)
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &PrivateKey) -> bool {
        self.public == other.public
    }
}

impl Eq for PrivateKey {}

/// What an end is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub(super) [u8; KEY_LEN]);

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<PublicKey, KeyError> {
        Ok(PublicKey(decode(text)?))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748 section 6.1: Alice's keys.
    const PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    #[test]
    fn the_public_key_is_that_of_rfc_7748() {
        let private: PrivateKey = PRIVATE.parse().unwrap();
        assert_eq!(private.octets()[..4], [0x77, 0x07, 0x6d, 0x0a]);
        assert_eq!(private.public().to_string(), PUBLIC);
        assert_eq!(private.to_base64(), PRIVATE);
        assert_eq!(PUBLIC.parse::<PublicKey>(), Ok(private.public()));
    }

    #[test]
    fn padding_and_line_ends_do_not_matter() {
        assert_eq!(PUBLIC.trim_end_matches('=').parse::<PublicKey>(), PUBLIC.parse());
        assert_eq!(format!("{PUBLIC}\n").parse::<PublicKey>(), PUBLIC.parse());
    }

    #[test]
    fn a_private_key_is_never_shown() {
        let private: PrivateKey = PRIVATE.parse().unwrap();
        let shown = format!("{private:?} {private:#?}");
        assert!(!shown.contains(PRIVATE) && !shown.contains("119"), "{shown}");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "=", "abcd", &PUBLIC[1..], &"A".repeat(44), "not base64 at all!"] {
            assert_eq!(text.parse::<PublicKey>(), Err(KeyError), "{text}");
        }
        assert!("A".repeat(43).parse::<PrivateKey>().is_err(), "zeros are nobody's key");
    }

    #[test]
    fn keys_are_generated_from_what_is_given() {
        let mut octet = 0;
        let mut entropy = |bytes: &mut [u8]| {
            octet += 1;
            bytes.fill(octet);
        };
        let one = PrivateKey::generate(&mut entropy);
        let two = PrivateKey::generate(&mut entropy);
        assert_ne!(one.public(), two.public());
        assert_eq!(one, PrivateKey::new([1; 32]));
    }
}
