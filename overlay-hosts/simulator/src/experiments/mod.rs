//! The experiments by name. Each file has one, as a constant of type [`Experiment`] that
//! [`ALL`] lists.

mod alm_sessions;
mod alm_single;
mod alm_speed;
mod alm_xcast_tree;
mod bandwidth;
mod broadcast_vs_gossip;
mod coordinates;
mod lab;
mod localities;
mod locality_distance;
mod locality_groups;
mod locality_leader_crash;
mod packets;
mod placed;
mod pools;
mod queue_combining;
mod ring_churn;
mod ring_holders;
mod rings;
mod scale;
mod somo_lag;
mod somo_machines;
mod somo_scale;
mod somo_shape;
mod xcast_savings;

use std::path::PathBuf;

use clap::ValueEnum;
use indicatif::ProgressBar;
use thiserror::Error;

use crate::report::Report;
use crate::world::Transport;

/// Every experiment, in the order of `overlay-sim list`.
pub const ALL: &[Experiment] = &[
    lab::EXPERIMENT,
    locality_distance::EXPERIMENT,
    locality_groups::EXPERIMENT,
    locality_leader_crash::EXPERIMENT,
    xcast_savings::EXPERIMENT,
    queue_combining::EXPERIMENT,
    ring_churn::EXPERIMENT,
    scale::EXPERIMENT,
    coordinates::EXPERIMENT,
    bandwidth::EXPERIMENT,
    alm_single::EXPERIMENT,
    alm_sessions::EXPERIMENT,
    alm_speed::EXPERIMENT,
    alm_xcast_tree::EXPERIMENT,
    broadcast_vs_gossip::EXPERIMENT,
    somo_shape::EXPERIMENT,
    somo_lag::EXPERIMENT,
    somo_scale::EXPERIMENT,
];

/// Something that `overlay-sim run` can run.
#[derive(Clone, Copy)]
pub struct Experiment {
    /// What it is called, in kebab-case.
    pub name: &'static str,
    /// What it shows, in one sentence.
    pub about: &'static str,
    /// Runs it: the whole table, or with [`Options::nodes`] the rows for these alone. It tells
    /// how far it is by [`ProgressBar::set_length`], [`ProgressBar::inc`] and
    /// [`ProgressBar::set_message`]; the bar is hidden where nobody sees it.
    pub run: fn(&Options, &ProgressBar) -> Result<Report, Error>,
}

/// Nodes up to which datagrams are signed, unless it is said otherwise.
const SIGNED_NODES_MAX: usize = 1_000;
/// The same at the scale of [`Scale::Ci`], where minutes count.
const SIGNED_NODES_MAX_CI: usize = 100;

/// How an experiment is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Rows for this many hosts only.
    pub nodes: Option<usize>,
    /// All randomness follows from it.
    pub seed: u64,
    /// How much is run.
    pub scale: Scale,
    /// How messages to several peers leave; `None`: as the experiment's definition says.
    pub transport: Option<TransportChoice>,
    /// A file of round-trip times in place of the experiment's own network.
    pub matrix: Option<PathBuf>,
    /// How datagrams are sealed; `None`: signed up to 1,000 nodes, open above.
    pub seal: Option<SealKind>,
}

impl Options {
    /// The sizes to run: the one that was asked for, or the scale's own.
    pub fn sizes(&self, ci: &[usize], full: &[usize]) -> Vec<usize> {
        match (self.nodes, self.scale) {
            (Some(nodes), _) => vec![nodes],
            (None, Scale::Ci) => ci.to_vec(),
            (None, Scale::Full) => full.to_vec(),
        }
    }

    /// Whether datagrams are signed among so many nodes.
    pub fn is_signed(&self, nodes: usize) -> bool {
        let most = match self.scale {
            Scale::Ci => SIGNED_NODES_MAX_CI,
            Scale::Full => SIGNED_NODES_MAX,
        };
        self.seal.map_or(nodes <= most, |seal| seal == SealKind::Signed)
    }

    /// What the table says of that.
    pub fn seal_note(&self, nodes: usize) -> String {
        match self.is_signed(nodes) {
            true => format!("{nodes} nodes: datagrams are signed"),
            false => format!("{nodes} nodes: seals are as long as signatures, and prove nothing"),
        }
    }

    /// Says so if a flag was given that the experiment cannot follow.
    ///
    /// # Errors
    /// The first of them.
    fn refuse(&self, experiment: &str, flags: &[Flag]) -> Result<(), Error> {
        let is_given = |flag: &&Flag| match flag {
            Flag::Nodes => self.nodes.is_some(),
            Flag::Transport => self.transport.is_some(),
            Flag::BothTransports => self.transport == Some(TransportChoice::Both),
            Flag::Matrix => self.matrix.is_some(),
            Flag::Seal => self.seal.is_some(),
        };
        let problem = match flags.iter().find(is_given) {
            None => return Ok(()),
            Some(Flag::Nodes) => "has one size; leave out --nodes",
            Some(Flag::Transport) => "compares transports itself; leave out --transport",
            Some(Flag::BothTransports) => {
                "has rows for one transport at a time; say --transport unicast or xcast"
            }
            Some(Flag::Matrix) => "runs on a network of its own; leave out --matrix",
            Some(Flag::Seal) => "seals nothing; leave out --seal",
        };
        Err(Error::Usage(format!("{experiment} {problem}")))
    }

    /// How messages to several peers leave, where there is one way.
    pub fn transport_or(&self, default: Transport) -> Transport {
        match self.transport {
            Some(TransportChoice::Unicast) => Transport::Unicast,
            Some(TransportChoice::Xcast) => Transport::Xcast,
            Some(TransportChoice::Both) | None => default,
        }
    }
}

/// What some experiments cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    /// `--nodes`
    Nodes,
    /// `--transport`, whatever it says.
    Transport,
    /// `--transport both`
    BothTransports,
    /// `--matrix`
    Matrix,
    /// `--seal`
    Seal,
}

/// How much is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Scale {
    /// As much as is tested at every change.
    Ci,
    /// The whole table.
    #[default]
    Full,
}

/// How messages to several peers leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TransportChoice {
    /// To each one alone.
    Unicast,
    /// Once for all.
    Xcast,
    /// Rows for either.
    Both,
}

/// How datagrams are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SealKind {
    /// As long as a signature, and proves nothing.
    Null,
    /// By Ed25519.
    Signed,
}

/// Why an experiment has not run.
#[derive(Debug, Error)]
pub enum Error {
    /// It cannot be run so.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read, or is none.
    #[error("{}: {reason}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
