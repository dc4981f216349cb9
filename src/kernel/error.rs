//! What can go wrong between us and the kernel, said so that an operator can act on it.

use std::io;

/// A request that the kernel refused or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel said no, or a system call failed.
    #[error("cannot {action}: {source}{}", hint(.source))]
    Refused {
        /// What was tried, and on what: `attach the drop to eth0`.
        action: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No answer came in time. The state on our side is unchanged; asking again may help.
    #[error("cannot {action}: the kernel did not answer within {seconds} s")]
    Timeout {
        /// What was tried.
        action: String,
        /// How long we waited, in seconds.
        seconds: u64,
    },
    /// A table of our name exists and belongs to a process that is alive.
    #[error(
        "the nftables table {table} belongs to another live process: is this router running already?"
    )]
    Owned {
        /// The table's name.
        table: String,
    },
}

impl KernelError {
    pub(super) fn refused(action: impl Into<String>, source: io::Error) -> KernelError {
        KernelError::Refused { action: action.into(), source }
    }

    /// The capability whose absence explains the error, if one does.
    pub fn missing_capability(&self) -> Option<&'static str> {
        match self {
            KernelError::Refused { source, .. } => missing(source),
            KernelError::Timeout { .. } | KernelError::Owned { .. } => None,
        }
    }

    /// The kernel's error number (`errno`), if it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            KernelError::Refused { source, .. } => source.raw_os_error(),
            KernelError::Timeout { .. } | KernelError::Owned { .. } => None,
        }
    }
}

/// Everything this room does that needs a privilege needs this one (`netlink_net_capable`).
fn missing(source: &io::Error) -> Option<&'static str> {
    (source.raw_os_error() == Some(libc::EPERM)).then_some("CAP_NET_ADMIN")
}

fn hint(source: &io::Error) -> String {
    missing(source)
        .map(|name| format!(" ({name} in this network namespace is missing)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_missing_capability() {
        let error =
            KernelError::refused("attach to eth0", io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(error.missing_capability(), Some("CAP_NET_ADMIN"));
        assert!(error.to_string().starts_with("cannot attach to eth0: "), "{error}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        let error = KernelError::refused("dump links", io::Error::from_raw_os_error(libc::EBUSY));
        assert_eq!(error.missing_capability(), None);
        assert_eq!(error.errno(), Some(libc::EBUSY));
    }
}
