//! `Hello`: who answers, what it can do, and how much of it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use prost_reflect::DescriptorPool;

use super::journal::Journal;
use crate::access::{Caller, Limits, Role};
use crate::proto::{self, FILE_DESCRIPTOR_SET, HelloResponse, descriptor};

/// What is the same for everybody who asks.
pub(super) struct Host {
    limits: Limits,
    instance: u64,
    calls: Vec<String>,
    kinds: Vec<String>,
}

impl Host {
    /// For this run of the daemon.
    pub(super) fn new(limits: Limits) -> Host {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok();
        let services: Vec<_> = pool.iter().flat_map(DescriptorPool::services).collect();
        let methods = services.iter().flat_map(|service| service.methods());
        Host {
            limits,
            // Keyed anew in every process: enough to tell two runs apart. 53 bits
            // survive languages whose only number is a double.
            instance: RandomState::new().build_hasher().finish() >> 11,
            calls: methods.map(|method| method.name().to_owned()).collect(),
            kinds: descriptor("Object")
                .fields()
                .map(|field| field.name().to_owned())
                .collect(),
        }
    }

    /// The answer to `caller` at `generation`.
    pub(super) fn answer(
        &self,
        caller: &Caller,
        generation: u64,
        journal: &Journal,
    ) -> HelloResponse {
        let access = match caller.role {
            Role::ReadWrite => proto::Access::ReadWrite,
            Role::ReadOnly | Role::Nobody => proto::Access::ReadOnly,
        };
        HelloResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            protocols: vec!["vrouter.v1".into()],
            calls: self.calls.clone(),
            kinds: self.kinds.clone(),
            generation,
            watch_from_generation: journal.floor(),
            instance: self.instance,
            limits: Some(self.limits.written()),
            caller: caller.name.to_string(),
            access: access.into(),
        }
    }
}
