//! Looking after backends: questions go through the data path, answers decide who gets flows.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::common::*;
use crossbeam_channel::{Receiver, Sender};
use dataplane::health::{Heard, News, PORTS, Prober, Segment};
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::MacAddr;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

const VIP: &str = "10.200.0.1";

/// What a backend does with what it is asked.
#[derive(Clone, Copy)]
enum Server {
    Silent,
    Refuses,
    Accepts,
    /// Answers a request with this status, a few bytes at a time.
    Serves(u16),
}

fn service(probe: Probe) -> Object {
    Object::Service(Service {
        name: "shop".into(),
        vrf: "red".into(),
        address: ip(VIP),
        protocol: 6,
        port: 80,
        backend_vrf: None,
        backends: ["10.1.0.1", "10.1.0.2"]
            .map(|address| Backend {
                address: ip(address),
                port: 8080,
                weight: NonZeroU16::MIN,
                state: BackendState::Active,
            })
            .to_vec(),
        affinity_timeout_s: None,
        table_size: 251,
        on_down: OnDown::Move,
        direct_return: false,
        health: Some(HealthCheck {
            probe,
            port: None,
            interval_ms: 1_000,
            timeout_ms: 400,
            rise: 2,
            fall: 3,
        }),
    })
}

fn http() -> Probe {
    Probe::Http {
        path: "/health".into(),
        host: Some("shop.example".into()),
        status: (200, 299),
    }
}

struct Rig {
    node: Node,
    prober: Prober,
    ask: Sender<Segment>,
    hear: Receiver<Heard>,
    servers: BTreeMap<&'static str, Server>,
    now: u64,
    news: Vec<News>,
    /// What was asked, and how often.
    requests: Vec<String>,
    asked: usize,
}

impl Rig {
    fn new(probe: Probe, servers: [Server; 2]) -> Rig {
        let node = Node::new(vec![
            vrf("red", &["10.1.0.254/24"]),
            tenant("b1", "red", MacAddr([2, 0, 0, 0, 0, 1]), &["10.1.0.1"]),
            tenant("b2", "red", MacAddr([2, 0, 0, 0, 0, 2]), &["10.1.0.2"]),
            service(probe),
        ]);
        let tables = node.publisher.current();
        let (ask, hear) = tables.sessions().probes().open().expect("nobody else asks");
        let mut prober = Prober::default();
        prober.follow(&tables, 0);
        Rig {
            node,
            prober,
            ask,
            hear,
            servers: BTreeMap::from([("b1", servers[0]), ("b2", servers[1])]),
            now: 0,
            news: Vec::new(),
            requests: Vec::new(),
            asked: 0,
        }
    }

