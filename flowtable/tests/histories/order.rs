//! Whether what several workers did to one pair of keys, each at some moment
//! between its call and its return, can have happened one after the other.
//!
//! The search is that of Wing and Gong: of the steps that nothing still to come
//! must precede, try each that the state allows; remember where it led nowhere.

use flowtable::{Class, FlowId};
use std::collections::HashSet;

/// Which flow of all there ever were: its forward entry and version.
pub(crate) type Identity = (FlowId, u32);

/// The key itself, or its reverse.
pub(crate) type Side = usize;

/// A flow as the table may have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Flow {
    pub(crate) identity: Identity,
    /// Which key is its forward one.
    pub(crate) forward: Side,
    /// Which decision each direction's action is from, forward first.
    pub(crate) epochs: [u32; 2],
    pub(crate) class: Class,
}

/// What there is for a pair of keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Absent,
    Live(Flow),
    /// Removed, but for its reverse direction, which may be found yet.
    Dying(Flow),
}

/// A step that happens at one moment. What a worker is told may take several.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Step {
    Insert(Flow),
    /// A lookup of a side found the flow with this action; its class too if it
    /// is the forward side.
    Find {
        side: Side,
        identity: Identity,
        epoch: u32,
        class: Class,
        /// An insertion found it, which waits until nothing of a flow is left.
        live: bool,
    },
    /// A lookup of a side found nothing.
    Miss(Side),
    /// The two halves of a removal.
    Die(Identity),
    Bury(Identity),
    /// A removal found the flow gone altogether.
    Buried(Identity),
    /// A change found the flow gone.
    Gone(Identity),
    /// A direction's action is replaced; `surely`, if no other worker may have
    /// been replacing it at the same time, and it was not told to be gone.
    Update {
        identity: Identity,
        direction: usize,
        epoch: u32,
        surely: bool,
    },
    /// From the class that was seen, or what it is already, to another one.
    SetClass(Identity, Class, Class),
    /// Its class was not the one that was seen, but this.
    Overtaken(Identity, Class, Class),
}

/// A step, and the times between which it happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed {
    pub(crate) step: Step,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl State {
    fn live(self, identity: Identity) -> Option<Flow> {
        match self {
            State::Live(flow) if flow.identity == identity => Some(flow),
            _ => None,
        }
    }

    fn dying(self, identity: Identity) -> Option<Flow> {
        match self {
            State::Dying(flow) if flow.identity == identity => Some(flow),
            _ => None,
        }
    }

    /// The states there may be after a step; none if it cannot happen now.
    fn after(self, step: Step) -> [Option<State>; 2] {
        let stays_if = |holds: bool| [holds.then_some(self), None];
        match step {
            Step::Insert(flow) => [(self == State::Absent).then_some(State::Live(flow)), None],
            Step::Find {
                side,
                identity,
                epoch,
                class,
                live,
            } => {
                let flow = match self.live(identity) {
                    None if live => None,
                    None => self.dying(identity).filter(|flow| flow.forward != side),
                    flow => flow,
                };
                stays_if(flow.is_some_and(|flow| {
                    let direction = usize::from(side != flow.forward);
                    let class_agrees = direction == 1 || flow.class == class;
                    flow.epochs[direction] == epoch && class_agrees
                }))
            }
            Step::Miss(_) => stays_if(!matches!(self, State::Live(_))),
            Step::Die(identity) => [self.live(identity).map(State::Dying), None],
            Step::Bury(identity) => [self.dying(identity).map(|_| State::Absent), None],
            Step::Buried(identity) => {
                stays_if(self.live(identity).is_none() && self.dying(identity).is_none())
            }
            Step::Gone(identity) => stays_if(self.live(identity).is_none()),
            Step::Update {
                identity,
                direction,
                epoch,
                surely,
            } => {
                let renewed = |mut flow: Flow| {
                    flow.epochs[direction] = epoch;
                    flow
                };
                let after = match self {
                    State::Live(flow) if flow.identity == identity => {
                        Some(State::Live(renewed(flow)))
                    }
                    // A dead flow's forward direction is not found any more.
                    State::Dying(flow) if flow.identity == identity => {
                        Some(State::Dying(renewed(flow)))
                    }
                    _ => None,
                };
                [after, (!surely).then_some(self)]
            }
            Step::SetClass(identity, seen, class) => {
                let flow = self.live(identity);
                let flow = flow.filter(|flow| [seen, class].contains(&flow.class));
                let changed = flow.map(|flow| Flow { class, ..flow });
                [changed.map(State::Live), None]
            }
            Step::Overtaken(identity, seen, class) => {
                let flow = self.live(identity);
                stays_if(seen != class && flow.is_some_and(|flow| flow.class == class))
            }
        }
    }
}

