//! Asks DHCP on one interface: sends the question a few times, waits for an answer that is one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use xcast::io::fill_random;

use super::dhcp::{self, CLIENT_PORT, Question, SERVER_PORT};

/// How long each question waits for its answer: 1, 2 and 4 seconds (as RFC 2131 section 4.1 doubles,
/// from less: nobody waits for an address here).
const PATIENCE: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Datagrams that are looked at for one question.
const LOOKS_MAX: usize = 64;

/// Where to ask, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Ask by this interface; empty: by the kernel's routes.
    pub interface: String,
    /// Whom: everybody on the link, or one server.
    pub server: SocketAddrV4,
    /// Where answers come to.
    pub client_port: u16,
    /// This host's address.
    pub address: Ipv4Addr,
    /// Its link-layer address.
    pub hardware: [u8; 6],
    /// The option with the list.
    pub option: u8,
    /// How long each question waits for its answer, one after the other.
    pub patience: Vec<Duration>,
}

/// Why nothing was learnt.
#[derive(Debug, thiserror::Error)]
pub enum InformError {
    /// The interface is none that DHCP can be asked by.
    #[error("interface `{interface}`: {problem}")]
    Interface {
        /// Which.
        interface: String,
        /// What it lacks.
        problem: String,
    },
    /// A system call failed.
    #[error("{what}: {error}")]
    Socket {
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// No answer has a list.
    #[error("no DHCP server has answered with option {0}{1}")]
    NoAnswer(u8, String),
}

impl Settings {
    /// Everybody on an interface's link, with the interface's own addresses.
    ///
    /// # Errors
    /// It has none.
    pub fn of_interface(interface: &str, option: u8) -> Result<Settings, InformError> {
        let lacks =
            |problem: String| InformError::Interface { interface: interface.to_owned(), problem };
        let path = Path::new("/sys/class/net").join(interface).join("address");
        let text = std::fs::read_to_string(path).map_err(|error| lacks(error.to_string()))?;
        let hardware = hardware(text.trim())
            .ok_or_else(|| lacks("it has no link-layer address of 48 bits".to_owned()))?;
        let server = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
        let address = own_address(interface)
            .map_err(|error| lacks(format!("it has no IPv4 address to be answered at: {error}")))?;
        Ok(Settings {
            interface: interface.to_owned(),
            server,
            client_port: CLIENT_PORT,
            address,
            hardware,
            option,
            patience: PATIENCE.to_vec(),
        })
    }
}

/// A link-layer address as the kernel writes it.
fn hardware(text: &str) -> Option<[u8; 6]> {
    let octets: Vec<u8> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect::<Option<_>>()?;
    octets.try_into().ok()
}

/// The address from which the kernel would ask by that interface.
fn own_address(interface: &str) -> io::Result<Ipv4Addr> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    // Chooses a route, sends nothing.
    socket.connect(&SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT).into())?;
    match UdpSocket::from(socket).local_addr()?.ip() {
        IpAddr::V4(address) if !address.is_unspecified() => Ok(address),
        _ => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// Asks, until somebody has a list.
///
/// # Errors
/// Nobody has, or it was not possible to ask.
pub fn inform(settings: &Settings) -> Result<Vec<SocketAddr>, InformError> {
    let socket = open(settings).map_err(|error| InformError::Socket {
        what: format!("cannot ask DHCP from UDP port {}", settings.client_port),
        error,
    })?;
    let mut random = [0; 4];
    fill_random(&mut random);
    let question = Question {
        transaction: u32::from_be_bytes(random),
        address: settings.address,
        hardware: settings.hardware,
        option: settings.option,
    };
    let octets = dhcp::emit(&question);
    let mut last = None;
    for patience in &settings.patience {
        if let Err(error) = socket.send_to(&octets, settings.server) {
            last = Some(error.to_string());
            continue;
        }
        match listen(&socket, &question, *patience) {
            Ok(places) => return Ok(places),
            Err(problem) => last = problem.or(last),
        }
    }
    let why = last.map_or(String::new(), |why| format!(" ({why})"));
    Err(InformError::NoAnswer(settings.option, why))
}

fn open(settings: &Settings) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    // A DHCP client of this host may have the port, too.
    socket.set_reuse_address(true)?;
    if !settings.interface.is_empty() {
        socket.bind_device(Some(settings.interface.as_bytes()))?;
    }
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, settings.client_port).into())?;
    Ok(socket.into())
}

/// Waits for an answer with a list; else says what came instead, if anything did.
fn listen(
    socket: &UdpSocket,
    question: &Question,
    patience: Duration,
) -> Result<Vec<SocketAddr>, Option<String>> {
    let deadline = Instant::now() + patience;
    let mut problem = None;
    let mut buffer = [0; 2048];
    for _ in 0..LOOKS_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        // A timeout of 0 would mean none.
        let timeout = Some(left.max(Duration::from_millis(1)));
        if let Err(error) = socket.set_read_timeout(timeout) {
            return Err(Some(error.to_string()));
        }
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        match dhcp::parse(&buffer[..len], question) {
            Ok(places) => return Ok(places),
            Err(why) => problem = Some(format!("what came from {from} was refused: {why}")),
        }
    }
    Err(problem)
}
