//! Sends one line of text to everybody on the command line, in as few packets as it takes, and
//! prints what comes back: answers, and why somebody was not reached.
//!
//! ```text
//! cargo build --example announce
//! sudo target/debug/examples/announce router-config/examples/experiment.toml hello \
//!     10.0.4.2:9000 10.0.8.2:9000 '[2001:db8::2]:9000'
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use xcast::daemon::code_points;
use xcast::host::{Answer, Destination, Message, Options, XcastSocket};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(text)) = (arguments.next(), arguments.next()) else {
        return Err("usage: announce EXPERIMENT-FILE TEXT ADDRESS:PORT...".into());
    };
    let to: Result<Vec<SocketAddr>, _> = arguments.map(|argument| argument.parse()).collect();
    let destinations: Vec<Destination> = to?
        .into_iter()
        .map(|to| Destination { address: to.ip(), port: to.port(), dscp: None })
        .collect();

    let experiment = router_config::parse_experiment(&std::fs::read_to_string(file)?)
        .map_err(|problems| format!("the code points are not right: {problems:?}"))?;
    let mut socket = XcastSocket::open(code_points(&experiment), &Options::default())?;

    let message =
        Message { destinations: &destinations, payload: text.as_bytes(), ..Message::default() };
    let sent = socket.send(&message)?;
    println!("{} packet(s) to {} destinations", sent.packets, destinations.len());
    for unsent in sent.unsent {
        println!("{}: not sent, {}", destinations[unsent.index].address, unsent.reason.name());
    }
    socket.flush()?;
    while let Some(answer) = socket.receive_answer(Some(Duration::from_secs(1)))? {
        match answer {
            Answer::Datagram(datagram) => {
                println!("{}: {}", datagram.source, String::from_utf8_lossy(&datagram.payload));
            }
            Answer::Trouble(trouble) => println!("{}: {:?}", trouble.destination, trouble.kind),
        }
    }
    Ok(())
}
