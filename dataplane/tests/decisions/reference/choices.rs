//! What the engine drew, one after the other: the reference says which draws would have been legal.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::net::IpAddr;

use dataplane::DropReason;
use dataplane::decide::End;
use dataplane::tables::spec::Name;

/// One thing that the engine chose, or that its memory said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The backend of a service.
    Backend(Name, End),
    /// Which machine a floating address stands for.
    Inside(End),
    /// The member of a group.
    Member(Name, Name),
    /// The end outside that a machine's end has.
    Outside {
        pool: Name,
        vrf: Name,
        vif: Option<Name>,
        protocol: u8,
        inside: End,
        remote: End,
        answer: Result<End, DropReason>,
    },
    /// Whose an end outside is.
    Owner {
        pool: Name,
        protocol: u8,
        outside: End,
        remote: End,
        answer: Result<(Name, End), DropReason>,
    },
    /// A client keeps its backend.
    Kept(Name, IpAddr, End),
}

/// In order.
#[derive(Debug, Default)]
pub struct Choices {
    pub made: VecDeque<Choice>,
    /// The nexthops of both directions, if the flow is let through.
    pub ways: Option<(Name, Name)>,
}

impl Choices {
    pub fn next(&mut self, wanted: &str) -> Choice {
        let next = self.made.pop_front();
        next.unwrap_or_else(|| panic!("the engine should have chosen {wanted}, and did not"))
    }

    /// All was looked at.
    pub fn check_over(&self) {
        assert!(self.made.is_empty(), "not to be asked: {:?}", self.made);
    }
}

/// The choice made must be one of the legal ones.
#[track_caller]
pub fn check_legal<T: PartialEq + Debug>(chosen: &T, legal: &[T], what: &str) {
    assert!(
        legal.contains(chosen),
        "{what}: {chosen:?} is none of {legal:?}"
    );
}
