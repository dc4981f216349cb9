//! What is measured: ways to bring one packet to many outputs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::sync::mpsc;
use std::time::Duration;

use super::cores::{Cores, Place};
use super::frames::{self, Form, GROUP, Load, PORT};
use super::generator::Traffic;
use super::lab::{self, FOLDER, Lab, Node, SENDER};
use super::launch;
use crate::control::{Ports, Reply, Request, Topic};
use crate::io::mroute::MulticastRouter;
use crate::io::offload::{self, Offload};
use crate::io::pcapng::interface_index;
use crate::tools::Failure;
use crate::tools::show::exchange;

/// The router's control socket, in the laboratory's own folder.
const SOCKET: &str = "/run/xcast-bench/bench.sock";
/// How long a router may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Method {
    /// The router with `driver = "packet"`
    RouterPacket,
    /// The router with `driver = "auto"`, its default
    RouterAuto,
    /// The router with `driver = "xdp"`
    RouterXdp,
    /// A copy loop without parsing or lookup on the sockets of the driver `packet`
    CopyLoopPacket,
    /// The same on the sockets of the driver `auto`
    CopyLoopAuto,
    /// The kernel's multicast forwarding (ip_mroute), polled by a thread on the router's core
    MroutePinned,
    /// The same as it comes: in the sender's own call, on the sender's core
    MrouteInline,
    /// The kernel forwards a unicast packet for each output, by a thread on the router's core
    KernelUnicast,
    /// The same, sent by an ordinary program: a UDP socket, one sendto() for each output in turn
    SendtoLoop,
}

impl Method {
    /// Those that are measured unless others are asked for.
    pub(super) const DEFAULT: [Method; 9] = [
        Method::RouterPacket,
        Method::RouterAuto,
        Method::RouterXdp,
        Method::CopyLoopPacket,
        Method::CopyLoopAuto,
        Method::MroutePinned,
        Method::MrouteInline,
        Method::KernelUnicast,
        Method::SendtoLoop,
    ];

    /// As on the command line and in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Method::RouterPacket => "router-packet",
            Method::RouterAuto => "router-auto",
            Method::RouterXdp => "router-xdp",
            Method::CopyLoopPacket => "copy-loop-packet",
            Method::CopyLoopAuto => "copy-loop-auto",
            Method::MroutePinned => "mroute-pinned",
            Method::MrouteInline => "mroute-inline",
            Method::KernelUnicast => "kernel-unicast",
            Method::SendtoLoop => "sendto-loop",
        }
    }

    fn driver(self) -> &'static str {
        match self {
            Method::RouterPacket | Method::CopyLoopPacket => "packet",
            Method::RouterXdp => "xdp",
            _ => "auto",
        }
    }

    fn is_router(self) -> bool {
        matches!(self, Method::RouterPacket | Method::RouterAuto | Method::RouterXdp)
    }

    fn is_copy_loop(self) -> bool {
        matches!(self, Method::CopyLoopPacket | Method::CopyLoopAuto)
    }

    /// Whether a packet that goes in comes out as copies, so that both can be told apart by number.
    pub(super) fn copies(self) -> bool {
        !matches!(self, Method::KernelUnicast | Method::SendtoLoop)
    }

    /// What the router's own part is measured against: the copy loop of its driver.
    pub(super) fn copy_loop(self) -> Option<Method> {
        match self {
            Method::RouterPacket => Some(Method::CopyLoopPacket),
            Method::RouterAuto => Some(Method::CopyLoopAuto),
            _ => None,
        }
    }

    /// Where it forwards.
    pub(super) fn place(self, cores: &Cores) -> Place {
        if self == Method::MrouteInline { cores.generator } else { cores.router }
    }

    /// The packets that are sent in.
    pub(super) fn load(self, trial: &Trial) -> Load {
        match self {
            _ if self.is_router() || self.is_copy_loop() => {
                frames::xcast(trial.outputs, trial.form, trial.payload)
            }
            Method::MroutePinned | Method::MrouteInline => frames::group(trial.payload),
            _ => frames::unicast(trial.outputs, trial.payload),
        }
    }

    /// As many of them as the sender can send.
    pub(super) fn flood(self, trial: &Trial) -> Traffic {
        if self != Method::SendtoLoop {
            return Traffic::Flood(self.load(trial));
        }
        let to = |k| SocketAddr::from((lab::neighbor(k), PORT));
        Traffic::Datagrams { to: (0..trial.outputs).map(to).collect(), payload: trial.payload }
    }

    /// Gets the router's namespace ready to forward; it does until the value is dropped.
    pub(super) fn start(
        self,
        lab: &Lab,
        trial: &Trial,
        cores: &Cores,
    ) -> Result<Forwarder, Failure> {
        if self.is_router() {
            let arguments = router_arguments(self.driver(), trial)?;
            let (program, _) = Program::start(&arguments, cores.router)?;
            let note = why_not(self.driver())?;
            return Ok(Forwarder { child: Some(program), note, ..Forwarder::default() });
        }
        if self.is_copy_loop() {
            let arguments = copy_loop_arguments(self.driver(), lab, trial);
            let (program, why_not) = Program::start(&arguments, cores.router)?;
            let note = (!why_not.is_empty()).then_some(why_not);
            return Ok(Forwarder { child: Some(program), note, ..Forwarder::default() });
        }
        let mut forwarder = Forwarder::default();
        if matches!(self, Method::MroutePinned | Method::MrouteInline) {
            forwarder.multicast = Some(Node::Router.inside(|| multicast_router(lab))?);
        }
        if self != Method::MrouteInline {
            let (polling, note) = Polling::start(&lab.ingress, cores.router)?;
            (forwarder.polling, forwarder.note) = (Some(polling), note);
        }
        Ok(forwarder)
    }
}

