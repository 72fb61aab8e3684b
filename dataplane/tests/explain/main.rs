//! What an explanation says becomes of a packet, becomes of it.

#![allow(unreachable_pub, missing_docs, reason = "a test binary has no outside")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../any_frames/network.rs"]
mod network;
#[path = "../any_frames/samples.rs"]
mod samples;

mod agreement;
mod story;
