//! `xcast explain`: why did it not arrive?

use std::net::IpAddr;

use super::show::Control;
use super::{Failure, output};
use crate::control::{Explanation, Fate, PlannedReplica, Question, Request};

#[derive(clap::Args)]
pub(super) struct Explain {
    /// Destinations: ADDR,...
    #[arg(value_name = "DEST", value_delimiter = ',', required = true)]
    destinations: Vec<IpAddr>,
    /// Source of the packet; the router itself if not given
    #[arg(long, value_name = "ADDR")]
    source: Option<IpAddr>,
    /// Octets of UDP payload
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: Control,
}

pub(super) fn run(explain: &Explain) -> Result<(), Failure> {
    let destinations = explain.destinations.clone();
    let question = Question { destinations, source: explain.source, size: explain.size };
    let value = explain.control.ask(Request::Explain(question))?;
    if explain.json {
        return output::line(&value.to_string());
    }
    let explanation: Explanation = serde_json::from_value(value).map_err(Failure::work)?;
    let fates: Vec<_> = explanation.destinations.into_iter().map(fate).collect();
    let head = ["destination", "outcome", "why", "route", "via", "interface", "neighbor", "copy"];
    output::line(&output::table(&head, &fates))?;
    if explanation.replicas.is_empty() {
        return Ok(());
    }
    let copies: Vec<_> = explanation.replicas.into_iter().map(copy).collect();
    let head = ["copy", "form", "to", "interface", "bytes", "for"];
    output::line(&format!("\n{}", output::table(&head, &copies)))
}

fn fate(fate: Fate) -> Vec<String> {
    vec![
        fate.address,
        fate.outcome,
        fate.reason.unwrap_or_default(),
        fate.prefix.unwrap_or_default(),
        fate.via.unwrap_or_default(),
        fate.interface.or(fate.tunnel).unwrap_or_default(),
        fate.neighbor_state.unwrap_or_default(),
        fate.replica.map(|id| format!("#{id}")).unwrap_or_default(),
    ]
}

fn copy(replica: PlannedReplica) -> Vec<String> {
    vec![
        format!("#{}", replica.id),
        replica.form,
        replica.to,
        replica.interface.or(replica.tunnel).unwrap_or_default(),
        replica.bytes.to_string(),
        replica.destinations.join(" "),
    ]
}
