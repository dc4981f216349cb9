//! `xcast router run` and `xcast router check`.

use std::path::{Path, PathBuf};

use router_config::{Config, Diagnostic};

use super::{Failure, output};
use crate::daemon::{Daemon, Seeds, sandbox};
use crate::io::{raise_descriptor_limit, raise_memory_limit};
use crate::kernel;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Run in the foreground. SIGHUP reloads the configuration, SIGTERM stops with status 0
    Run(Run),
    /// Check a configuration file: all errors at once, each as FILE:LINE:COL
    Check(Check),
}

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

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(run) => run_router(&run),
        Command::Check(check) => check_config(&check),
    }
}

fn check_config(check: &Check) -> Result<(), Failure> {
    let config = read(&check.config)?;
    for port in config.port.iter().filter(|port| !interface_exists(&port.interface)) {
        output::note(&format!(
            "{}: warning: there is no interface `{}` here now",
            check.config.display(),
            port.interface
        ));
    }
    // Where rules cannot be read there is no network to check against either.
    if let Ok(rules @ 1..) = kernel::policy_rules() {
        output::note(&format!(
            "{}: warning: {rules} `ip rule`(s) beyond the kernel's own are in force here, and the \
             router does not consult them: list their tables in kernel-tables",
            check.config.display()
        ));
    }
    // Neither where filters cannot be read, which takes CAP_NET_ADMIN.
    if let Ok(chains @ [_, ..]) = kernel::forward_chains().as_deref() {
        output::note(&format!(
            "{}: warning: forwarded packets are filtered here ({}), and packets that the router \
             sends do not pass there: use [limits]",
            check.config.display(),
            chains.join(", ")
        ));
    }
    match check.print {
        true => output::line(config.to_string().trim_end()),
        false => Ok(()),
    }
}

fn interface_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

fn run_router(run: &Run) -> Result<(), Failure> {
    let config = read(&run.config)?;
    let name = config.router.name.clone();
    if let Err(error) = raise_descriptor_limit() {
        tracing::debug!(%error, "the limit of open descriptors stays as it is");
    }
    if let Err(error) = raise_memory_limit() {
        tracing::debug!(%error, "the limit of locked memory stays as it is");
    }
    let seeds = Seeds::resolve(&config);
    // No thread and no packet before this.
    let in_force = sandbox::enter(&config, &run.config).map_err(Failure::work)?;
    tracing::info!("{in_force}");
    let path = run.config.clone();
    let reread = move || parse(&path).map(|(config, _)| config);
    let daemon = Daemon::start(config, seeds, Box::new(reread)).map_err(Failure::work)?;
    let ready = |daemon: &Daemon| {
        // Whether somebody reads it is not the router's concern.
        let _unread = output::line(&format!("ready: router {name} forwards, {}", daemon.summary()));
    };
    daemon.run(ready).map_err(Failure::work)
}

/// Reads a configuration, its warnings going to standard error.
fn read(path: &Path) -> Result<Config, Failure> {
    let (config, warnings) = parse(path).map_err(Failure::Usage)?;
    warnings.iter().for_each(|warning| output::note(warning));
    Ok(config)
}

/// A configuration and its warnings, or all that is wrong with it.
fn parse(path: &Path) -> Result<(Config, Vec<String>), String> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the configuration {file}: {error}"))?;
    let render = |diagnostics: Vec<Diagnostic>| -> Vec<String> {
        diagnostics.iter().map(|diagnostic| diagnostic.render(&file, &text)).collect()
    };
    match router_config::parse(&text) {
        Ok((config, warnings)) => Ok((config, render(warnings))),
        Err(diagnostics) => {
            let count = diagnostics.len();
            let plural = if count == 1 { "" } else { "s" };
            Err(format!("{count} problem{plural} in {file}\n{}", render(diagnostics).join("\n")))
        }
    }
}
