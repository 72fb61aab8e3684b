//! What a controller may do wrong, and dying in the middle: all or nothing, and
//! one clear sentence for each mistake.
#![cfg(feature = "dpdk")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::command::{try_run, words};
use tests::traffic::Random;
use tests::{Output, Scratch, Vrouter, programs};

const NETWORK: &str = r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24]}
vifs:
  - {name: up0, role: fabric, device: net_null0, addresses: [192.0.2.1/24]}
  - {name: web, role: tenant, device: net_null1, vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5]}
nexthops:
  - {name: away, tunnel: {encap: vxlan, remote: 192.0.2.2, vni: 5001}}
vnis:
  - {vni: 5001, vrf: front}
"#;

#[test]
fn the_same_file_twice_makes_no_new_generation() {
    let vrouter = Vrouter::start_alone();
    vrouter.apply(NETWORK);
    let generation = vrouter.generation();
    let said = vrouter.apply(NETWORK);
    assert_eq!(vrouter.generation(), generation, "{said}");
    assert!(said.contains("unchanged"), "{said}");
}

#[test]
fn five_mistakes_are_five_errors_and_change_nothing() {
    let vrouter = Vrouter::start_alone();
    vrouter.apply(NETWORK);
    let generation = vrouter.generation();
    let said = vrouter.try_apply(
        r#"
vrfs:
  - {name: back, gateways: [10.2.0.1/33]}
vifs:
  - {name: db, role: tennant, device: net_null2, vrf: back, mac: "02:00:00:00:01:06"}
nexthops:
  - {name: far, tunnel: {encap: vxlan, remote: 192.0.2.3, vni: 16777216}}
routes:
  - {vrf: front, prefix: 10.3.0.0/24, nexthop: nowhere}
vnis:
  - {vni: 7, vrf: front, color: red}
"#,
    );
    assert_eq!(said.status, Some(1), "{said}");
    let about = [
        ["vrf back", "gateways", "10.2.0.1/33"],
        ["vif db", "role", "tennant"],
        ["nexthop far", "tunnel.vni", "16777216"],
        ["route front 10.3.0.0/24", "nexthop", "nowhere"],
        ["vni 7", "color", "color"],
    ];
    for words in about {
        let lines = said.stderr.lines();
        let found = lines.filter(|line| words.iter().all(|word| line.contains(word)));
        assert_eq!(found.count(), 1, "about {words:?}: {said}");
    }
    let errors = said.stderr.lines().filter(|line| line.contains("yaml:"));
    assert_eq!(errors.count(), about.len(), "{said}");
    assert_eq!(vrouter.generation(), generation);
}

#[test]
fn each_mistake_is_named_with_its_place() {
    let vrouter = Vrouter::start_alone();
    vrouter.apply(NETWORK);
    let before = vrouter.generation();
    // What is applied, and what the answer must mention.
    let mistakes: &[(&str, &[&str])] = &[
        ("vrfs: [{name: a, colour: b}]", &["vrf a", "colour"]),
        ("vrfs: {name: a}", &["vrfs"]),
        ("vrfs: [{name: [1, 2]}]", &["name"]),
        ("vrfs: [{}]", &["vrf", "name"]),
        ("vrfs: [{name: a}, {name: a}]", &["vrf a", "already"]),
        ("rules: []", &["rules"]),
        ("vrfs: [", &["yaml"]),
        ("vnis: [{vni: five, vrf: front}]", &["vni", "five"]),
        ("vnis: [{vni: 5001, vrf: gone}]", &["vni 5001", "gone"]),
        (
            "routes: [{vrf: front, prefix: 10.1.0.5/24, nexthop: away}]",
            &["10.1.0.5/24", "prefix"],
        ),
        (
            "routes: [{vrf: front, prefix: 10.1.0.5/32, nexthop: away}]",
            &["10.1.0.5/32", "vif web"],
        ),
        (
            "vifs: [{name: x, role: tenant, device: 'net_af_packet9,iface=none9', vrf: front, mac: '02:00:00:00:01:77'}]",
            &["vif x", "none9"],
        ),
        (
            "vifs: [{name: x, role: tenant, device: net_null1, vrf: front, mac: '02:00:00:00:01:77'}]",
            &["vif x", "net_null1", "vif web"],
        ),
    ];
    for (objects, words) in mistakes {
        let said = vrouter.try_apply(objects);
        assert_eq!(said.status, Some(1), "{objects}: {said}");
        for word in *words {
            assert!(said.stderr.contains(word), "{objects}: no {word} in {said}");
        }
        assert!(!said.stderr.contains("panicked"), "{said}");
        assert_eq!(vrouter.generation(), before, "{objects}");
    }
}

