//! Objects of any type, as they are stored.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Command, Reference};
use crate::id::RingId;
use crate::machine::{decode, encode};
use crate::ring::VALUE_LEN_MAX;

/// Octets of a key that related objects have in common: so many peers would have to stand between two
/// of them as there are none, and mostly both have one host.
const COMMON_LEN: usize = 12;

/// A value under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<T> {
    /// Where it is.
    pub key: RingId,
    /// What it is; wherever it refers to other objects, it has a [`Reference`].
    pub value: T,
}

/// The key of an object that is related to the one under `key`: beside it, so that both mostly have the
/// same host (seed 003 paragraph 0035). Another `name` gives another key.
pub fn near(key: RingId, name: &[u8]) -> RingId {
    let mut near = RingId::of_key(name);
    near.0[..COMMON_LEN].copy_from_slice(&key.0[..COMMON_LEN]);
    near
}

impl<T: Serialize + DeserializeOwned> Object<T> {
    /// One that is not stored yet.
    pub fn new(key: RingId, value: T) -> Object<T> {
        Object { key, value }
    }

    /// To it, wherever it will be hosted.
    pub fn reference(&self) -> Reference {
        Reference::new(self.key)
    }

    /// What stores it; `None` if it is too long ([`VALUE_LEN_MAX`]).
    pub fn store(&self, request: u64) -> Option<Command> {
        // One octet in front: what is empty would be no value.
        let value = encode(&(FORMAT, &self.value));
        let reference = self.reference();
        (value.len() <= VALUE_LEN_MAX).then_some(Command::Store { request, reference, value })
    }

    /// Has it refer to another object from now on, in the place that `field` says, and what stores
    /// that (`setref`); `None` if it is too long.
    pub fn set_reference(
        &mut self,
        request: u64,
        field: impl FnOnce(&mut T) -> &mut Option<Reference>,
        to: Reference,
    ) -> Option<Command> {
        *field(&mut self.value) = Some(to);
        self.store(request)
    }

    /// Reads the object under a key; `None` if it is of another type.
    pub fn read(key: RingId, value: &[u8]) -> Option<Object<T>> {
        let (format, value): (u8, T) = decode(value)?;
        (format == FORMAT).then_some(Object { key, value })
    }
}

/// How objects are written: the only way so far.
const FORMAT: u8 = 1;
