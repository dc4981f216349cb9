//! Typed, validated configuration of the Xcast router.
//!
//! A configuration is one TOML text. [`parse`] turns it into a [`Config`] or into all of its
//! errors at once, each a [`Diagnostic`] with the bytes it is about; [`parse_experiment`] reads
//! just the code points that every program with Xcast on a wire needs, [`parse_relays`] the relays
//! that a host knows. A [`Config`] prints itself as TOML with every default explicit, and that text
//! parses to an equal [`Config`].
//!
//! Nothing here does I/O or knows packets: a text goes in, values come out.
//!
//! ```
//! let text = r#"
//! [experiment]
//! ip-protocol = 253
//! all-routers-v4 = "224.0.0.254"
//! all-routers-v6 = "ff02::114"
//! routing-type = 253
//! ports-option = 0x5e
//! hop-by-hop-option = 0x1e
//! tunnel-port = 1021
//!
//! [router]
//! name = "r1"
//!
//! [ports]
//! revers-path = "loose"
//! "#;
//!
//! let diagnostics = router_config::parse(text).expect_err("a key is mistyped");
//! assert_eq!(
//!     diagnostics[0].render("r1.toml", text),
//!     "r1.toml:15:1: error: unknown key `revers-path`, did you mean `reverse-path`?",
//! );
//!
//! let (config, warnings) = router_config::parse(&text.replace("revers-", "reverse-"))
//!     .expect("nothing else is wrong");
//! assert!(warnings.is_empty());
//! assert_eq!(config.ports.reverse_path, router_config::ReversePath::Loose);
//! assert_eq!(config.kernel_tables, [254]);
//! ```

mod config;
mod diagnostic;
mod document;
mod keyword;
mod nearest;
mod not_in_effect;
mod print;
mod read;
pub mod reading;
mod relays;
mod sections;
mod values;

pub use config::{
    Backbone, Config, Driver, Experiment, FibKind, Limits, MAIN_TABLE, Metrics, NeighborPin, Port,
    PortDefaults, ReversePath, RouteTarget, Router, SemiPermeable, StaticRoute, Tunnel, TunnelKeys,
    TunnelKind, XcastNeighbors,
};
pub use diagnostic::{Diagnostic, Severity};
pub use ipnetwork::IpNetwork;
pub use relays::Relays;

use diagnostic::Report;
use document::{Document, Source};

/// Reads a whole router configuration. Beside the configuration come its warnings.
///
/// # Errors
/// Everything that is wrong with the text, and the warnings it would have had, by position.
pub fn parse(text: &str) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let source = Source::new(text);
    let document = Document::parse(&source);
    let report = Report::default();
    let config = sections::config(document.root(), &report);
    not_in_effect::warn(document.root(), &report);
    let diagnostics = document.settle(report);
    match config {
        Some(config) if !has_error(&diagnostics) => Ok((config, diagnostics)),
        _ => Err(diagnostics),
    }
}

/// Reads the `[experiment]` table of a text and ignores all others: the text may be that table
/// alone, or a router's whole configuration.
///
/// # Errors
/// Everything that is wrong with that table, and all syntax errors, by position.
pub fn parse_experiment(text: &str) -> Result<Experiment, Vec<Diagnostic>> {
    let source = Source::new(text);
    let document = Document::parse(&source);
    let report = Report::default();
    let experiment = sections::experiment_alone(document.root(), &report);
    let diagnostics = document.settle(report);
    match experiment {
        Some(experiment) if !has_error(&diagnostics) => Ok(experiment),
        _ => Err(diagnostics),
    }
}

/// Reads a host's `relays.toml`.
///
/// ```
/// let text = r#"
/// relays = ["relay1.example:1021", "[2001:db8::1]:1021"]
/// keys = ["hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="]
/// private-key-file = "/etc/xcast/host.key"
/// "#;
/// let relays = router_config::parse_relays(text).expect("it is well-formed");
/// assert_eq!(relays.relays[0], "relay1.example:1021");
///
/// let diagnostics = router_config::parse_relays("relay = []").expect_err("a key is mistyped");
/// let complaint = "relays.toml:1:1: error: unknown key `relay`, did you mean `relays`?";
/// assert_eq!(diagnostics[0].render("relays.toml", "relay = []"), complaint);
/// ```
///
/// # Errors
/// Everything that is wrong with the text, by position.
pub fn parse_relays(text: &str) -> Result<Relays, Vec<Diagnostic>> {
    let source = Source::new(text);
    let document = Document::parse(&source);
    let report = Report::default();
    let relays = relays::read(document.root(), &report);
    let diagnostics = document.settle(report);
    if has_error(&diagnostics) { Err(diagnostics) } else { Ok(relays) }
}

fn has_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}
