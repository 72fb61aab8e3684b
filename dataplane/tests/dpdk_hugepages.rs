//! DPDK on hugepages, where some are free.
#![cfg(feature = "dpdk")]

use dataplane::io::dpdk::{Devices, Eal, EalOptions, Memory, Mempool, MempoolConfig};
use dataplane::io::{Batch, Devices as _, Pool as _};
use encap::Buffer;

#[test]
fn a_ring_works_on_hugepages() {
    let megabytes = 64;
    let (memory, reason) = Memory::detect(megabytes);
    if let Some(reason) = reason {
        eprintln!("left out: {reason}");
        return;
    }
    let eal = Eal::start(&EalOptions {
        memory,
        megabytes,
        ..EalOptions::default()
    })
    .unwrap();
    let mut pool = Mempool::new(eal, MempoolConfig::default()).unwrap();
    let mut port = Devices::new(eal, pool).open("net_ring0", 1).unwrap();
    let mut packet = pool.alloc().unwrap();
    packet.append(60).unwrap();
    let mut batch = Batch::from_iter([packet]);
    assert_eq!(port.tx[0].tx_burst(&mut batch), 1);
    assert_eq!(port.rx[0].rx_burst(&mut batch), 1);
    assert_eq!(batch[0].bytes(), [0; 60]);
}
