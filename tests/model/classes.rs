//! Which destinations may share a copy, and what DSCP it bears (WIRE.md R10), by the names of the
//! DSCPs.

use std::collections::BTreeMap;

use super::message::Message;

/// The most demanding first.
const ORDER: &str = "EF VA CS7 CS6 CS5 AF41 AF42 AF43 CS4 AF31 AF32 AF33 CS3 AF21 AF22 AF23 CS2 \
                     AF11 AF12 AF13 CS1 default LE";

impl Message {
    /// Those that may share a copy, each in list order.
    pub(crate) fn classes(&self, mut live: Vec<usize>) -> Vec<Vec<usize>> {
        live.sort_unstable();
        if !self.has_ds_bytes {
            return vec![live];
        }
        let of = |index: usize| assured_class(&name(self.list[index].ds_byte));
        let highest = live.iter().map(|index| of(*index)).max().unwrap_or(0);
        let mut classes: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
        for index in live {
            let class = if of(index) == 0 { highest } else { of(index) };
            classes.entry(class).or_default().push(index);
        }
        classes.into_values().collect()
    }

    /// The DSCP and ECN bits of a copy for these destinations.
    pub(crate) fn traffic_class_of(&self, live: &[usize]) -> u8 {
        if !self.has_ds_bytes {
            return self.traffic_class;
        }
        let mut live = live.to_vec();
        live.sort_unstable();
        let ds_byte = |index: &usize| self.list[*index].ds_byte;
        let rank = |index: &usize| ORDER.split_whitespace().position(|n| n == name(ds_byte(index)));
        // The first of equals, in list order.
        let most_demanding = live.iter().min_by_key(|index| rank(index)).unwrap();
        ds_byte(most_demanding) & 0xfc | self.traffic_class & 3
    }
}

fn name(ds_byte: u8) -> String {
    match ds_byte >> 2 {
        46 => "EF".to_owned(),
        44 => "VA".to_owned(),
        1 => "LE".to_owned(),
        dscp if dscp % 8 == 0 && dscp > 0 => format!("CS{}", dscp / 8),
        dscp @ (10 | 12 | 14 | 18 | 20 | 22 | 26 | 28 | 30 | 34 | 36 | 38) => {
            format!("AF{}{}", dscp / 8, dscp % 8 / 2)
        }
        _ => "default".to_owned(),
    }
}

/// The digit of an assured forwarding class; 0 for all others.
fn assured_class(name: &str) -> u8 {
    name.strip_prefix("AF").map_or(0, |digits| digits.as_bytes()[0])
}
