//! The resource pool (seed 003 paragraphs 0065, 0086 and 0092): what hosts have to give, gathered by the
//! tree, and asked for.
//!
//! ```text
//!  HostReport of each host ─► tree, merged by HostPool ─► sums, classes and the best, at the root
//!                          └► raw lists of a range ─────► Snapshot ─► find · plans of sessions
//! ```
//!
//! Everything is computed and nothing is sent: [`crate::somo`] carries it.

mod degree_table;
mod op;
mod report;
mod snapshot;

#[cfg(test)]
mod tests;

pub use degree_table::{CLAIMS_MAX, DegreeTable};
pub use op::{HostPool, Report, Sum};
pub use report::{
    AXIS_MAX, CORES_MAX, Cpu, DISK_MAX, Disk, HostReport, MEMORY_MAX, Memory, RATE_MAX,
};
pub use snapshot::{Found, HOSTS_MAX, Near, Pooled, Snapshot, Wanted};
