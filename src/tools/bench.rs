//! `xcast bench`: how fast, measured on this machine.

mod chart;
mod copy_loop;
mod cores;
mod engine;
mod frames;
mod generator;
mod lab;
mod latency;
mod launch;
mod lookup;
mod made_up;
mod measure;
mod method;
mod netns;
mod partial;
mod plot;
mod progress;
mod report;
mod updates;

use super::Failure;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    Engine(engine::Engine),
    Lookup(lookup::Lookup),
    Updates(updates::Updates),
    Netns(netns::Netns),
    Partial(partial::Partial),
    /// A bare copy loop, which `netns` measures
    #[command(hide = true)]
    CopyLoop(copy_loop::CopyLoop),
    /// A program in a namespace and on a core, as `netns` runs it
    #[command(hide = true)]
    Launch(launch::Launch),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Engine(engine) => engine::run(engine),
        Command::Lookup(lookup) => lookup::run(lookup),
        Command::Updates(updates) => updates::run(updates),
        Command::Netns(netns) => netns::run(netns),
        Command::Partial(partial) => partial::run(partial),
        Command::CopyLoop(copy_loop) => copy_loop::run(copy_loop),
        Command::Launch(launch) => launch::run(launch),
    }
}
