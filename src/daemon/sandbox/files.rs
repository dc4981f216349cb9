//! Landlock: which files and TCP ports a running router may open.
//!
//! Descriptors that are open already, such as the log's, are not concerned; neither is UDP. What
//! an earlier kernel does not know is left out.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::Strength;

/// The form of landlock that is asked for (Linux 6.12), and that the tests have seen. A later one
/// forbids more, so it takes a look at what the router does.
const FORM: ABI = ABI::V6;

/// What stays possible; all else is refused.
pub(super) struct Permits {
    /// Folders whose files can be read.
    pub(super) readable: Vec<PathBuf>,
    /// Folders in which sockets can be made, and files removed.
    pub(super) sockets: Vec<PathBuf>,
    /// Devices that can be opened, and asked anything.
    pub(super) devices: Vec<PathBuf>,
    /// TCP ports that can be listened on. Connecting to one is refused.
    pub(super) tcp_ports: Vec<u16>,
}

/// Holds the calling thread, and those that it starts, to the permits. Neither can it send
/// signals to other processes, nor connect to their abstract sockets.
pub(super) fn confine(permits: &Permits) -> Result<Strength, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(FORM))?
        .handle_access(AccessNet::from_all(FORM))?
        .scope(Scope::from_all(FORM))?
        .create()?;
    for folder in &permits.readable {
        rules = permit(rules, folder, AccessFs::ReadFile.into())?;
    }
    for folder in &permits.sockets {
        rules = permit(rules, folder, AccessFs::MakeSock | AccessFs::RemoveFile)?;
    }
    for device in &permits.devices {
        let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        rules = permit(rules, device, access)?;
    }
    for port in &permits.tcp_ports {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Strength::Full,
        RulesetStatus::PartiallyEnforced => Strength::Partial,
        RulesetStatus::NotEnforced => Strength::Absent,
    })
}

/// A folder that cannot be opened is not permitted either.
fn permit(
    rules: RulesetCreated,
    folder: &PathBuf,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(folder) {
        Ok(folder) => rules.add_rule(PathBeneath::new(folder, access)),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "it will not be accessible");
            Ok(rules)
        }
    }
}
