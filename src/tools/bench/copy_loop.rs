//! A bare copy loop: the router's own rings, batches and system calls, without any parsing or
//! lookup.

use super::frames::{self, Form};
use super::lab::{self, ROUTER_MAC, XCAST};
use super::made_up::CODE_POINTS;
use crate::io::device::{self, Device, Driver, Interface};
use crate::io::pcapng::interface_index;
use crate::io::{Receive, Transmit};
use crate::kernel::IngressDrop;
use crate::tools::{Failure, output};

/// Frames taken at once, as the router does.
const BATCH: usize = 32;
/// That of a veth interface.
const MTU: u32 = 1500;

/// Copies every Xcast frame to all outputs
#[derive(clap::Args)]
pub(in crate::tools) struct CopyLoop {
    #[arg(long)]
    ingress: String,
    #[arg(long)]
    outputs: usize,
    #[arg(long)]
    form: Form,
    #[arg(long)]
    payload: usize,
    #[arg(long)]
    driver: String,
}

/// An output, and what its copies begin with.
struct Output {
    device: Device,
    head: Vec<u8>,
}

/// Copies until it is killed.
pub(in crate::tools) fn run(args: &CopyLoop) -> Result<(), Failure> {
    let driver = match args.driver.as_str() {
        "packet" => Driver::Packet,
        "auto" => Driver::Auto,
        other => return Err(Failure::Usage(format!("there is no copy loop for `{other}`"))),
    };
    let mut drop = IngressDrop::open("copy-loop", XCAST, XCAST).map_err(Failure::work)?;
    drop.attach(&args.ingress).map_err(Failure::work)?;
    let ingress = open(&args.ingress, ROUTER_MAC, driver)?;
    let output = |k: usize| {
        let (own, _) = lab::output_macs(k);
        let device = open(&lab::output(k), own, driver)?;
        let (head, _) = frames::copy_head(args.outputs, k, args.form, args.payload);
        Ok(Output { device, head })
    };
    let outputs = (0..args.outputs).map(output).collect::<Result<Vec<_>, Failure>>()?;
    // A device by another driver than the one that is wanted is no measurement of it.
    let why_not = outputs.iter().find_map(|output| output.device.why_not.clone());
    output::line(&format!("ready {}", why_not.unwrap_or_default()))?;
    copy(ingress, outputs, args)
}

fn open(name: &str, link_address: [u8; 6], driver: Driver) -> Result<Device, Failure> {
    let index = interface_index(name)
        .ok_or_else(|| Failure::Work(format!("there is no interface {name}")))?;
    let (code_points, envelopes) = (&CODE_POINTS, false);
    let interface = Interface { index, mtu: MTU, link_address, code_points, envelopes };
    device::open(interface, driver).map_err(Failure::work)
}

fn copy(ingress: Device, mut outputs: Vec<Output>, args: &CopyLoop) -> ! {
    let (_, skip) = frames::copy_head(args.outputs, 0, args.form, args.payload);
    let mut receiver = ingress.receiver;
    loop {
        let taken = receiver.take(BATCH);
        if taken == 0 {
            std::thread::yield_now();
            continue;
        }
        for Output { device, head } in &mut outputs {
            let tail = |index| receiver.bytes(index).get(skip..).unwrap_or_default();
            device.transmitter.transmit(taken, |index| (&head[..], tail(index)), |_, _| {});
        }
        receiver.release(taken);
    }
}
