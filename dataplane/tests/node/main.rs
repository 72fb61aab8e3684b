//! A node in memory, without threads: configuration in, frames in, frames out.
//!
//! One program for all of it, as most of the time to build a test goes into what they share.

#[path = "../common/mod.rs"]
mod common;

mod bridge;
mod commit;
mod errors;
mod fragments;
mod groups;
mod guards;
mod hairpin;
mod health;
mod impact;
mod leaking;
mod ledger;
mod leftovers;
mod nat;
mod nat_commit;
mod nat_underlay;
mod offloads;
mod pipeline;
mod quotas;
mod random_commits;
mod reassembly;
mod references;
mod replay;
mod services;
mod translation;
mod tunnels;
mod uplinks;
