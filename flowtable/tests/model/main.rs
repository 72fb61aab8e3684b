//! Random operation sequences against a model that says what should happen.
//!
//! The model is a list of flows, and rules by counting for whose flow is
//! refused or evicted. `MODEL_OPS` sets how many operations the long test runs,
//! `PROPTEST_CASES` how many sequences the other one.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../common/mod.rs"]
mod common;
mod room;
mod run;

use flowtable::{Class, Owner};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use run::{KEYS, Run, mirror};

#[derive(Clone, Debug)]
enum Op {
    /// With the reverse key of `reverse`, which may be another flow's.
    Insert {
        n: u32,
        reverse: u32,
        class: Class,
        vif: u32,
        vrf: u32,
    },
    Lookup,
    Touch {
        n: u32,
        bytes: u32,
    },
    SetClass {
        n: u32,
        class: Class,
    },
    Update {
        n: u32,
    },
    Remove {
        n: u32,
    },
    /// Does through an old hit what it must not be able to do.
    Haunt {
        n: u32,
    },
    SetQuota {
        owner: Owner,
        quota: Option<u32>,
    },
    Pass {
        ms: u32,
    },
    Age,
    Walk {
        budget: usize,
    },
}

/// What stays the same for a sequence.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// One look for a victim sees them all.
    pairs: u32,
    half_open_percent: u8,
    workers: usize,
    /// Whether lookups keep to what every processor has.
    baseline: bool,
    /// All workers by turns, or one.
    in_turn: bool,
    /// The time at its beginning.
    start: u32,
}

fn setting() -> impl Strategy<Value = Setting> {
    let pairs = prop::sample::select(vec![1, 2, 8, 16, 30, 64]);
    let percent = prop::sample::select(vec![0, 25, 25, 60, 100]);
    let start = prop_oneof![Just(0), Just(u32::MAX - 1000), any::<u32>()];
    let workers = (1..4_usize, any::<bool>());
    let all = (pairs, percent, workers, any::<bool>(), start);
    all.prop_map(|(pairs, percent, workers, baseline, start)| Setting {
        pairs,
        half_open_percent: percent,
        workers: workers.0,
        baseline,
        in_turn: workers.1,
        start,
    })
}

fn op() -> impl Strategy<Value = Op> {
    // Keys from 0 to KEYS are forward, the rest their reverses.
    let key = 0..2 * KEYS;
    let class = prop::sample::select(Class::ALL.as_slice());
    // The last one of each kind has no account of its own.
    let owners = (0..4_u32, 0..3_u32);
    let owner = prop_oneof![
        (0..4_u32).prop_map(Owner::Vif),
        (0..3_u32).prop_map(Owner::Vrf)
    ];
    let quota = prop_oneof![1 => Just(None), 3 => (0..32_u32).prop_map(Some)];
    let other = prop::option::weighted(0.1, 0..KEYS);
    prop_oneof![
        12 => (key.clone(), other, class.clone(), owners).prop_map(
            |(n, other, class, (vif, vrf))| {
                let reverse = other.map_or(mirror(n), |other| other + KEYS);
                Op::Insert { n, reverse, class, vif, vrf }
            }
        ),
        1 => Just(Op::Lookup),
        3 => (key.clone(), 0..2000u32).prop_map(|(n, bytes)| Op::Touch { n, bytes }),
        4 => (key.clone(), class).prop_map(|(n, class)| Op::SetClass { n, class }),
        2 => key.clone().prop_map(|n| Op::Update { n }),
        3 => key.clone().prop_map(|n| Op::Remove { n }),
        1 => key.prop_map(|n| Op::Haunt { n }),
        1 => (owner, quota).prop_map(|(owner, quota)| Op::SetQuota { owner, quota }),
        2 => prop_oneof![Just(10_000), 0..300_000u32, 0..8_000_000u32].prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Age),
        1 => (1..80usize).prop_map(|budget| Op::Walk { budget }),
    ]
}

proptest! {
    #[test]
    fn the_table_does_what_the_model_does(
        setting in setting(),
        ops in prop::collection::vec(op(), 1..400),
    ) {
        let mut run = Run::new(setting);
        ops.iter().for_each(|op| run.step(op));
    }
}

/// The same sequences every time, as many as make up `MODEL_OPS` operations.
#[test]
fn the_table_does_what_the_model_does_for_long() {
    const LENGTH: usize = 500;
    let ops = std::env::var("MODEL_OPS");
    let ops = ops.map_or(100_000, |ops| ops.parse().expect("a number of operations"));
    let config = Config {
        cases: (ops as usize).div_ceil(LENGTH) as u32,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let sequences = (setting(), prop::collection::vec(op(), LENGTH));
    let outcome = TestRunner::new_with_rng(config, rng).run(&sequences, |(setting, ops)| {
        let mut run = Run::new(setting);
        ops.iter().for_each(|op| run.step(op));
        Ok(())
    });
    match outcome {
        Ok(()) => (),
        Err(TestError::Fail(reason, (setting, ops))) => {
            panic!("{reason} after {setting:?} {ops:#?}")
        }
        Err(error) => panic!("{error}"),
    }
}
