//! `decide` against a reference that is written to be read: random configurations, random packets,
//! and the same packets again after the configuration has changed.
//!
//! `DECISIONS` says how many packets (some seconds' worth unless it does), `DECISION_SEED` which
//! configuration to begin with. Where the engine draws lots, which backend or port a flow gets, the
//! reference says which ones are legal; everything else must be the same to the last field.

#![allow(unreachable_pub, missing_docs, reason = "a test binary has no outside")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../policies/reference.rs"]
mod policies;

mod compare;
mod packets;
mod pure;
mod recorder;
mod reference;
mod words;
mod world;
