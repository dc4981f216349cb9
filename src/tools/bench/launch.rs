//! A program in one of the laboratory's namespaces and on a core, which ends with whoever
//! started it.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::cores::Place;
use super::lab::Node;
use crate::io::affinity;
use crate::tools::Failure;

/// Runs a program in a namespace and on a core
#[derive(clap::Args)]
pub(in crate::tools) struct Launch {
    #[arg(long)]
    node: Node,
    #[arg(long)]
    core: usize,
    /// The priority of a program that runs before ordinary ones
    #[arg(long)]
    priority: Option<i32>,
    #[arg(last = true, required = true)]
    program: Vec<String>,
}

/// Becomes the program.
pub(in crate::tools) fn run(launch: &Launch) -> Result<(), Failure> {
    affinity::die_with_parent().map_err(Failure::work)?;
    launch.node.enter()?;
    let place = Place { core: launch.core, priority: launch.priority };
    place.take(true).map_err(Failure::work)?;
    let (program, arguments) = launch.program.split_first().ok_or_else(|| Failure::usage(""))?;
    Err(Failure::work(Command::new(program).args(arguments).exec()))
}

/// This very program with other arguments, to be started by [`Launch`]. Its output is a pipe.
pub(super) fn command(node: Node, place: Place, arguments: &[String]) -> Result<Command, Failure> {
    let own = std::env::current_exe().map_err(Failure::work)?;
    let mut command = Command::new(&own);
    command.args(["bench", "launch", "--node", node.name()]);
    command.args(["--core", &place.core.to_string()]);
    if let Some(priority) = place.priority {
        command.args(["--priority", &priority.to_string()]);
    }
    command.arg("--").arg(own).args(arguments);
    command.env("XCAST_LOG", "error").env_remove("XCAST_SOCKET");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}