    /// Lets time go by, ten milliseconds at once.
    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 10;
            let mut out = Vec::new();
            self.prober.poll(self.now, &mut out);
            self.exchange(out);
            self.node.pass(10);
            let news = self.prober.take_news();
            let tables = self.node.publisher.current().with_health(&news);
            if let Some(tables) = tables {
                self.node.publisher.publish(Arc::new(tables));
            }
            self.news.extend(news);
        }
    }

    /// Questions out, answers in, until there are none.
    fn exchange(&mut self, mut out: Vec<Segment>) {
        while !out.is_empty() {
            for segment in out.drain(..) {
                assert!(PORTS.contains(&segment.src.port));
                self.ask.send(segment).expect("the node has the other end");
            }
            self.node.pass(1);
            for (vif, frames) in self.node.recv_all() {
                for frame in frames {
                    let answers = self.serve(&vif, &frame);
                    self.node.send(&vif, &answers);
                }
            }
            while let Ok(heard) = self.hear.try_recv() {
                self.prober.hear(&heard, &mut out);
            }
        }
    }

    fn serve(&mut self, vif: &str, frame: &[u8]) -> Vec<Vec<u8>> {
        let packet = SlicedPacket::from_ethernet(frame).expect("a packet");
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
            panic!("no TCP segment")
        };
        let Some(NetSlice::Ipv4(network)) = packet.net else {
            panic!("no IPv4 packet")
        };
        let network = network.header();
        let checksum = tcp.calc_checksum_ipv4(network.source(), network.destination());
        assert_eq!(checksum, Ok(tcp.checksum()));
        assert_eq!(network.source(), [10, 1, 0, 254]);
        let answer = |sequence, ack| {
            PacketBuilder::ethernet2(packet_mac(vif).0, ROUTER.0)
                .ipv4(network.destination(), network.source(), 64)
                .tcp(tcp.destination_port(), tcp.source_port(), sequence, 1_000)
                .ack(ack)
        };
        let built = |builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>, data: &[u8]| {
            let mut frame = Vec::new();
            builder.write(&mut frame, data).expect("it fits");
            frame
        };
        let next = tcp.sequence_number().wrapping_add(1);
        let server = self.servers[vif];
        if tcp.syn() {
            self.asked += 1;
            return match server {
                Server::Silent => vec![],
                Server::Refuses => vec![built(answer(0, next).rst(), &[])],
                Server::Accepts | Server::Serves(_) => vec![built(answer(7_000, next).syn(), &[])],
            };
        }
        if let (Server::Serves(status), false, false) =
            (server, tcp.rst(), tcp.payload().is_empty())
        {
            let ack = tcp
                .sequence_number()
                .wrapping_add(tcp.payload().len() as u32);
            self.requests
                .push(String::from_utf8_lossy(tcp.payload()).into());
            let text = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n");
            let (first, rest) = text.as_bytes().split_at(5);
            return vec![
                built(answer(7_001, ack), first),
                built(answer(7_006, ack).fin(), rest),
            ];
        }
        vec![]
    }

    fn healthy(&self) -> Vec<String> {
        let tables = self.node.publisher.current();
        let (_, service) = tables.service_named("shop").expect("it exists");
        let taking = service.backends.iter().filter(|it| it.takes_flows);
        taking.map(|it| it.end.addr.to_string()).collect()
    }

    fn is_starved(&self) -> bool {
        let tables = self.node.publisher.current();
        tables
            .service_named("shop")
            .is_some_and(|(_, it)| it.is_starved)
    }
}

fn packet_mac(vif: &str) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, vif.as_bytes()[1] - b'0'])
}

#[test]
fn a_backend_goes_down_after_three_bad_answers_and_up_after_two_good_ones() {
    for bad in [Server::Silent, Server::Refuses] {
        let mut rig = Rig::new(Probe::Tcp, [Server::Accepts, Server::Accepts]);
        rig.run(5_000);
        assert_eq!(rig.news, []);
        assert!((8..=14).contains(&rig.asked), "{} times", rig.asked);
        rig.servers.insert("b2", bad);
        rig.run(1_500);
        assert_eq!(rig.healthy().len(), 2, "not yet");
        rig.run(3_000);
        assert_eq!(rig.healthy(), ["10.1.0.1"]);
        rig.servers.insert("b2", Server::Accepts);
        rig.run(800);
        assert_eq!(rig.healthy(), ["10.1.0.1"], "not yet");
        rig.run(2_500);
        assert_eq!(rig.healthy(), ["10.1.0.1", "10.1.0.2"]);
        let states: Vec<bool> = rig.news.iter().map(|news| news.is_healthy).collect();
        assert_eq!(states, [false, true]);
    }
}

#[test]
fn flows_leave_a_backend_that_went_down_without_a_commit() {
    let mut rig = Rig::new(Probe::Tcp, [Server::Accepts, Server::Accepts]);
    let client = tenant("c", "red", MacAddr([2, 0, 0, 0, 0, 9]), &["10.1.0.9"]);
    rig.node
        .apply(vec![Change::Upsert(client)])
        .expect("a client");
    let tables = rig.node.publisher.current();
    rig.prober.follow(&tables, 0);
    let syn = |port: u16| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], ROUTER.0)
            .ipv4([10, 1, 0, 9], [10, 200, 0, 1], 64)
            .tcp(port, 80, 1, 1_000)
            .syn()
            .write(&mut frame, &[])
            .expect("it fits");
        frame
    };
    let took = |rig: &mut Rig| -> Vec<String> {
        let each = (1_000..1_040).map(|port| {
            rig.node.send("c", &[syn(port)]);
            let (vif, _) = rig.node.recv_all().pop_first().expect("a backend gets it");
            vif
        });
        each.collect()
    };
    let before = took(&mut rig);
    assert!(before.contains(&"b1".into()) && before.contains(&"b2".into()));
    rig.servers.insert("b2", Server::Refuses);
    let generation = rig.node.publisher.current().generation();
    rig.run(5_000);
    assert_eq!(took(&mut rig), vec!["b1"; 40]);
    assert_eq!(rig.node.publisher.current().generation(), generation);
}

