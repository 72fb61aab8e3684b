use super::*;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn allotment(ports: RangeInclusive<u16>, limits: (u16, u32)) -> Allotment {
    Allotment::new(1, &[net("198.51.100.0/31")], ports, limits, None)
}

fn claim(vif: u32, random: u64) -> Claim {
    Claim {
        transport: Transport::Tcp,
        vif: Some(VifId(vif)),
        inside_port: 40_000,
        address: 0,
        random: mix(random),
    }
}

#[test]
fn a_vif_gets_no_more_than_its_limit_and_others_still_theirs() {
    let pool = allotment(1024..=2047, (0, 10));
    let got = (0..20).filter(|n| pool.take(&claim(3, *n)).is_ok()).count();
    assert_eq!(got, 10);
    assert_eq!(pool.take(&claim(3, 99)), Err(DropReason::SnatPortLimit));
    assert!(pool.take(&claim(4, 99)).is_ok());
    let usage = pool.usage();
    assert_eq!(
        (usage.used, usage.refused, usage.limit),
        ([11, 0, 0], 11, 2048)
    );
}

#[test]
fn a_block_is_one_vifs_until_its_last_port_comes_back() {
    let pool = allotment(1024..=1024 + 4 * 64 - 1, (64, u32::MAX));
    let mut given = Vec::new();
    for vif in 0..4 {
        let ports: Vec<End> = (0..64)
            .map(|n| pool.take(&claim(vif, n)).expect("a block of its own"))
            .collect();
        let first = ports.iter().map(|end| end.port).min().expect("64");
        let last = ports.iter().map(|end| end.port).max().expect("64");
        assert_eq!((last - first, (first - 1024) % 64), (63, 0));
        assert_eq!(pool.take(&claim(vif, 64)), Err(DropReason::SnatPortLimit));
        given.push(ports);
    }
    assert_eq!(pool.take(&claim(9, 0)), Err(DropReason::SnatExhausted));
    for end in &given[2] {
        pool.leave(Some(VifId(2)));
        pool.give_back(Transport::Tcp, Some(VifId(2)), *end);
    }
    let end = pool
        .take(&claim(9, 0))
        .expect("the block that was given back");
    assert!(given[2].iter().any(|was| was.port == end.port));
}

#[test]
fn with_a_limit_of_ports_a_vif_may_have_several_blocks() {
    let pool = allotment(1024..=1024 + 4 * 64 - 1, (64, 100));
    let got = (0..200)
        .filter(|n| pool.take(&claim(1, *n)).is_ok())
        .count();
    assert_eq!(got, 100);
    assert_eq!(pool.take(&claim(1, 7)), Err(DropReason::SnatPortLimit));
}

#[test]
fn a_new_form_keeps_what_is_given_out() {
    let old = allotment(1024..=1024 + 63, (64, u32::MAX));
    let end = old.take(&claim(1, 1)).expect("room");
    let new = Allotment::new(
        2,
        &[net("198.51.100.0/32"), net("198.51.100.8/32")],
        1024..=1024 + 63,
        (64, u32::MAX),
        Some(&old),
    );
    assert_eq!(new.serial(), 1);
    assert!(new.is_taken(Transport::Tcp, end) && new.has(end));
    assert_eq!(new.take(&claim(2, 1)), Err(DropReason::SnatExhausted));
    assert_eq!(new.usage().used, [1, 0, 0]);
    let other = Claim {
        address: u64::MAX,
        ..claim(2, 1)
    };
    assert_eq!(
        new.take(&other).map(|end| end.addr),
        Ok("198.51.100.8".parse().expect("it is"))
    );
}
