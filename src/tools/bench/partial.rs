//! `xcast bench partial`: what a message to many costs a network of which only some routers speak
//! Xcast. Nothing is timed: packets are counted, on every link. The network lies in memory; the
//! nodes that speak Xcast run the packet path itself.

mod abilene;
mod deployment;
mod picture;
mod report;
mod traffic;

use std::path::PathBuf;

use crate::tools::{Failure, output};
use abilene::{COUNT, Paths};
use deployment::{Deployment, Joined, Order};
use report::{Curve, Point};
use traffic::Crossings;

/// What a network saves of which some routers speak Xcast: packets on every link, to ten receivers
#[derive(clap::Args)]
pub(in crate::tools) struct Partial {
    /// How many of the eleven routers speak Xcast; each number makes columns of its own
    #[arg(long, value_name = "K,...", value_delimiter = ',', default_values_t = [0, 1, 2, 4, 8, 11],
        value_parser = clap::value_parser!(u8).range(0..=COUNT as i64))]
    aware: Vec<u8>,
    /// Which of them are the first
    #[arg(long, value_enum, default_value_t = Order::Degree)]
    order: Order,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Draw the totals of all numbers of routers into a file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(super) fn run(arguments: &Partial) -> Result<(), Failure> {
    let counts: Vec<usize> = arguments.aware.iter().map(|count| usize::from(*count)).collect();
    let curve = curve(arguments.order, &counts)?;
    if let Some(file) = &arguments.svg {
        let counts: Vec<usize> = (0..=COUNT).collect();
        let picture = picture::draw(&self::curve(arguments.order, &counts)?);
        std::fs::write(file, picture)
            .map_err(|error| Failure::Work(format!("cannot write {}: {error}", file.display())))?;
    }
    match arguments.json {
        true => output::line(&curve.json().to_string()),
        false => output::line(&curve.text()),
    }
}

/// All ways to join each number of routers.
fn curve(order: Order, counts: &[usize]) -> Result<Curve, Failure> {
    let paths = Paths::new();
    let cities = order.cities();
    let mut points = Vec::new();
    for joined in Joined::ALL {
        for count in counts {
            let deployment = Deployment::new(&paths, joined, &cities[..*count]);
            let crossings = traffic::send(&deployment).map_err(|why| {
                Failure::Work(format!("{}, {count} routers: {why}", joined.name()))
            })?;
            let tunnels = deployment.all_tunnels();
            points.push(Point { joined, count: *count, tunnels, crossings });
        }
    }
    Ok(Curve { order, cities, unicast: Crossings::unicast(&paths), points })
}

#[cfg(test)]
mod tests;