/// What a measurement is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) outputs: usize,
    pub(super) form: Form,
    /// Octets of UDP payload.
    pub(super) payload: usize,
}

/// What forwards. Dropping it ends that.
#[derive(Default)]
pub(super) struct Forwarder {
    child: Option<Program>,
    multicast: Option<MulticastRouter>,
    polling: Option<Polling>,
    /// What is not as it should be.
    pub(super) note: Option<String>,
}

impl Forwarder {
    /// The process or kernel thread that does the work, if there is one of its own.
    pub(super) fn process(&self) -> Option<u32> {
        let polling = self.polling.as_ref().and_then(|polling| polling.thread);
        self.child.as_ref().map(|program| program.0.id()).or(polling)
    }
}

/// A process of this very binary.
struct Program(Child);

impl Program {
    /// Starts it in the router's namespace and waits until it says that it is ready; returns what
    /// it says then.
    fn start(arguments: &[String], place: Place) -> Result<(Program, String), Failure> {
        let command = launch::command(Node::Router, place, arguments)?.spawn();
        let mut program = Program(command.map_err(Failure::work)?);
        let (sender, receiver) = mpsc::channel();
        let lines = program.0.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        // It ends with the process, whose last line it waits for.
        std::thread::spawn(move || {
            let mut lines = lines.into_iter().flatten().map_while(Result::ok);
            let said = |line: String| Some(line.strip_prefix("ready")?.trim().to_owned());
            if let Some(said) = lines.find_map(said) {
                let _gone = sender.send(said);
            }
            lines.for_each(drop);
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(said) => Ok((program, said)),
            Err(_) => Err(program.complaint()),
        }
    }

    /// What it said last.
    fn complaint(&mut self) -> Failure {
        let _ended = self.0.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            let _unread = stderr.read_to_string(&mut text);
        }
        let text = text.trim().trim_start_matches("xcast: ");
        Failure::Work(if text.is_empty() { "it did not start".into() } else { text.into() })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The shipped defaults, but for the driver.
fn router_arguments(driver: &str, trial: &Trial) -> Result<Vec<String>, Failure> {
    let pins = (0..trial.outputs).map(|k| {
        let answer = if trial.form == Form::Xcast { "yes" } else { "no" };
        format!("[[neighbor]]\naddress = \"{}\"\nxcast = \"{answer}\"\n", lab::neighbor(k))
    });
    let pins: String = pins.collect();
    let text = format!(
        "[experiment]\nip-protocol = {xcast}\nall-routers-v4 = \"224.0.0.254\"\n\
         all-routers-v6 = \"ff02::114\"\nrouting-type = {xcast}\nports-option = 0x5e\n\
         hop-by-hop-option = 0x1e\ntunnel-port = 1021\n\n\
         [router]\nname = \"bench\"\ncontrol-socket = \"{SOCKET}\"\n\n\
         [ports]\ndriver = \"{driver}\"\n\n{pins}",
        xcast = lab::XCAST
    );
    let file = format!("{FOLDER}/bench.toml");
    fs::write(&file, text).map_err(Failure::work)?;
    Ok(["router", "run", "--config", &file].map(String::from).to_vec())
}

/// Why the router's ports have another driver than the one that is wanted, if so.
fn why_not(driver: &str) -> Result<Option<String>, Failure> {
    let reply = exchange(Path::new(SOCKET), Request::Show(Topic::Ports), PATIENCE)
        .map_err(Failure::work)?;
    let Reply::Done(ports) = reply else { return Ok(Some("it does not show its ports".into())) };
    let ports: Ports = serde_json::from_value(ports).map_err(Failure::work)?;
    let wanted = if driver == "auto" { "packet+xdp" } else { driver };
    let other = ports.ports.into_iter().find(|port| port.driver != wanted || port.state != "up");
    Ok(other.map(|port| {
        let (driver, state, why) = (port.driver, port.state, port.why_not);
        format!("{} is {state}, by {driver} instead of {wanted}: {why}", port.interface)
    }))
}

fn copy_loop_arguments(driver: &str, lab: &Lab, trial: &Trial) -> Vec<String> {
    let (outputs, payload) = (trial.outputs.to_string(), trial.payload.to_string());
    let options = [
        ("--driver", driver),
        ("--ingress", &lab.ingress),
        ("--outputs", &outputs),
        ("--form", trial.form.name()),
        ("--payload", &payload),
    ];
    let options = options.into_iter().flat_map(|(name, value)| [name, value]);
    ["bench", "copy-loop"].into_iter().chain(options).map(String::from).collect()
}

/// The kernel as a multicast router: from the sender to all outputs. In the router's namespace.
fn multicast_router(lab: &Lab) -> Result<MulticastRouter, Failure> {
    let failed = |error| Failure::Work(format!("the kernel's multicast forwarding: {error}"));
    let mut router = MulticastRouter::open().map_err(failed)?;
    let names = std::iter::once(lab.ingress.clone()).chain((0..lab.outputs).map(lab::output));
    for name in names {
        let index = interface_index(&name)
            .ok_or_else(|| Failure::Work(format!("there is no interface {name}")))?;
        router.add_interface(index).map_err(failed)?;
    }
    router.add_route(SENDER, GROUP, 0).map_err(failed)?;
    Ok(router)
}

/// An interface whose packets a kernel thread polls (threaded NAPI), which a veth interface has
/// with generic receive offload only.
struct Polling {
    interface: String,
    thread: Option<u32>,
}

impl Polling {
    /// Starts it, on a core if that is permitted; else says why not.
    fn start(interface: &str, place: Place) -> Result<(Polling, Option<String>), Failure> {
        let mut polling = Polling { interface: interface.to_owned(), thread: None };
        polling.switch(true)?;
        polling.thread = thread_called(&format!("napi/{interface}-"));
        let Some(thread) = polling.thread else {
            return Ok((polling, Some("the polling thread cannot be seen, nor pinned".into())));
        };
        let note = place.put(thread as i32, false).err().map(|error| {
            format!("the polling thread cannot be pinned to the router's core: {error}")
        });
        Ok((polling, note))
    }

    fn switch(&self, on: bool) -> Result<(), Failure> {
        Node::Router.inside(|| {
            offload::switch(&self.interface, Offload::Gro, on).map_err(Failure::work)?;
            let flag = format!("/sys/class/net/{}/threaded", self.interface);
            // Inside, /sys shows that namespace's interfaces.
            let write = format!("echo {} > {flag}", u8::from(on));
            lab::command("ip", &["netns", "exec", "router", "sh", "-c", &write], "")
        })
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        // If it stays as it is, the next method starts by switching it off itself.
        let _stays = self.switch(false);
    }
}

/// The ID of the one process whose name begins so.
fn thread_called(prefix: &str) -> Option<u32> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.find(|number| {
        let name = fs::read_to_string(format!("/proc/{number}/comm"));
        name.is_ok_and(|name| name.starts_with(prefix))
    })
}
