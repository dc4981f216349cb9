//! What the inputs came to, counted: by reason and family, by form.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use xcast::forward::{Counters, DropReason};

/// IPv4, IPv6, neither.
pub(crate) const FAMILIES: usize = 3;

/// Reasons that the packet path gives, or its caller by `Counters::failed`. The others belong to
/// tunnels.
pub(crate) fn reasons() -> impl Iterator<Item = DropReason> {
    let of_tunnels = ["unknown-end", "bad-key", "replay", "depth"];
    DropReason::ALL.into_iter().filter(move |reason| !of_tunnels.contains(&reason.name()))
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) inputs: u64,
    /// Inputs whose Xcast header had the right checksum.
    pub(crate) passed_checksum: u64,
    /// By reason: inputs of each family that had it.
    pub(crate) reasons: [[u64; FAMILIES]; DropReason::COUNT],
    /// By what a copy or packet came to.
    pub(crate) forms: BTreeMap<&'static str, [u64; FAMILIES]>,
}

/// 0 for IPv4, 1 for IPv6, 2 for neither.
pub(crate) fn family(packet: &[u8]) -> usize {
    match packet.first().map(|first| first >> 4) {
        Some(4) => 0,
        Some(6) => 1,
        _ => 2,
    }
}

impl Tally {
    /// Counts the reasons by which counters differ.
    pub(crate) fn count(&mut self, family: usize, before: &Counters, after: &Counters) {
        for (reason, (before, after)) in before.drops.iter().zip(after.drops).enumerate() {
            self.reasons[reason][family] += u64::from(after > *before);
        }
    }

    pub(crate) fn form(&mut self, form: &'static str, family: usize) {
        self.forms.entry(form).or_default()[family] += 1;
    }

    pub(crate) fn share(&self) -> f64 {
        self.passed_checksum as f64 / self.inputs.max(1) as f64
    }

    /// Fails if anything that is to be hit in a family was not.
    pub(crate) fn assert_complete(&self, family: usize) {
        let missed: Vec<&str> = reasons()
            .filter(|reason| self.reasons[*reason as usize][family] == 0)
            .map(DropReason::name)
            .collect();
        assert!(missed.is_empty(), "no input came to {missed:?}\n{self}");
        let only_v4 = ["fragmented copy"];
        for form in FORMS.iter().filter(|form| family == 0 || !only_v4.contains(form)) {
            let count = self.forms.get(form).map_or(0, |counts| counts[family]);
            assert!(count > 0, "no input came to `{form}`\n{self}");
        }
        assert!(self.share() >= 0.5, "too few inputs pass the checksum\n{self}");
    }
}

/// What copies there are to be.
const FORMS: [&str; 13] = [
    "xcast copy",
    "compact copy",
    "unicast copy",
    "premature unicast copy",
    "fragmented copy",
    "right checksum of a unicast copy",
    "delivered copy",
    "delivered in place",
    "probe answered",
    "probe refused",
    "probe returned",
    "no room for a copy",
    "notice",
];

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<34} {:>10} {:>10} {:>10}", "inputs with", "IPv4", "IPv6", "neither")?;
        let mut row = |name: &str, counts: &[u64; FAMILIES]| {
            let [v4, v6, neither] = counts;
            writeln!(f, "{name:<34} {v4:>10} {v6:>10} {neither:>10}")
        };
        for reason in reasons() {
            row(reason.name(), &self.reasons[reason as usize])?;
        }
        for (form, counts) in &self.forms {
            row(form, counts)?;
        }
        let share = 100.0 * self.share();
        writeln!(f, "{} inputs, {share:.1} % of them with a right Xcast checksum", self.inputs)
    }
}