#[test]
fn a_killed_client_changes_all_or_nothing() {
    const ROUTES: usize = 100_000;
    const KILLS: u32 = 12;
    let vrouter = Vrouter::start_alone();
    vrouter.apply(NETWORK);
    let mut large = NETWORK.to_owned() + "routes:\n";
    for number in 0..ROUTES as u32 {
        let [_, a, b, c] = number.to_be_bytes();
        large += &format!("  - {{vrf: front, prefix: 20.{a}.{b}.{c}/32, nexthop: away}}\n");
    }
    // How long it takes when nobody dies, with nothing committed.
    let start = Instant::now();
    let mut command = vrouter.apply_command(&large);
    let checked = try_run(command.arg("--dry-run").stdout(Stdio::null()));
    assert_eq!(checked.status, Some(0), "{checked}");
    let whole = start.elapsed();

    let mut dice = Random(1);
    let (mut nothing, mut everything) = (0, 0);
    for _ in 0..KILLS {
        let before = vrouter.generation();
        let mut client = vrouter
            .apply_command(&large)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("vrctl starts");
        let share = (dice.next() % 1000) as f64 / 1000.0;
        std::thread::sleep(whole.mul_f64(share * 1.1));
        _ = client.kill();
        _ = client.wait();
        settle(&vrouter);
        let after = vrouter.generation();
        match routes(&vrouter) {
            0 => {
                assert_eq!(after, before, "a generation without the routes");
                nothing += 1;
            }
            ROUTES => {
                assert_eq!(after, before + 1, "one generation with all routes");
                everything += 1;
                let file = vrouter.try_apply_replacing(NETWORK);
                assert_eq!(file.status, Some(0), "{file}");
            }
            some => panic!("{some} of {ROUTES} routes are there"),
        }
    }
    println!("killed {KILLS} times: {nothing} left nothing, {everything} everything");
    assert!(nothing > 0, "every kill came too late");
}

/// Waits until a request whose client is gone has been worked off: the daemon
/// answers again, twice with the same generation.
fn settle(vrouter: &Vrouter) {
    let mut last = vrouter.generation();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(300));
        let now = vrouter.generation();
        if now == last {
            return;
        }
        last = now;
    }
}

fn routes(vrouter: &Vrouter) -> usize {
    let said = vrouter.vrctl(&["get", "routes", "front", "-o", "json"]);
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    said.stdout.matches("\"prefix\"").count()
}

#[test]
fn nobody_to_ask_is_status_2() {
    let scratch = Scratch::new("nobody");
    let socket = scratch.join("ctl.sock");
    let mut command = Command::new(programs::vrctl());
    let said = try_run(command.arg("--socket").arg(&socket).arg("stats"));
    assert_eq!(said.status, Some(2), "{said}");
    one_sentence(&said, &["ctl.sock"]);
}

#[test]
fn without_permission_is_status_2() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: becoming another user needs root");
        return;
    }
    let vrouter = Vrouter::start_alone();
    let line = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let mut command = words(line);
    // A copy that the other user may run.
    let scratch = Scratch::new("permission");
    let copy = scratch.join("vrctl");
    std::fs::copy(programs::vrctl(), &copy).expect("the directory is ours");
    command.arg(copy).arg("--socket").arg(vrouter.socket());
    let said = try_run(command.arg("stats"));
    assert_eq!(said.status, Some(2), "{said}");
    one_sentence(&said, &["ctl.sock", "this user"]);
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let running = Vrouter::start_alone();
    let scratch = Scratch::new("start");
    let socket = running.socket();
    let free = scratch.join("free.sock");
    let free = free.display();
    let nodes: &[(String, &[&str])] = &[
        (
            format!("socket: {}", socket.display()),
            &["ctl.sock", "use"],
        ),
        (format!("socket: {free}\ncores: [4000]"), &["4000"]),
        (format!("socket: {free}\ncores: two"), &["cores", "two"]),
        (format!("socket: {free}\nsize: 3"), &["size"]),
        (
            format!("socket: {free}\nflow_table_size: 3"),
            &["flow_table_size", "3"],
        ),
        ("socket: /proc/none/ctl.sock".into(), &["/proc/none"]),
        (
            format!(
                "socket: {free}\nobjects: {{vifs: [{{name: up, role: fabric, device: 'net_af_packet0,iface=none9'}}]}}"
            ),
            &["vif up", "none9"],
        ),
    ];
    for (node, words) in nodes {
        let file = scratch.write("node.yaml", node);
        let mut command = Command::new(programs::vrouterd());
        let said = try_run(command.arg("--config").arg(file));
        assert_eq!(said.status, Some(1), "{node}: {said}");
        for word in *words {
            assert!(said.stderr.contains(word), "{node}: no {word} in {said}");
        }
        assert!(!said.stderr.contains("panicked"), "{said}");
    }
    // The first daemon did not notice.
    assert_eq!(running.vrctl(&["stats"]).status, Some(0));
}

fn one_sentence(said: &Output, words: &[&str]) {
    assert_eq!(said.stderr.trim().lines().count(), 1, "{said}");
    for word in words {
        assert!(said.stderr.contains(word), "no {word} in {said}");
    }
}
