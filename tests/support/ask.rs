//! What running routers say of themselves.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::process::until;
use super::{Lab, socket_path, xcast};

impl Lab {
    /// What `xcast show TOPIC --json` prints.
    pub fn show(&self, node: &str, topic: &str) -> Value {
        let socket = socket_path(node);
        let arguments = ["show", topic, "--json", "--socket", &socket];
        let output = xcast().args(arguments).output().expect("the program is there");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "show {topic} of {node}: {errors}");
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    }

    /// A number of `show counters`.
    pub fn counter(&self, node: &str, name: &str) -> u64 {
        number(&self.show(node, "counters"), name)
    }

    /// How often a router dropped for a reason.
    pub fn dropped(&self, node: &str, reason: &str) -> u64 {
        number(&self.show(node, "drops")["drops"], reason)
    }

    /// Every live destination that a router has received has exactly one outcome.
    pub fn assert_identity(&self, node: &str) {
        let counters = self.show(node, "counters");
        let count = |outcome: &str| number(&counters, &format!("destinations-{outcome}"));
        let sum: u64 = ["forwarded", "delivered", "dropped", "pending"].map(count).iter().sum();
        assert_eq!(count("received"), sum, "{node}: {counters}");
    }

    /// One port of `show ports`.
    pub fn port(&self, node: &str, interface: &str) -> Value {
        let ports = self.show(node, "ports");
        let mut each = ports["ports"].as_array().into_iter().flatten();
        let port = each.find(|port| port["interface"] == interface);
        port.unwrap_or_else(|| panic!("{node} has no port {interface}: {ports}")).clone()
    }

    /// Waits until a port is in a state such as `up`.
    pub fn wait_for_port(&self, node: &str, interface: &str, state: &str) {
        until(&format!("port {interface} of {node} is {state}"), || {
            (self.port(node, interface)["state"] == state).then_some(())
        });
    }

    /// Waits until a router knows a route, or knows none, to `prefix` with this gateway and state.
    pub fn wait_for_route(&self, node: &str, prefix: &str, via: Option<Ipv4Addr>, state: &str) {
        let via = via.map(|via| via.to_string());
        until(&format!("{node} has {prefix} via {via:?} {state}"), || {
            let routes = self.show(node, "routes");
            let mut each = routes["routes"].as_array()?.iter();
            each.any(|r| {
                r["prefix"] == prefix && r["via"].as_str() == via.as_deref() && r["state"] == state
            })
            .then_some(())
        });
    }

    /// Waits until a router knows no route to `prefix`.
    pub fn wait_for_no_route(&self, node: &str, prefix: &str) {
        until(&format!("{node} has no {prefix}"), || {
            let routes = self.show(node, "routes");
            let mut each = routes["routes"].as_array()?.iter();
            each.all(|route| route["prefix"] != prefix).then_some(())
        });
    }
}

/// A number in a JSON object.
pub fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or_else(|| panic!("no number `{name}` in {object}"))
}
