//! Whoever made a connection.

use std::fmt;
use std::sync::Arc;

/// Who calls and what they may do: the same for all calls of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// As the audit log calls it, such as `uid 1000 pid 4711` or `tls node7.example.net`.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nothing: a certificate that is on no list.
    Nobody,
    /// Calls without side effects.
    ReadOnly,
    /// All calls.
    ReadWrite,
}

impl Caller {
    /// The process at the other end of a Unix socket (`SO_PEERCRED`).
    pub fn process(uid: u32, pid: Option<i32>, role: Role) -> Caller {
        let name = match pid {
            Some(pid) => format!("uid {uid} pid {pid}"),
            None => format!("uid {uid}"),
        };
        Caller {
            name: name.into(),
            role,
        }
    }

    /// The holder of a certificate with this name.
    pub fn certificate(name: &str, role: Role) -> Caller {
        Caller {
            name: format!("tls {name}").into(),
            role,
        }
    }

    /// Somebody whose connection does not say who made it; there is none.
    pub fn unknown() -> Caller {
        Caller {
            name: "nobody".into(),
            role: Role::Nobody,
        }
    }

    /// The daemon itself, which applies the objects of its node file.
    pub fn daemon() -> Caller {
        Caller {
            name: "vrouterd".into(),
            role: Role::ReadWrite,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
