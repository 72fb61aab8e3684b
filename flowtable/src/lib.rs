//! A lock-free table of flow pairs with ageing and quotas.
//!
//! A flow is a pair of directions, forward and reverse, each with its own
//! [`Key`] and [`Action`]. Both come into the [`FlowTable`] together and leave
//! together; any worker may look up, insert, change and remove at any time.
//!
//! ```text
//!  hash ──► bucket: 12 tags, 12 numbers ──► front: stamp, key, action
//!           one cache line                  one cache line; counters on another
//! ```
//!
//! What it gives:
//! - A lookup takes no lock, writes nothing shared and waits for nobody. A miss
//!   reads one cache line, a hit two, in either family; rarely more.
//! - Of several workers that insert the same flow, one does and the others
//!   learn of its flow. No lookup finds one direction before the other is there.
//! - An entry may be removed and reused at any time; whoever still holds the
//!   old flow's [`Hit`] can do the new flow no harm.
//! - No worker ever waits for another, asleep or not.
//! - Each vif, each vrf and the table have an exact account; half-open flows
//!   have a bounded share; a full table makes room at the cost of who is most
//!   over its share, and never of established flows within a quota (its
//!   proportion of the table, if all quotas are more than that).
//! - The table takes its whole capacity. (That an index has no slot left within
//!   reach happens about once in 10^20 places of a full one.)
//! - The hash is keyed, so tenants cannot choose keys that collide.
//!
//! What it costs: the size is fixed at the start, about 152 bytes a direction in
//! one piece of memory; counters of a direction are exact only while one worker
//! at a time handles it; a flow goes up to a thirty-second of its timeout late.
//!
//! The arguments are in the modules they concern: `entry` for readers against
//! writers, `bucket` for the index, `insert` for insertion, `lifecycle` for
//! update, `removal`, `ageing` and `due` for the clock hand, `account` and
//! `evict` for quotas. `tests/loom.rs` checks them with a model checker.
//!
//! ```
//! use flowtable::*;
//!
//! let table = FlowTable::new(&Config { pairs: 1000, seed: [1, 2, 3, 4], ..Config::default() });
//! let key = Key::ipv4(Zone::default(), 6, [10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 1024, 80);
//! let action = Action {
//!     verdict: Verdict::Forward,
//!     nexthop: 3,
//!     epoch: 1,
//!     ingress: 7,
//!     rewrite: Rewrite::NONE,
//!     group_choice: 0,
//!     exit: 0,
//!     flags: 0,
//! };
//! let back = Action { nexthop: 4, ..action };
//! table.worker(0).insert_pair(&NewFlow {
//!     forward: &key,
//!     forward_action: &action,
//!     reverse: &key.reversed(),
//!     reverse_action: &back,
//!     class: Class::SynSent,
//!     vif: 7,
//!     vrf: 1,
//!     note: [0; 4],
//!     now: Ticks(0),
//! });
//!
//! let hit = table.lookup(&key.reversed()).expect("the reply's direction");
//! assert_eq!(hit.nexthop(), 4);
//! table.touch(&hit, 1, 64, Ticks(5));
//! ```

#![no_std]

extern crate alloc;
#[cfg(any(test, loom))]
extern crate std;

mod account;
mod action;
mod ageing;
mod bucket;
mod due;
mod ending;
mod entry;
mod evict;
mod freelist;
mod insert;
mod key;
mod lifecycle;
mod lookup;
mod memory;
mod note;
mod progress;
mod removal;
mod simd;
mod stamp;
mod sync;
mod table;
mod time;
mod view;

pub use account::{Limit, Owner, Usage};
pub use action::{Action, Rewrite, Translation, Verdict};
pub use ageing::AgeCursor;
pub use ending::{Ending, Endings};
pub use entry::Counters;
pub use insert::{Insert, NewFlow};
pub use key::{Key, Zone};
pub use lifecycle::SetClass;
pub use lookup::{FlowId, Hit};
pub use memory::Memory;
pub use note::Note;
pub use progress::Progress;
pub use table::{Config, FlowTable, Worker};
pub use time::{Class, Ticks, Timeouts};
pub use view::{FlowView, WalkCursor};
