//! Raw bindings to DPDK 22.11 or later: the only foreign function interface of
//! the project.
//!
//! Functions come from bindgen and the installed headers, by the list in
//! `build.rs`. What DPDK has only as inline functions, macros or large
//! configuration structs is behind the `vr_` functions of `shim.c`. The head of
//! a packet buffer, which the packet path reads without a call, is written out
//! here and pinned to the C layout from both sides.
//!
//! Nothing here is safe, and nothing here is explained twice: DPDK's own
//! reference documents each `rte_` function, `shim.c` each `vr_` function. The
//! safe layer is `dataplane::io::dpdk`.

#![allow(unsafe_code, reason = "this is the crate for it")]

use std::ffi::{c_char, c_void};
use std::mem::offset_of;

pub use bindings::*;

#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    reason = "generated; the names are DPDK's"
)]
mod bindings {
    use super::rte_mbuf;
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

/// The head of a packet buffer: the fields that are read without a call.
///
/// Only ever used behind a pointer that DPDK handed out; the C struct goes on
/// after the last field here, and is two cache lines long, of which a packet in
/// one segment rarely touches the second.
#[repr(C, align(64))]
#[derive(Debug)]
#[allow(non_camel_case_types, reason = "the name is DPDK's")]
pub struct rte_mbuf {
    /// Start of the segment's memory.
    pub buf_addr: *mut c_void,
    _buf_iova: u64,
    /// Bytes from `buf_addr` to the packet's first byte.
    pub data_off: u16,
    /// Owners of this segment. Changed atomically by DPDK; read it only where
    /// one owner is certain.
    pub refcnt: u16,
    /// Segments in the packet, this one included.
    pub nb_segs: u16,
    /// Port number of arrival.
    pub port: u16,
    /// `RTE_MBUF_F_*` flags.
    pub ol_flags: u64,
    _packet_type: u32,
    /// Bytes in all segments.
    pub pkt_len: u32,
    /// Bytes in this segment.
    pub data_len: u16,
    _vlan_tci: u16,
    _hash: [u32; 2],
    _vlan_tci_outer: u16,
    /// Bytes of memory at `buf_addr`.
    pub buf_len: u16,
    /// Pool this segment returns to.
    pub pool: *mut rte_mempool,
    /// The next segment, or null.
    pub next: *mut rte_mbuf,
    /// Header lengths and segment size, for what the port is to do; see
    /// `vr_mbuf_*` for its parts.
    pub tx_offload: u64,
}

// The other side of each is a _Static_assert in shim.c.
const _: () = {
    assert!(offset_of!(rte_mbuf, buf_addr) == 0);
    assert!(offset_of!(rte_mbuf, data_off) == 16);
    assert!(offset_of!(rte_mbuf, refcnt) == 18);
    assert!(offset_of!(rte_mbuf, nb_segs) == 20);
    assert!(offset_of!(rte_mbuf, port) == 22);
    assert!(offset_of!(rte_mbuf, ol_flags) == 24);
    assert!(offset_of!(rte_mbuf, pkt_len) == 36);
    assert!(offset_of!(rte_mbuf, data_len) == 40);
    assert!(offset_of!(rte_mbuf, buf_len) == 54);
    assert!(offset_of!(rte_mbuf, pool) == 56);
    assert!(offset_of!(rte_mbuf, next) == 64);
    assert!(offset_of!(rte_mbuf, tx_offload) == 72);
};

/// Takes one log message, of `len` bytes and without a terminating zero.
pub type LogSink = unsafe extern "C" fn(level: u32, text: *const c_char, len: usize);
