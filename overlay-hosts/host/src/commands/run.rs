//! `overlay-host run` and `overlay-host check`.

use std::path::{Path, PathBuf};

use router_config::Diagnostic;

use super::{Failure, output};
use crate::config::{self, Config};
use crate::daemon::Daemon;

#[derive(clap::Args)]
pub(super) struct Run {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(clap::Args)]
pub(super) struct Check {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the whole effective configuration
    #[arg(long)]
    print: bool,
}

pub(super) fn check(check: &Check) -> Result<(), Failure> {
    let config = read(&check.config)?;
    match check.print {
        true => output::line(config.to_string().trim_end()),
        false => Ok(()),
    }
}

pub(super) fn run(run: &Run) -> Result<(), Failure> {
    let config = read(&run.config)?;
    let daemon = Daemon::start(&config).map_err(|error| Failure::Work(error.to_string()))?;
    // Whether somebody reads it is not the daemon's concern.
    let _unread = output::line(&format!("ready: {}", daemon.summary()));
    daemon.run().map_err(|error| Failure::Work(error.to_string()))
}

/// Reads a configuration, its warnings going to standard error.
fn read(path: &Path) -> Result<Config, Failure> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::Usage(format!("cannot read the configuration {file}: {error}"))
    })?;
    let render = |diagnostics: Vec<Diagnostic>| -> Vec<String> {
        diagnostics.iter().map(|diagnostic| diagnostic.render(&file, &text)).collect()
    };
    match config::parse(&text) {
        Ok((config, warnings)) => {
            render(warnings).iter().for_each(|warning| output::note(warning));
            Ok(config)
        }
        Err(diagnostics) => {
            let count = diagnostics.len();
            let plural = if count == 1 { "" } else { "s" };
            let lines = render(diagnostics).join("\n");
            Err(Failure::Usage(format!("{count} problem{plural} in {file}\n{lines}")))
        }
    }
}
