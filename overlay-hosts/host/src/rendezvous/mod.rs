//! Finds whom to ask first: at addresses, by names, and by what DHCP says (seed 001 paragraphs 0036
//! and 0044). Names and DHCP may take their time, so a thread does it, one search at a time.

pub mod dhcp;
mod inform;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use mio::Waker;

pub use inform::{InformError, Settings, inform};

use crate::config::{Boot, Rendezvous};

/// The most addresses of one search.
pub const FOUND_MAX: usize = 64;

/// What a search has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Each once, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    /// What could not be found, and why.
    pub problems: Vec<String>,
}

/// Searches in the background.
pub struct Search {
    plan: Rendezvous,
    waker: Arc<Waker>,
    running: Option<Receiver<Found>>,
}

impl Search {
    /// Nothing is searched yet. `waker` is woken when something is found.
    pub fn new(plan: Rendezvous, waker: Arc<Waker>) -> Search {
        Search { plan, waker, running: None }
    }

    /// Whether anybody is to be found at all.
    pub fn has_aim(&self) -> bool {
        !self.plan.boot.is_empty()
    }

    /// Begins, unless one is under way. Where only addresses are named there is no need to wait.
    pub fn begin(&mut self) -> Option<Found> {
        let needs_time = |boot: &Boot| !matches!(boot, Boot::Address(_));
        if !self.plan.boot.iter().any(needs_time) {
            return Some(search(&self.plan));
        }
        if self.running.is_some() {
            return None;
        }
        let (sender, receiver): (SyncSender<Found>, _) = sync_channel(1);
        let (plan, waker) = (self.plan.clone(), Arc::clone(&self.waker));
        let work = move || {
            let _nobody = sender.send(search(&plan));
            let _asleep = waker.wake();
        };
        match std::thread::Builder::new().name("rendezvous".into()).spawn(work) {
            Ok(_) => {
                self.running = Some(receiver);
                None
            }
            Err(error) => {
                let problems = vec![format!("there is no thread to search with: {error}")];
                Some(Found { addresses: Vec::new(), problems })
            }
        }
    }

    /// What the search has come to, once it is over.
    pub fn poll(&mut self) -> Option<Found> {
        let found = self.running.as_ref()?.try_recv();
        match found {
            Err(TryRecvError::Empty) => None,
            over => {
                self.running = None;
                Some(over.unwrap_or_default())
            }
        }
    }
}

fn search(plan: &Rendezvous) -> Found {
    let mut found = Found::default();
    for boot in &plan.boot {
        let addresses = match boot {
            Boot::Address(address) => Ok(vec![*address]),
            Boot::Name(name) => by_name(name),
            Boot::Dhcp => by_dhcp(plan),
        };
        match addresses {
            Ok(addresses) => addresses.into_iter().for_each(|address| found.add(address)),
            Err(problem) => found.problems.push(format!("{boot}: {problem}")),
        }
    }
    found
}

impl Found {
    fn add(&mut self, address: SocketAddr) {
        if !self.addresses.contains(&address) && self.addresses.len() < FOUND_MAX {
            self.addresses.push(address);
        }
    }
}

fn by_name(name: &str) -> Result<Vec<SocketAddr>, String> {
    let addresses: Vec<SocketAddr> =
        name.to_socket_addrs().map_err(|error| error.to_string())?.take(FOUND_MAX).collect();
    if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
}

fn by_dhcp(plan: &Rendezvous) -> Result<Vec<SocketAddr>, String> {
    let interface = plan.dhcp_interface.as_deref().unwrap_or_default();
    let settings = Settings::of_interface(interface, plan.dhcp_option);
    settings.and_then(|settings| inform(&settings)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
