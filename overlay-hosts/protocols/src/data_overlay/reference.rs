//! How one object refers to another (seed 003 paragraph 0034).

use serde::{Deserialize, Serialize};

use crate::contact::Contact;
use crate::id::RingId;

/// To what is under a key: the key is what holds, the host a shortcut that may be out of date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Where it is, whoever hosts it (`a.foo.key`).
    pub key: RingId,
    /// Who was the last that is known to host it (`a.foo.host`).
    pub host: Option<Contact>,
}

impl Reference {
    /// To what is under a key, wherever that is.
    pub fn new(key: RingId) -> Reference {
        Reference { key, host: None }
    }

    /// The same, hosted there.
    #[must_use]
    pub fn at(self, host: Contact) -> Reference {
        Reference { host: Some(host), ..self }
    }
}
