//! Looking on while a batch goes its way: between any two stages, whoever explains sees what the first
//! of them said of each packet.
//!
//! Workers on the packet path have [`Unwatched`], of which the compiler leaves nothing.

use super::{Burst, Context};

/// A place between two stages, named after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Headers were found.
    Parse,
    /// It was said what the packet is here: a machine's, a tunnel's, the kernel's, or a question.
    Entry,
    /// Meters were asked and copies were made.
    Guard,
    /// Later fragments have their ports, or wait for them.
    Fragments,
    /// What goes on is about to: also what had waited.
    Admitted,
    /// ICMP errors have found their flows.
    Related,
    /// Flows were found, or decided.
    Flow,
    /// Bridged frames know where they go.
    Bridge,
    /// Headers are as they will leave, but for a tunnel's.
    Rewrite,
}

/// Somebody who looks on.
pub trait Watch<B> {
    /// A stage is done with the batch.
    fn after(&mut self, stage: Stage, context: &Context, burst: &Burst<B>);
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl<B> Watch<B> for Unwatched {
    #[inline(always)]
    fn after(&mut self, _stage: Stage, _context: &Context, _burst: &Burst<B>) {}
}