#[test]
fn http_is_asked_as_written_and_judged_by_its_status() {
    let mut rig = Rig::new(http(), [Server::Serves(204), Server::Serves(503)]);
    rig.run(5_000);
    assert_eq!(rig.healthy(), ["10.1.0.1"]);
    assert_eq!(
        rig.requests[0],
        "GET /health HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: vrouter-health\r\n\
         Connection: close\r\n\r\n"
    );
    // One that accepts and never answers is as bad.
    rig.servers.insert("b2", Server::Serves(200));
    rig.run(5_000);
    assert_eq!(rig.healthy(), ["10.1.0.1", "10.1.0.2"]);
    rig.servers.insert("b1", Server::Accepts);
    rig.run(5_000);
    assert_eq!(rig.healthy(), ["10.1.0.2"]);
}

#[test]
fn when_all_are_down_those_that_were_there_last_stay_and_it_is_said() {
    let mut rig = Rig::new(Probe::Tcp, [Server::Accepts, Server::Refuses]);
    rig.run(5_000);
    assert_eq!(
        (rig.healthy(), rig.is_starved()),
        (vec!["10.1.0.1".into()], false)
    );
    rig.servers.insert("b1", Server::Silent);
    rig.run(5_000);
    assert_eq!(
        (rig.healthy(), rig.is_starved()),
        (vec!["10.1.0.1".into()], true)
    );
    rig.servers.insert("b2", Server::Accepts);
    rig.run(5_000);
    assert_eq!(
        (rig.healthy(), rig.is_starved()),
        (vec!["10.1.0.2".into()], false)
    );
}

#[test]
fn what_was_found_outlives_a_commit_and_ends_with_the_checks() {
    let mut rig = Rig::new(Probe::Tcp, [Server::Accepts, Server::Refuses]);
    rig.run(5_000);
    let mut changed = match service(Probe::Tcp) {
        Object::Service(service) => service,
        _ => unreachable!("it is a service"),
    };
    changed.on_down = OnDown::Reset;
    let change = |rig: &mut Rig, service: Service| {
        let change = Change::Upsert(Object::Service(service));
        rig.node.apply(vec![change]).expect("a service");
        let tables = rig.node.publisher.current();
        rig.prober.follow(&tables, rig.now);
    };
    change(&mut rig, changed.clone());
    assert_eq!(rig.healthy(), ["10.1.0.1"]);
    changed.health = None;
    change(&mut rig, changed);
    assert_eq!((rig.healthy().len(), rig.prober.checked()), (2, 0));
}

/// Its answers would go to another node's router.
#[test]
fn backends_behind_tunnels_are_asked_from_an_address_of_this_nodes_own_only() {
    let objects = |gateways: &[&str]| {
        vec![
            vrf("red", gateways),
            fabric("up0", MacAddr([2, 0, 0, 0, 1, 1]), &["192.0.2.1/24"]),
            tunnel("node2", "192.0.2.2", 5001, None),
            route("red", "10.1.0.0/24", "node2"),
            service(Probe::Tcp),
        ]
    };
    let checked = |gateways: &[&str]| {
        let node = Node::new(objects(gateways));
        let mut prober = Prober::default();
        prober.follow(&node.publisher.current(), 0);
        let mut out = Vec::new();
        prober.poll(0, &mut out);
        out.iter()
            .map(|segment| segment.src.addr.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(checked(&["10.1.0.254/24"]), Vec::<String>::new());
    let own = checked(&["10.1.0.254/24", "10.1.0.253/24"]);
    assert_eq!(own, ["10.1.0.253", "10.1.0.253"]);
}
