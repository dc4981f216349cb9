//! The ends of links, in whatever network namespaces they are.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::config::Link;
use super::quantity::Place;
use crate::io::link::LinkEnd;
use crate::io::namespace::enter_network;
use crate::tools::Failure;

/// Where `ip netns` keeps its names.
const NAMESPACES: &str = "/run/netns";

/// Opens both ends of a link.
pub(super) fn open(link: &Link) -> Result<[LinkEnd; 2], Failure> {
    let [one, other] = &link.ends;
    Ok([open_end(one)?, open_end(other)?])
}

fn open_end(place: &Place) -> Result<LinkEnd, Failure> {
    let opened = match &place.namespace {
        None => LinkEnd::open(&place.interface),
        Some(name) => inside(&file(name), place, || LinkEnd::open(&place.interface))?,
    };
    opened.map_err(|error| cannot_open(place, &error))
}

fn file(namespace: &str) -> PathBuf {
    match namespace.contains('/') {
        true => PathBuf::from(namespace),
        false => PathBuf::from(NAMESPACES).join(namespace),
    }
}

/// Runs `body` on a thread of its own that is in a network namespace. A socket stays where it was
/// opened.
fn inside<T: Send>(
    file: &PathBuf,
    place: &Place,
    body: impl FnOnce() -> T + Send,
) -> Result<T, Failure> {
    let namespace = File::open(file).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => " (`ip netns` lists names; a path names any other)",
            _ => "",
        };
        Failure::Usage(format!("{place}: {}: {error}{hint}", file.display()))
    })?;
    let enter = || enter_network(&namespace).map(|()| body());
    let entered = std::thread::scope(|scope| scope.spawn(enter).join());
    let entered = entered.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    entered.map_err(|error| {
        Failure::Work(format!(
            "{place}: cannot enter the network namespace {}: {error} (it needs CAP_SYS_ADMIN)",
            file.display()
        ))
    })
}

fn cannot_open(place: &Place, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::Usage(format!("{place}: there is no such interface")),
        io::ErrorKind::Unsupported => Failure::Usage(format!(
            "{place} is no Ethernet interface, such as an end of a veth pair"
        )),
        io::ErrorKind::NetworkDown => {
            Failure::Usage(format!("{place} is down: `ip link set {} up` before", place.interface))
        }
        io::ErrorKind::PermissionDenied => {
            Failure::Work(format!("{place}: {error} (it needs CAP_NET_RAW)"))
        }
        _ => Failure::Work(format!("{place}: {error}")),
    }
}
