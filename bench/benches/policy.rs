//! Policies: what a first packet costs against so many rules, and what a commit costs that changes
//! one of them.
//!
//! ```text
//! cargo bench --bench policy                 # all, some two minutes
//! cargo bench --bench policy -- first        # first packets: cycles each
//! cargo bench --bench policy -- commit       # commits: cycles, and milliseconds beside them
//! ```
//!
//! *classify* asks the policy alone, *decide* all that is decided about a first packet. Both take
//! another tuple each time: half of them match a rule drawn at random, and half match none.

mod cycles;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use dataplane::decide::{Headers, Stateless, decide};
use dataplane::stage::{Ingress, Layer};
use dataplane::tables::change::{Change, Request};
use dataplane::tables::policy::{Direction, Tuple};
use dataplane::tables::spec::{
    self, AddressSet, Guards, Name, Object, Policy, Role, Rule, RuleAction,
};
use dataplane::tables::{Tables, Vif, VrfId};
use encap::MacAddr;
use ipnet::{IpNet, Ipv4Net};
use quanta::Clock;

use cycles::Cycles;

/// Rules of the policies measured.
const RULES: [u32; 5] = [1, 10, 100, 1_000, 10_000];

/// Prefixes in the large set.
const PREFIXES: u32 = 100_000;

/// Tuples that take turns; more than caches hold of what they touch.
const TUPLES: usize = 1 << 16;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

fn main() {
    let core = core_affinity::get_core_ids().unwrap_or_default().pop();
    assert!(core.is_some_and(core_affinity::set_for_current), "a core");
    let criterion = Criterion::default()
        .with_measurement(Cycles::default())
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(40);
    let mut criterion = criterion.configure_from_args();
    first(&mut criterion);
    commits(&mut criterion);
    criterion.final_summary();
}

fn first(criterion: &mut Criterion<Cycles>) {
    let mut group = criterion.benchmark_group("first");
    for (name, shape) in SHAPES {
        for rules in RULES {
            let world = World::new(shape, rules);
            let mut next = world.turns();
            group.bench_function(
                BenchmarkId::new(format!("classify/{name}"), rules),
                |bencher| {
                    bencher.iter(|| world.classify(next()));
                },
            );
            let mut next = world.turns();
            group.bench_function(
                BenchmarkId::new(format!("decide/{name}"), rules),
                |bencher| {
                    bencher.iter(|| world.decide(next()));
                },
            );
        }
    }
    group.finish();
}

/// What the rules ask about.
#[derive(Clone, Copy)]
enum Shape {
    /// A source each and a port, as security groups do.
    Hosts,
    /// Sources, destinations and ports of all kinds, with some fields left out.
    Mixed,
    /// One of 100 sets each, with 100,000 prefixes in all, and a port.
    Sets,
}

const SHAPES: [(&str, Shape); 3] = [
    ("hosts", Shape::Hosts),
    ("mixed", Shape::Mixed),
    ("sets", Shape::Sets),
];

/// Two machines, one of which has so many rules.
struct World {
    tables: Tables,
    vif: Arc<Vif>,
    vrf: VrfId,
    from: Ingress,
    tuples: Vec<Tuple>,
}

impl World {
    fn new(shape: Shape, count: u32) -> World {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let sets = match shape {
            Shape::Sets => 100,
            Shape::Hosts | Shape::Mixed => 0,
        };
        let mut objects: Vec<Object> = vec![vrf()];
        for set in 0..sets {
            // The same prefixes whatever the number of rules.
            let prefixes = (0..PREFIXES / sets).map(|n| host(n * sets + set));
            objects.push(address_set(&format!("s{set}"), prefixes.collect()));
        }
        let rules: Vec<Rule> = (0..count).map(|id| shape.rule(id, &mut random)).collect();
        objects.push(policy(rules.clone()));
        objects.extend([vif("a", A, &[]), vif("b", B, &["web"])]);
        let tables = commit(&Tables::new(1), objects);
        let tuples = (0..TUPLES).map(|_| match random.below(2) {
            0 => shape.outside(&mut random),
            _ => shape.inside(&rules[random.below(count) as usize], &mut random),
        });
        World {
            tuples: tuples.collect(),
            vif: tables.vif_named("b").expect("it is there").clone(),
            vrf: tables.vrf_named("red").expect("it is there").id,
            from: Ingress::vif(tables.vif_named("a").expect("it is there").id),
            tables,
        }
    }

