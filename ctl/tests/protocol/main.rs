//! The protocol as its users meet it: who may call, what is told, what is refused,
//! what clients in other languages make of it, and what no message can do.

#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod audit;
mod clients;
mod fuzz;
mod manual;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod watch;
