//! How the quality of a link is written, on the command line and in files: times, shares, rates,
//! numbers, and any of them as `THERE/BACK` where the two directions differ.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

/// One value of each direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Both<T> {
    pub(super) there: T,
    pub(super) back: T,
}

/// A direction: from a link's first end to its second, or from the second to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    There,
    Back,
}

impl Way {
    pub(super) const BOTH: [Way; 2] = [Way::There, Way::Back];
}

impl<T: Copy> Both<T> {
    pub(super) fn of(&self, way: Way) -> T {
        match way {
            Way::There => self.there,
            Way::Back => self.back,
        }
    }
}

impl<T: FromStr<Err = String> + Copy> FromStr for Both<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Both<T>, String> {
        let one = |text: &str| text.trim().parse::<T>();
        match text.split_once('/') {
            Some((there, back)) => Ok(Both { there: one(there)?, back: one(back)? }),
            None => one(text).map(|value| Both { there: value, back: value }),
        }
    }
}

/// A time, such as `25ms` or `1.5ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Time(pub(super) Duration);

/// The longest delay: half an hour is beyond any link there is, and keeps sums in range.
const TIME_MAX: Duration = Duration::from_secs(1800);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        let wrong = || format!("`{text}` is not a time such as 25ms, 250us or 1.5s");
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        if time > TIME_MAX {
            return Err(format!("`{text}` is more than {} s", TIME_MAX.as_secs()));
        }
        Ok(Time(time))
    }
}

/// A share of all frames, such as `0.01` or `1%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share(pub(super) f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
            None => text.parse(),
        };
        match share {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(Share(share)),
            _ => Err(format!("`{text}` is not a share from 0 to 1, such as 0.01 or 1%")),
        }
    }
}

/// Bits a second, such as `5mbit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate(pub(super) u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let wrong = || format!("`{text}` is not a rate such as 64kbit, 5mbit or 1gbit (a second)");
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let bits = match unit {
            "bit" => 1.0,
            "kbit" => 1e3,
            "mbit" => 1e6,
            "gbit" => 1e9,
            _ => return Err(wrong()),
        };
        match number * bits {
            rate if (1.0..=1e12).contains(&rate) => Ok(Rate(rate as u64)),
            _ => Err(format!("`{text}`: rates are from 1 bit to 1000 gbit a second")),
        }
    }
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number(pub(super) u64);

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Number, String> {
        let number = text.parse().map(Number);
        number.map_err(|_| format!("`{text}` is not a number such as 100"))
    }
}

/// A number that is not negative, and what stands behind it.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

/// An interface, and the network namespace that it is in if that is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// A name that `ip netns` knows, or a file that names a namespace.
    pub(super) namespace: Option<String>,
    pub(super) interface: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let (namespace, interface) = match text.rsplit_once(':') {
            Some((namespace, interface)) => (Some(namespace), interface),
            None => (None, text),
        };
        if interface.is_empty() || namespace.is_some_and(str::is_empty) {
            return Err(format!("`{text}` is neither IFACE nor NETNS:IFACE"));
        }
        let namespace = namespace.map(str::to_owned);
        Ok(Place { namespace, interface: interface.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}:{}", self.interface),
            None => f.write_str(&self.interface),
        }
    }
}

impl<'de, T: FromStr<Err = String> + Copy> de::Deserialize<'de> for Both<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Both<T>, D::Error> {
        from.deserialize_any(Written)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> de::Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Place, D::Error> {
        from.deserialize_any(Written)?.parse().map_err(de::Error::custom)
    }
}

/// Text, or a number that is written without quotes.
struct Written;

impl Visitor<'_> for Written {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_they_are_written() {
        let time = |text: &str| text.parse::<Time>().map(|time| time.0.as_micros());
        assert_eq!(
            ["25ms", "1.5ms", "250us", "2s"].map(time),
            [25_000, 1500, 250, 2_000_000].map(Ok)
        );
        assert_eq!("0ms".parse(), Ok(Time(Duration::ZERO)));
        let rate = |text: &str| text.parse::<Rate>().map(|rate| rate.0);
        let rates = ["5mbit", "64kbit", "1gbit", "1.5mbit", "9bit"].map(rate);
        assert_eq!(rates, [5_000_000, 64_000, 1_000_000_000, 1_500_000, 9].map(Ok));
        assert_eq!(
            ["0.01", "1%", "0", "1"].map(str::parse),
            [0.01, 0.01, 0.0, 1.0].map(|s| Ok(Share(s)))
        );
        let both = Both { there: Rate(5_000_000), back: Rate(1_000_000) };
        assert_eq!("5mbit/1mbit".parse(), Ok(both));
        assert_eq!("7".parse(), Ok(Both { there: Number(7), back: Number(7) }));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "5", "ms", "-1ms", "5min", "1.2.3ms", "1e9s", "1801s", "5 ms"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
        for text in ["", "5", "0mbit", "5mb", "2000gbit", "-5mbit", "0.1bit"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for text in ["", "2", "-0.1", "101%", "nan", "one"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        assert!("1/2/3".parse::<Both<Number>>().is_err());
    }

    #[test]
    fn places_have_a_namespace_or_none() {
        for (text, namespace, interface) in [
            ("eth0", None, "eth0"),
            ("red:eth0", Some("red"), "eth0"),
            ("/proc/7/ns/net:eth0", Some("/proc/7/ns/net"), "eth0"),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.namespace.as_deref(), &*place.interface), (namespace, interface));
            assert_eq!(place.to_string(), text);
        }
        assert!(["", ":", "red:", ":eth0"].iter().all(|text| text.parse::<Place>().is_err()));
    }
}