    /// The tuples over and over.
    fn turns<'a>(&'a self) -> impl FnMut() -> &'a Tuple {
        let mut turns = self.tuples.iter().cycle();
        move || turns.next().expect("it never ends")
    }

    fn classify(&self, tuple: &Tuple) {
        black_box(self.tables.verdict(&self.vif, Direction::Ingress, tuple));
    }

    fn decide(&self, tuple: &Tuple) {
        let (src_port, dst_port) = tuple.ports.unwrap_or_default();
        let headers = Headers {
            vrf: self.vrf,
            layer: Layer::Routed,
            src_mac: A,
            dst_mac: MacAddr::VROUTER,
            src_addr: tuple.src,
            dst_addr: tuple.dst,
            protocol: tuple.protocol,
            src_port,
            dst_port,
            icmp: None,
            direct: None,
            kept: None,
        };
        let decided = decide(&self.tables, &mut Stateless, &headers, self.from);
        _ = black_box(decided);
    }
}

impl Shape {
    fn rule(self, id: u32, random: &mut Random) -> Rule {
        let mut rule = Rule {
            id,
            action: RuleAction::Allow,
            protocol: Some(6),
            sources: vec![],
            source_sets: vec![],
            destinations: vec![],
            destination_sets: vec![],
            source_ports: vec![],
            destination_ports: vec![],
            icmp: vec![],
            log: false,
            mirror: None,
            dscp: None,
        };
        let port = 1 + random.below(1_000) as u16;
        match self {
            Shape::Hosts => {
                rule.sources.push(host(random.below(PREFIXES)));
                rule.destination_ports.push(port..=port);
            }
            Shape::Sets => {
                rule.source_sets
                    .push(format!("s{}", random.below(100)).into());
                rule.destination_ports.push(port..=port + 9);
            }
            Shape::Mixed => {
                let len = [16, 20, 24, 28, 32][random.below(5) as usize];
                let wide = |n: u32| -> IpNet {
                    let net = Ipv4Net::new(addr(n), len).expect("short enough");
                    IpNet::from(net).trunc()
                };
                let asks = 1 + random.below(15);
                if asks & 1 != 0 {
                    rule.sources.push(wide(random.below(PREFIXES)));
                }
                if asks & 2 != 0 {
                    rule.destinations.push(wide(random.below(PREFIXES)));
                }
                if asks & 4 != 0 {
                    rule.destination_ports
                        .push(port..=port + random.below(100) as u16);
                }
                if asks & 8 != 0 {
                    rule.source_ports.push(port..=port);
                }
                rule.protocol = [None, Some(6), Some(17)][random.below(3) as usize];
            }
        }
        rule
    }

    /// What matches a rule, unless an earlier one does.
    fn inside(self, rule: &Rule, random: &mut Random) -> Tuple {
        let any = self.outside(random);
        let (src_port, dst_port) = any.ports.unwrap_or_default();
        let first = |nets: &[IpNet], other: IpAddr| nets.first().map_or(other, IpNet::network);
        let port = |ranges: &[std::ops::RangeInclusive<u16>], other| {
            ranges.first().map_or(other, |range| *range.start())
        };
        let in_set = |name: &Name| {
            let set: u32 = name[1..].parse().expect("a number");
            addr(random.below(PREFIXES / 100) * 100 + set).into()
        };
        let src = rule.source_sets.first().map_or(any.src, in_set);
        let ports = (
            port(&rule.source_ports, src_port),
            port(&rule.destination_ports, dst_port),
        );
        let ends = (
            first(&rule.sources, src),
            first(&rule.destinations, any.dst),
        );
        Tuple::new(ends, rule.protocol.unwrap_or(6), ports, None)
    }

    /// What most likely matches nothing.
    fn outside(self, random: &mut Random) -> Tuple {
        let src = addr(random.below(PREFIXES) ^ 1 << 20);
        let dst = Ipv4Addr::from_bits(0x0a00_0000 | random.below(1 << 24));
        let ports = (
            2_000 + random.below(60_000) as u16,
            2_000 + random.below(60_000) as u16,
        );
        Tuple::new((src.into(), dst.into()), 6, ports, None)
    }
}

