//! `xcast recv`: prints UDP datagrams as they arrive. Receivers of Xcast need nothing more than
//! an ordinary UDP socket, which is what this is.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;

use super::experiment::Experiment;
use super::{Failure, output};
use crate::io::datagram::{self, Datagram};

/// Octets of datagrams that may wait to be printed.
const RECEIVE_BUFFER_LEN: usize = 8 << 20;

#[derive(clap::Args)]
pub(super) struct Recv {
    /// Address to receive at
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0")]
    bind: IpAddr,
    /// UDP port to receive at
    #[arg(long)]
    port: u16,
    /// End after this many datagrams
    #[arg(long)]
    count: Option<u64>,
    /// End when nothing has arrived for this long
    #[arg(long, value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Print one JSON object a datagram
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    experiment: Experiment,
}

pub(super) fn run(recv: &Recv) -> Result<(), Failure> {
    // Plain UDP needs no code points; those that are named must be right all the same.
    if recv.experiment.is_named() {
        recv.experiment.code_points()?;
    }
    let IpAddr::V4(address) = recv.bind else {
        return Err(Failure::usage("--bind: IPv6 is not built in this release"));
    };
    let socket = open(address, recv.port)
        .map_err(|error| Failure::Work(format!("UDP port {}: {error}", recv.port)))?;
    output::note(&format!(
        "listening on {address}:{} (unicast UDP; packets that stay Xcast are not received)",
        recv.port
    ));
    let mut received = 0;
    let mut quiet_since = Instant::now();
    while recv.count != Some(received) {
        // A timeout beyond the clock's end is none.
        let deadline = recv.timeout.and_then(|timeout| quiet_since.checked_add(timeout));
        match next(&socket, deadline) {
            Err(error) => return Err(Failure::Work(format!("cannot receive: {error}"))),
            Ok(Some(datagram)) => {
                print(recv, &datagram)?;
                received += 1;
                quiet_since = Instant::now();
            }
            Ok(None) => break,
        }
    }
    match recv.count {
        Some(count) if received < count => {
            Err(Failure::Work(format!("{received} of {count} datagrams arrived in time")))
        }
        None if received == 0 => Err(Failure::work("no datagram arrived in time")),
        _ => Ok(()),
    }
}

fn open(address: Ipv4Addr, port: u16) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(address, port))?;
    datagram::report_headers(&socket)?;
    // More than the system's limit may be refused; what is granted will do.
    let _limited = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_LEN);
    Ok(socket)
}

/// The next datagram, or `None` when the deadline has passed.
fn next(socket: &UdpSocket, deadline: Option<Instant>) -> std::io::Result<Option<Datagram>> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(None);
        }
        socket.set_read_timeout(left)?;
        match datagram::receive(socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other.map(Some),
        }
    }
}

fn print(recv: &Recv, datagram: &Datagram) -> Result<(), Failure> {
    let Datagram { source, destination, ttl, traffic_class, payload } = datagram;
    if !recv.json {
        let text = String::from_utf8_lossy(&payload[..payload.len().min(60)]);
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        let (port, bytes) = (recv.port, payload.len());
        return output::line(&format!(
            "{source} > {destination}:{port}  ttl {ttl}  {bytes} bytes  {text}"
        ));
    }
    let json = serde_json::json!({
        "source": source.ip().to_string(),
        "source-port": source.port(),
        "destination": destination.to_string(),
        "port": recv.port,
        "bytes": payload.len(),
        "payload-base64": base64::engine::general_purpose::STANDARD.encode(payload),
        "form": "unicast",
        "channel": null,
        "dscp": traffic_class >> 2,
        "ttl": ttl,
        "time": humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
    });
    output::line(&json.to_string())
}
