//! What the router gives up before it touches a packet.
//!
//! The privileged start is what comes before [`enter`]: arguments and configuration are read and
//! the descriptor limit is raised. `enter` then makes the control socket's folder and gives up,
//! in this order:
//!
//! 1. **capabilities**: all but those that packet sockets, rtnetlink, nftables and, where a port
//!    asks for the driver `xdp`, programs in the kernel need for as long as the router runs, for
//!    ports may appear at any time;
//! 2. **new privileges** by executing a program;
//! 3. **files and TCP ports** (landlock), where the kernel has it: the configuration's folder can
//!    be read, for a reload; sockets can be made and removed in the control socket's folder;
//! 4. **system calls** (seccomp): see `calls.rs`.
//!
//! 3 and 4 are the `sandbox` switch of `[router]`; 1 and 2 always hold. All of it binds the
//! calling thread and the threads that it starts, so `enter` comes before any other thread.
//!
//! Extending the router may mean extending this: a capability goes to `capabilities.rs`
//! (`CAP_NET_BIND_SERVICE` for a port below 1024), a folder, device or TCP port to `permits`, a
//! system call, `ioctl` or socket family to `calls.rs`. What is missing shows as "Operation not
//! permitted" or "Permission denied", and goes away with `sandbox = false`.

mod calls;
mod capabilities;
mod files;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use router_config::{Config, Driver, Metrics, TunnelKind};

use crate::io::{forbid_new_privileges, may_change, tun};
use files::Permits;

/// Why the router does not start: it could not give up what it must.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The folder of the control socket does not exist and cannot be made.
    #[error("cannot make {}, the folder of the control socket: {error}", .folder.display())]
    MakeFolder {
        /// The folder.
        folder: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Without the capabilities given up, no socket can be made or removed there.
    #[error(
        "cannot make a control socket in {}: {error} (a running router has no more power over \
         files than its user: let that user own the folder, or choose another control-socket)",
        .folder.display()
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Capabilities cannot be given up.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// New privileges cannot be forbidden.
    #[error("cannot forbid new privileges: {0}")]
    NewPrivileges(io::Error),
    /// The kernel has landlock and refuses its use.
    #[error("cannot give up files by landlock: {0} (`sandbox = false` goes without)")]
    Files(#[from] landlock::RulesetError),
    /// The kernel has seccomp and refuses its use.
    #[error("cannot give up system calls by seccomp: {0} (`sandbox = false` goes without)")]
    Calls(#[from] seccompiler::Error),
}

/// How far one of the kernel's means holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strength {
    /// As far as it was asked for.
    Full,
    /// The kernel knows an earlier form, and holds to that.
    Partial,
    /// It is not in this kernel, or does not suit this processor.
    Absent,
    /// Switched off by `sandbox = false`.
    Off,
}

/// What holds from now on; its text is a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The names of the capabilities that are left.
    pub capabilities: Vec<String>,
    /// Landlock: files, TCP ports, signals to others.
    pub files: Strength,
    /// Seccomp: system calls.
    pub calls: Strength,
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let capabilities = match self.capabilities.as_slice() {
            [] => "no capabilities".to_owned(),
            some => format!("capabilities {} alone", some.join(" ")),
        };
        let state = |strength: &Strength| match strength {
            Strength::Full => "on",
            Strength::Partial => "on in part (an earlier kernel)",
            Strength::Absent => "not in this kernel",
            Strength::Off => "off (sandbox = false)",
        };
        let (files, calls) = (state(&self.files), state(&self.calls));
        write!(f, "{capabilities}, no new privileges, landlock {files}, seccomp {calls}")
    }
}

/// Whether a router with these settings loads programs into the kernel: a port asks for the driver
/// `xdp`. Otherwise that is given up.
pub fn wants_programs(config: &Config) -> bool {
    let mut drivers: Vec<Driver> = config.port.iter().map(|port| port.driver).collect();
    if drivers.is_empty() {
        drivers.push(config.ports.driver);
    }
    drivers.contains(&Driver::Xdp)
}

/// Whether a router with these settings binds UDP to a port below 1024.
fn wants_low_ports(config: &Config) -> bool {
    let by_udp = config.tunnel.iter().any(|tunnel| tunnel.kind == TunnelKind::Udp);
    (by_udp || config.backbone.is_some()) && config.experiment.tunnel_port < 1024
}

