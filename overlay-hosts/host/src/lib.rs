//! The overlay host's shell: sockets, clock, disk and control socket around the pure machines.
