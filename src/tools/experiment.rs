//! Where commands that put Xcast on a wire get their code points from; there is no default
//! (RFC 4727).

use std::path::{Path, PathBuf};

use router_config::Diagnostic;

use super::Failure;
use crate::daemon;
use crate::wire::CodePoints;

const VARIABLE: &str = "XCAST_EXPERIMENT";
const DEFAULT_PATH: &str = "/etc/xcast/experiment.toml";

#[derive(clap::Args)]
pub(super) struct Experiment {
    /// File with the `experiment` table of code points; else $XCAST_EXPERIMENT, else
    /// /etc/xcast/experiment.toml. A router's configuration serves too
    #[arg(long, value_name = "FILE")]
    experiment: Option<PathBuf>,
}

impl Experiment {
    /// Whether the command line names a file.
    pub(super) fn is_named(&self) -> bool {
        self.experiment.is_some()
    }

    /// The code points of the file that is named, or found.
    pub(super) fn code_points(&self) -> Result<CodePoints, Failure> {
        Ok(daemon::code_points(&self.read()?))
    }

    /// The UDP port of tunnels in that file.
    pub(super) fn tunnel_port(&self) -> Result<u16, Failure> {
        Ok(self.read()?.tunnel_port)
    }

    fn read(&self) -> Result<router_config::Experiment, Failure> {
        let named = self.experiment.clone().or_else(|| std::env::var_os(VARIABLE).map(Into::into));
        let path = named.unwrap_or_else(|| DEFAULT_PATH.into());
        let text = std::fs::read_to_string(&path).map_err(|error| missing(&path, &error))?;
        router_config::parse_experiment(&text).map_err(|wrong| rendered(&path, &text, &wrong))
    }
}

/// All that is wrong with a file.
pub(super) fn rendered(path: &Path, text: &str, diagnostics: &[Diagnostic]) -> Failure {
    let file = path.display().to_string();
    let lines = diagnostics.iter().map(|diagnostic| diagnostic.render(&file, text));
    Failure::Usage(lines.collect::<Vec<_>>().join("\n"))
}

fn missing(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!(
        "the code points are missing (ip-protocol, all-routers-v4 and the other keys of \
         [experiment], which are never defaulted): cannot read {}: {error}. Name a file by \
         --experiment or {VARIABLE}; router-config/examples/experiment.toml is one to start with",
        path.display()
    ))
}