/// Gives up what a router with these settings does not need while it runs. `config_file` is where
/// reloads read. Call it before any other thread exists.
///
/// # Errors
/// What must be given up cannot be, or the control socket could not be served afterwards. Part of
/// it may be given up then: end the process.
pub fn enter(config: &Config, config_file: &Path) -> Result<InForce, SandboxError> {
    let (router, programs) = (&config.router, wants_programs(config));
    let folder = folder_of(&router.control_socket);
    let made = fs::create_dir_all(&folder);
    made.map_err(|error| SandboxError::MakeFolder { folder: folder.clone(), error })?;
    let permits = permits(config, config_file);

    let capabilities = capabilities::reduce(programs, wants_low_ports(config))?;
    forbid_new_privileges().map_err(SandboxError::NewPrivileges)?;
    may_change(&folder).map_err(|error| SandboxError::Folder { folder, error })?;
    let (files, calls) = match router.sandbox {
        true => (files::confine(&permits)?, calls::confine(programs)?),
        false => (Strength::Off, Strength::Off),
    };
    warn_of_lost_configuration(config_file);
    Ok(InForce { capabilities, files, calls })
}

/// The files and TCP ports that a running router needs.
fn permits(config: &Config, config_file: &Path) -> Permits {
    let router = &config.router;
    let mut permits = Permits {
        // Folders, as editors put a new file in the place of the old one.
        readable: vec![folder_of(config_file)],
        sockets: vec![folder_of(&router.control_socket)],
        devices: Vec::new(),
        tcp_ports: Vec::new(),
    };
    if config.tunnel.iter().any(|tunnel| tunnel.interface.is_some())
        || config.backbone.as_ref().is_some_and(|backbone| backbone.interface.is_some())
    {
        permits.devices.push(PathBuf::from(tun::CONTROL));
    }
    let keys =
        config.tunnel.iter().filter_map(|tunnel| Some(&tunnel.keys.as_ref()?.private_key_file));
    let keys = keys.chain(config.backbone.iter().map(|backbone| &backbone.private_key_file));
    permits.readable.extend(keys.map(|file| folder_of(file)));
    // Where a link leads is another folder.
    permits.readable.extend(fs::canonicalize(config_file).ok().map(|file| folder_of(&file)));
    match &router.metrics {
        None => {}
        Some(Metrics::Tcp(address)) => permits.tcp_ports.push(address.port()),
        Some(Metrics::Unix(socket)) => permits.sockets.push(folder_of(socket)),
    }
    permits
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Root without its capabilities is a user like others, and may not read their files.
fn warn_of_lost_configuration(file: &Path) {
    // Others, such as pipes, cannot be read twice anyway, and opening one may wait.
    let is_file = fs::metadata(file).is_ok_and(|about| about.is_file());
    if is_file && let Err(error) = File::open(file) {
        let file = file.display();
        tracing::warn!(%file, %error, "a reload will not be able to read the configuration");
    }
}

#[cfg(test)]
mod tests {
    use router_config::{Router, Tunnel};

    use super::*;

    #[test]
    fn the_line_for_the_log_says_what_holds_and_what_does_not() {
        let mut in_force = InForce {
            capabilities: vec!["CAP_NET_ADMIN".to_owned(), "CAP_NET_RAW".to_owned()],
            files: Strength::Absent,
            calls: Strength::Full,
        };
        assert_eq!(
            in_force.to_string(),
            "capabilities CAP_NET_ADMIN CAP_NET_RAW alone, no new privileges, landlock not in \
             this kernel, seccomp on"
        );
        in_force.capabilities.clear();
        (in_force.files, in_force.calls) = (Strength::Partial, Strength::Off);
        assert_eq!(
            in_force.to_string(),
            "no capabilities, no new privileges, landlock on in part (an earlier kernel), seccomp \
             off (sandbox = false)"
        );
    }

    #[test]
    fn permits_follow_the_configuration() {
        let example = include_str!("../../router-config/examples/lab.toml");
        let (mut config, _) = router_config::parse(example).expect("it is an example");
        config.router = Router::named("r1");
        let of = |config: &Config| permits(config, Path::new("r1.toml"));
        let plain = of(&config);
        assert_eq!(plain.readable, [PathBuf::from(".")]);
        assert_eq!(plain.sockets, [PathBuf::from("/run/xcast")]);
        assert_eq!(plain.tcp_ports, [0; 0]);
        assert!(plain.devices.is_empty());
        config.router.metrics = Some(Metrics::Tcp("127.0.0.1:9464".parse().unwrap()));
        assert_eq!(of(&config).tcp_ports, [9464]);
        config.router.metrics = Some(Metrics::Unix(PathBuf::from("/run/metrics/r1.sock")));
        assert_eq!(of(&config).sockets.last(), Some(&PathBuf::from("/run/metrics")));
        config.tunnel.push(Tunnel {
            name: "x3".to_owned(),
            kind: TunnelKind::Udp,
            local: None,
            remote: None,
            interface: Some("xt3".to_owned()),
            keys: None,
        });
        assert_eq!(of(&config).devices, [PathBuf::from("/dev/net/tun")]);
        assert!(wants_low_ports(&config));
        config.experiment.tunnel_port = 10021;
        assert!(!wants_low_ports(&config));
    }
}