/// Whether steps of one pair of keys, which at first is not in the table, can
/// have happened in some order. At most 128.
pub(crate) fn is_possible(steps: &[Timed]) -> bool {
    assert!(steps.len() <= 128, "a short history");
    let all = u128::MAX.checked_shr(128 - steps.len() as u32).unwrap_or(0);
    search(steps, all, State::Absent, &mut HashSet::new())
}

fn search(steps: &[Timed], left: u128, state: State, tried: &mut HashSet<(u128, State)>) -> bool {
    if left == 0 {
        return true;
    }
    if !tried.insert((left, state)) {
        return false;
    }
    let those_left = || steps.iter().enumerate().filter(|(i, _)| left >> i & 1 == 1);
    let first_end = those_left().map(|(_, timed)| timed.to).min();
    let mut next = those_left().filter(|(_, timed)| Some(timed.from) <= first_end);
    next.any(|(i, timed)| {
        let after = state.after(timed.step).into_iter().flatten();
        let mut after = after.map(|state| search(steps, left & !(1 << i), state, tried));
        after.any(|possible| possible)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowtable::{Config, FlowTable, Insert, Ticks};

    /// Two identities, as tables make them.
    fn identities() -> [Identity; 2] {
        let table = FlowTable::new(&Config {
            pairs: 2,
            ..Config::default()
        });
        [1, 2].map(|n| {
            let inserted =
                crate::common::insert(&table, &crate::common::ipv4(n), n, Class::Udp, Ticks(0));
            let Insert::Inserted(hit) = inserted else {
                panic!("there is room");
            };
            (hit.id, hit.version())
        })
    }

    fn flow(identity: Identity) -> Flow {
        Flow {
            identity,
            forward: 0,
            epochs: [0, 0],
            class: Class::Udp,
        }
    }

    fn find(identity: Identity, side: Side, epoch: u32) -> Step {
        Step::Find {
            side,
            identity,
            epoch,
            class: Class::Udp,
            live: false,
        }
    }

    /// One after the other.
    fn in_turn(steps: &[Step]) -> Vec<Timed> {
        let timed = |(at, step): (usize, &Step)| Timed {
            step: *step,
            from: 2 * at as u64,
            to: 2 * at as u64 + 1,
        };
        steps.iter().enumerate().map(timed).collect()
    }

    /// All at the same time.
    fn at_once(steps: &[Step]) -> Vec<Timed> {
        let mut timed = in_turn(steps);
        timed
            .iter_mut()
            .for_each(|timed| (timed.from, timed.to) = (0, 1));
        timed
    }

    #[test]
    fn a_life_in_order_is_possible_and_backwards_is_not() {
        let [one, two] = identities();
        let life = [
            Step::Miss(0),
            Step::Insert(flow(one)),
            find(one, 1, 0),
            Step::SetClass(one, Class::Udp, Class::Udp),
            Step::Die(one),
            Step::Miss(0),
            find(one, 1, 0),
            Step::Bury(one),
            Step::Buried(one),
            Step::Insert(flow(two)),
            Step::Gone(one),
            find(two, 0, 0),
        ];
        assert!(is_possible(&in_turn(&life)));
        assert!(is_possible(&at_once(&life)));
        let mut backwards = life;
        backwards.reverse();
        assert!(!is_possible(&in_turn(&backwards)));
        assert!(is_possible(&at_once(&backwards)));
    }

    #[test]
    fn what_must_not_be_is_not_possible() {
        let [one, two] = identities();
        let insert = Step::Insert(flow(one));
        for wrong in [
            &[Step::Insert(flow(one)), Step::Insert(flow(two))][..],
            &[insert, Step::Miss(0)],
            &[insert, find(two, 0, 0)],
            &[insert, find(one, 0, 1)],
            &[insert, Step::SetClass(one, Class::Other, Class::Icmp)],
            &[insert, Step::Overtaken(one, Class::Udp, Class::Udp)],
            &[insert, Step::Die(one), find(one, 0, 0)],
            &[insert, Step::Die(one), Step::Bury(one), find(one, 1, 0)],
            &[insert, Step::Buried(one)],
            &[insert, Step::Die(one), Step::Buried(one)],
            &[find(one, 0, 0), insert],
        ] {
            assert!(!is_possible(&in_turn(wrong)), "{wrong:?}");
        }
        let twice = [insert, Step::Die(one), Step::Bury(one), Step::Die(one)];
        assert!(!is_possible(&at_once(&twice)));
    }

    #[test]
    fn an_update_that_was_not_alone_may_be_none() {
        let [one, _] = identities();
        for surely in [true, false] {
            let update = Step::Update {
                identity: one,
                direction: 0,
                epoch: 7,
                surely,
            };
            let insert = Step::Insert(flow(one));
            assert!(is_possible(&in_turn(&[insert, update, find(one, 0, 7)])));
            let stays = in_turn(&[insert, update, find(one, 0, 0)]);
            assert_eq!(is_possible(&stays), !surely);
        }
    }
}
