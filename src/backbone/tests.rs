//! Ends on a network that loses, repeats and delays, with a clock of its own.

mod attachment;
mod hostile;
mod insider;
mod network;
mod peers;
mod settings;