/// Commits that change one thing among many.
fn commits(criterion: &mut Criterion<Cycles>) {
    let mut group = criterion.benchmark_group("commit");
    let mut random = Random(7);
    let count = 10_000;
    let mut rules: Vec<Rule> = (0..count)
        .map(|id| Shape::Mixed.rule(id, &mut random))
        .collect();
    rules[5_000].source_sets.push("large".into());
    let prefixes: Vec<IpNet> = (0..PREFIXES).map(host).collect();
    let base = commit(
        &Tables::new(1),
        vec![
            vrf(),
            address_set("large", prefixes.clone()),
            policy(rules.clone()),
            vif("a", A, &[]),
            vif("b", B, &["web"]),
        ],
    );
    let with = |change: &dyn Fn(&mut Vec<Rule>)| {
        let mut rules = rules.clone();
        change(&mut rules);
        policy(rules)
    };
    let new = || Rule {
        id: count,
        ..rules[77].clone()
    };
    let with_prefix = |change: &dyn Fn(&mut Vec<IpNet>)| {
        let mut prefixes = prefixes.clone();
        change(&mut prefixes);
        address_set("large", prefixes)
    };
    let wanted = [
        (
            "a rule changed",
            with(&|rules| rules[5_000].action = RuleAction::Deny),
        ),
        ("a rule put first", with(&|rules| rules.insert(0, new()))),
        (
            "a rule put in the middle",
            with(&|rules| rules.insert(5_000, new())),
        ),
        ("a rule removed", with(&|rules| _ = rules.remove(4_000))),
        (
            "the first rule put last",
            with(&|rules| rules.rotate_left(1)),
        ),
        ("all rules reversed", with(&|rules| rules.reverse())),
        (
            "a prefix put in",
            with_prefix(&|all| all.insert(50_000, host(PREFIXES + 5))),
        ),
        (
            "a prefix removed",
            with_prefix(&|all| _ = all.remove(50_000)),
        ),
        (
            "a prefix put around all",
            with_prefix(&|all| all.push("10.0.0.0/8".parse().expect("a prefix"))),
        ),
    ];
    let (clock, started) = (Clock::new(), Instant::now());
    let start = clock.raw();
    for (name, object) in wanted {
        group.bench_function(name, |bencher| {
            bencher.iter(|| commit(&base, vec![object.clone()]));
        });
    }
    group.finish();
    let per_ms = (clock.raw() - start) as f64 / started.elapsed().as_secs_f64() / 1e3;
    println!("a millisecond is {per_ms:.0} cycles");
}

fn commit(tables: &Tables, objects: Vec<Object>) -> Tables {
    let request = Request {
        owner: "bench".into(),
        replace: false,
        if_generation: None,
        changes: objects.into_iter().map(Change::Upsert).collect(),
    };
    let draft = tables.prepare(&request);
    let draft = draft.unwrap_or_else(|refusals| panic!("{}", refusals[0]));
    draft.finish(|_| None).0
}

/// One of a million addresses that are not next to each other.
fn addr(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | n.wrapping_mul(0x9E37_79B1) >> 8)
}

fn host(n: u32) -> IpNet {
    IpNet::from(IpAddr::from(addr(n)))
}

fn address_set(name: &str, prefixes: Vec<IpNet>) -> Object {
    Object::AddressSet(AddressSet {
        name: name.into(),
        prefixes,
    })
}

fn policy(rules: Vec<Rule>) -> Object {
    Object::Policy(Policy {
        name: "web".into(),
        rules,
    })
}

fn vrf() -> Object {
    Object::Vrf(spec::Vrf {
        name: "red".into(),
        ..spec::Vrf::underlay()
    })
}

/// `b` takes everything that is routed.
fn vif(name: &str, mac: MacAddr, policies: &[&str]) -> Object {
    Object::Vif(spec::Vif {
        name: name.into(),
        device: name.into(),
        role: Role::Tenant,
        vrf: "red".into(),
        mac: Some(mac),
        addresses: match name {
            "b" => vec!["0.0.0.0/0".parse().expect("a prefix")],
            _ => vec![],
        },
        vlan: None,
        mtu: None,
        flow_quota: None,
        storm_limit: None,
        max_learned_macs: None,
        guards: Guards {
            ingress_policies: policies.iter().map(|name| Name::from(*name)).collect(),
            ..Guards::default()
        },
    })
}

/// A small deterministic generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        ((word >> 33) % u64::from(bound)) as u32
    }
}
