//! Devices, queues and buffers of the DPDK layer, on devices that need neither
//! root nor hugepages.
#![cfg(feature = "dpdk")]

mod dpdk;

use dataplane::io::dpdk::{Eal, EalError, EalOptions, Mbuf, Mempool, MempoolConfig};
use dataplane::io::pcap::{PcapReader, PcapWriter};
use dataplane::io::{BATCH, Batch, DeviceError, Devices as _, Pool as _, Port};
use dpdk::{Dpdk, Scratch, frame, numbers, wait_for};
use encap::{Buffer, MemBuffer};

#[test]
fn a_ring_returns_what_was_sent_in_order() {
    let mut dpdk = Dpdk::take();
    let mut port = dpdk.open("net_ring0");
    let mut batch = dpdk.numbered(0..5);
    assert_eq!(port.tx[0].tx_burst(&mut batch), 5);
    assert!(batch.is_empty());
    assert_eq!(port.rx[0].rx_burst(&mut batch), 5);
    assert_eq!(numbers(&batch), [0, 1, 2, 3, 4]);
    assert_eq!(batch[4].bytes(), frame(4, 60));
    assert_eq!(port.rx[0].rx_burst(&mut batch), 0);
}

#[test]
fn a_burst_fills_only_the_batchs_free_room() {
    let mut dpdk = Dpdk::take();
    let mut port = dpdk.open("net_ring0");
    port.tx[0].tx_burst(&mut dpdk.numbered(0..4));
    let mut batch = dpdk.numbered(100..100 + BATCH as u8 - 3);
    assert_eq!(port.rx[0].rx_burst(&mut batch), 3);
    assert_eq!(numbers(&batch[BATCH - 4..]), [160, 0, 1, 2]);
    assert_eq!(port.rx[0].rx_burst(&mut batch), 0);
    batch.clear();
    assert_eq!(port.rx[0].rx_burst(&mut batch), 1);
    assert_eq!(numbers(&batch), [3]);
}

#[test]
fn what_a_full_ring_refuses_stays_in_order() {
    let mut dpdk = Dpdk::take();
    let mut port = dpdk.open("net_ring0");
    let mut batch = dpdk.numbered(0..BATCH as u8);
    let mut sent = 0;
    while batch.is_empty() || batch.len() == BATCH {
        batch = dpdk.numbered(0..BATCH as u8);
        sent += port.tx[0].tx_burst(&mut batch);
    }
    // A ring of 1024 holds one less.
    assert_eq!(sent, 1023);
    assert_eq!(numbers(&batch), [63]);
    let mut more = dpdk.numbered(7..9);
    assert_eq!(port.tx[0].tx_burst(&mut more), 0);
    assert_eq!(numbers(&more), [7, 8]);
    // Room for one: the first of those refused goes first.
    let mut one = dpdk.numbered(0..BATCH as u8 - 1);
    assert_eq!(port.rx[0].rx_burst(&mut one), 1);
    assert_eq!(port.tx[0].tx_burst(&mut more), 1);
    assert_eq!(numbers(&more), [8]);
}

#[test]
fn every_buffer_comes_back_when_a_port_closes() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    let mut port = dpdk.open("net_ring0");
    port.tx[0].tx_burst(&mut dpdk.numbered(0..40));
    let mut received = Batch::new();
    port.tx[0].tx_burst(&mut dpdk.numbered(0..40));
    port.rx[0].rx_burst(&mut received);
    assert_eq!(dpdk.pool.available(), before - 80);
    port.control.close();
    drop((port.rx, port.tx));
    assert_eq!(dpdk.pool.available(), before - received.len());
    drop(received);
    assert_eq!(dpdk.pool.available(), before);
}

#[test]
fn a_port_stays_open_until_its_last_handle_is_gone() {
    let mut dpdk = Dpdk::take();
    let mut port = dpdk.open("net_ring0");
    let mut tx = port.tx.pop().unwrap();
    port.control.close();
    drop((port.rx, port.tx));
    assert_eq!(tx.tx_burst(&mut dpdk.numbered(0..1)), 1);
    assert!(matches!(
        dpdk.devices.open("net_ring0", 1),
        Err(DeviceError::AlreadyOpen { .. })
    ));
    drop(tx);
    dpdk.open("net_ring0");
}

#[test]
fn ports_open_close_and_open_again() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    for _ in 0..40 {
        let mut ring = dpdk.open("net_ring1");
        let mut null = dpdk.open("net_null1");
        ring.tx[0].tx_burst(&mut dpdk.numbered(0..3));
        null.tx[0].tx_burst(&mut dpdk.numbered(0..3));
    }
    assert_eq!(dpdk.pool.available(), before);
}

#[test]
fn the_33rd_port_is_refused() {
    let mut dpdk = Dpdk::take();
    let open: Vec<_> = (0..32)
        .map(|n| dpdk.open(&format!("net_null{n}")))
        .collect();
    assert_eq!(
        dpdk.refusal("net_null32"),
        "device `net_null32` cannot be opened: all 32 ports of this DPDK build are in use; \
         close one, or carry several vifs on one port"
    );
    drop(open);
    dpdk.open("net_null32");
}

#[test]
fn a_refused_device_is_named_with_a_remedy() {
    let mut dpdk = Dpdk::take();
    for (device, sentence) in [
        (
            "net_af_packet0,iface=vr-none",
            "cannot be opened: there is no network interface `vr-none`; \
             create it first or correct the name",
        ),
        (
            "net_nothing0",
            "has no driver: check the spelling, and that the driver's package is installed",
        ),
        (
            "0000:ff:1f.7",
            "cannot be opened: there is no PCI device of that address, or DPDK was started \
             without PCI; create it first or correct the name",
        ),
        (
            "net_null0,no-such-argument=1",
            "was refused by its driver: check its arguments",
        ),
    ] {
        assert_eq!(
            dpdk.refusal(device),
            format!("device `{device}` {sentence}")
        );
    }
    // And nothing of it is left behind.
    dpdk.open("net_null0");
}

#[test]
fn workers_beyond_the_queues_share_one() {
    let mut dpdk = Dpdk::take();
    let scratch = Scratch::new("share");
    let file = scratch.path("out.pcap");
    let device = format!("net_pcap0,tx_pcap={file}");
    let mut port = dpdk.devices.open(&device, 3).unwrap();
    assert_eq!((port.rx.len(), port.tx.len()), (1, 3));
    std::thread::scope(|scope| {
        for (worker, tx) in port.tx.iter_mut().enumerate() {
            let dpdk = &dpdk;
            scope.spawn(move || {
                let first = worker as u8 * 50;
                for number in first..first + 50 {
                    let mut batch = dpdk.numbered(number..number + 1);
                    assert_eq!(tx.tx_burst(&mut batch), 1);
                }
            });
        }
    });
    drop(port);
    let mut reader = PcapReader::open(file).unwrap();
    let mut numbers = Vec::new();
    while let Some((_, frame)) = reader.next_packet().unwrap() {
        numbers.push(frame[14]);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..150).collect::<Vec<u8>>());
}

#[test]
fn a_capture_file_passes_through() {
    let mut dpdk = Dpdk::take();
    let scratch = Scratch::new("through");
    let (input, output) = (scratch.path("in.pcap"), scratch.path("out.pcap"));
    let frames = [frame(1, 60), frame(2, 1514), frame(3, 2048)];
    let mut writer = PcapWriter::create(&input).unwrap();
    for (time, frame) in frames.iter().enumerate() {
        writer.write(time as u64, frame).unwrap();
    }
    writer.finish().unwrap();

    let mut port = dpdk.open(&format!("net_pcap0,rx_pcap={input},tx_pcap={output}"));
    let mut batch = Batch::new();
    assert_eq!(port.rx[0].rx_burst(&mut batch), 3);
    assert_eq!(port.tx[0].tx_burst(&mut batch), 3);
    drop(port);

    let mut reader = PcapReader::open(output).unwrap();
    for frame in frames {
        assert_eq!(reader.next_packet().unwrap().unwrap().1, frame);
    }
    assert!(reader.next_packet().unwrap().is_none());
}

#[test]
fn a_frame_larger_than_a_buffer_comes_in_several() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    let scratch = Scratch::new("jumbo");
    let file = scratch.path("in.pcap");
    let mut writer = PcapWriter::create(&file).unwrap();
    for (number, len) in [(1, 60), (2, 2049), (3, 9000), (4, 60)] {
        writer.write(0, &frame(number, len)).unwrap();
    }
    writer.finish().unwrap();
    let mut port = dpdk.open(&format!("net_pcap0,rx_pcap={file}"));
    let mut batch = Batch::new();
    assert_eq!(port.rx[0].rx_burst(&mut batch), 4);
    assert_eq!(numbers(&batch), [1, 2, 3, 4]);
    let lens: Vec<(usize, usize)> = batch.iter().map(|p| (p.len(), p.bytes().len())).collect();
    assert_eq!(lens, [(60, 60), (2049, 2048), (9000, 2048), (60, 60)]);
    drop((port, batch));
    assert_eq!(dpdk.pool.available(), before);
}

/// Sends a frame in several buffers until it arrives; returns what arrives.
fn carry_jumbo(dpdk: &mut Dpdk, from: &mut Port<Mbuf>, to: &mut Port<Mbuf>) {
    let longest = frame(5, 9216 + 18);
    let mut batch = Batch::new();
    batch.push(dpdk.chain(&longest));
    let mut received = Batch::new();
    wait_for("jumbo frame", || {
        from.tx[0].tx_burst(&mut batch);
        to.rx[0].rx_burst(&mut received);
        (!received.is_empty()).then_some(())
    });
    let mut whole = Vec::new();
    received[0].for_each_segment(|segment| whole.extend_from_slice(segment));
    assert!(received[0].is_chained() && whole == longest);
    assert_eq!(from.control.stats().tx_errors, 0);
}

#[test]
fn jumbo_frames_pass_through_every_kind_of_port() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    let scratch = Scratch::new("jumbo");
    let directory = scratch.0.display();
    for [near, far] in [
        [
            format!("net_memif0,role=server,socket={directory}/m,socket-abstract=no"),
            format!("net_memif1,role=client,socket={directory}/./m,socket-abstract=no"),
        ],
        [
            format!("net_vhost0,iface={directory}/v"),
            format!("net_virtio_user0,path={directory}/v"),
        ],
    ] {
        let mut near = dpdk.devices.open_for(&near, 1, Some(9216)).unwrap();
        let mut far = dpdk.devices.open_for(&far, 1, Some(9216)).unwrap();
        assert_eq!((near.control.mtu(), far.control.mtu()), (9216, 9216));
        let refused = near.control.raise_mtu(9217).unwrap_err().to_string();
        assert!(
            refused.ends_with("a port carries 9216 at most"),
            "{refused}"
        );
        wait_for("link", || near.control.link().up.then_some(()));
        carry_jumbo(&mut dpdk, &mut near, &mut far);
        carry_jumbo(&mut dpdk, &mut far, &mut near);
        drop(far);
        drop(near);
    }
    // A ring is its own far end.
    let mut port = dpdk.devices.open_for("net_ring0", 1, Some(9216)).unwrap();
    let mut batch: Batch<_> = [dpdk.chain(&frame(5, 9234))].into_iter().collect();
    assert_eq!(port.tx[0].tx_burst(&mut batch), 1);
    assert_eq!(port.rx[0].rx_burst(&mut batch), 1);
    assert_eq!((batch[0].len(), batch[0].is_chained()), (9234, true));
    drop((port, batch));
    assert_eq!(dpdk.pool.available(), before);
}

#[test]
fn memif_connects_two_ports_of_one_process() {
    let mut dpdk = Dpdk::take();
    let scratch = Scratch::new("memif");
    for _ in 0..20 {
        exchange_over_memif(&mut dpdk, &scratch);
    }
}

fn exchange_over_memif(dpdk: &mut Dpdk, scratch: &Scratch) {
    let before = dpdk.pool.available();
    let directory = scratch.0.display();
    // Two spellings of one path: the driver lets a process use a path once.
    let mut server = dpdk.open(&format!(
        "net_memif0,role=server,socket={directory}/socket,socket-abstract=no"
    ));
    assert!(!server.control.link().up);
    let mut client = dpdk.open(&format!(
        "net_memif1,role=client,socket={directory}/./socket,socket-abstract=no"
    ));
    wait_for("link", || {
        (server.control.link().up && client.control.link().up).then_some(())
    });
    for (from, to) in [(0, 1), (1, 0)] {
        let mut ports = [&mut server, &mut client];
        let mut batch = dpdk.numbered(0..20);
        let mut received = Batch::new();
        // The client's receive bursts are what gives the server room to send.
        wait_for("packets", || {
            ports[from].tx[0].tx_burst(&mut batch);
            ports[to].rx[0].rx_burst(&mut received);
            (received.len() == 20).then_some(())
        });
        assert_eq!(numbers(&received), (0..20).collect::<Vec<u8>>());
    }
    drop((client, server));
    assert_eq!(dpdk.pool.available(), before);
}

#[test]
fn vhost_serves_a_virtio_user() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    let scratch = Scratch::new("vhost");
    let socket = scratch.path("socket");
    let mut vhost = dpdk.open(&format!("net_vhost0,iface={socket}"));
    let mut guest = dpdk.open(&format!(
        "net_virtio_user0,path={socket},mac=02:00:00:00:00:05"
    ));
    assert_eq!(guest.control.mac().to_string(), "02:00:00:00:00:05");
    wait_for("link", || vhost.control.link().up.then_some(()));

    let mut batch = dpdk.numbered(0..20);
    wait_for("room", || {
        guest.tx[0].tx_burst(&mut batch);
        batch.is_empty().then_some(())
    });
    wait_for("packets", || {
        vhost.rx[0].rx_burst(&mut batch);
        (batch.len() == 20).then_some(())
    });
    assert_eq!(numbers(&batch), (0..20).collect::<Vec<u8>>());

    assert_eq!(vhost.tx[0].tx_burst(&mut batch), 20);
    wait_for("packets", || {
        guest.rx[0].rx_burst(&mut batch);
        (batch.len() == 20).then_some(())
    });
    drop((guest, batch));
    drop(vhost);
    assert_eq!(dpdk.pool.available(), before);
}

#[test]
fn an_mbuf_behaves_as_a_buffer_in_memory() {
    let dpdk = Dpdk::take();
    let mut mbuf = dpdk.packet(&frame(1, 60));
    let mut model = MemBuffer::from_frame(&frame(1, 60));
    assert_eq!(mbuf.headroom(), model.headroom());
    let room = (mbuf.tailroom(), model.tailroom());
    assert_eq!(room.0, room.1);
    // A linear congruential walk over the operations, growing and shrinking.
    let mut seed = 1_u32;
    for step in 0..20_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = (seed >> 16) as usize % 300;
        let same = match seed >> 8 & 3 {
            0 => mbuf.prepend(len).is_ok() == model.prepend(len).is_ok(),
            1 => mbuf.trim_front(len) == model.trim_front(len),
            2 => mbuf.append(len) == model.append(len),
            _ => {
                mbuf.truncate(len * 8);
                model.truncate(len * 8);
                true
            }
        };
        assert!(same, "step {step}");
        assert_eq!(mbuf.bytes().len(), model.bytes().len(), "step {step}");
        assert_eq!(mbuf.headroom(), model.headroom(), "step {step}");
        assert_eq!(mbuf.tailroom(), model.tailroom(), "step {step}");
        // Prepended bytes are unspecified, so make them the same.
        let fill = step as u8;
        mbuf.bytes_mut()
            .iter_mut()
            .take(len)
            .for_each(|b| *b = fill);
        model
            .bytes_mut()
            .iter_mut()
            .take(len)
            .for_each(|b| *b = fill);
        assert_eq!(mbuf.bytes(), model.bytes(), "step {step}");
    }
}

#[test]
fn a_chain_of_mbufs_behaves_as_one_in_memory() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    let scratch = Scratch::new("chains");
    let file = scratch.path("in.pcap");
    const COUNT: usize = 60;
    let frames = (0..COUNT).map(|n| {
        let mut frame = frame(n as u8, 1500 + n * 150);
        let bytes = frame.iter_mut().enumerate().skip(15);
        bytes.for_each(|(at, byte)| *byte = (at * 7 + n) as u8);
        frame
    });
    let frames: Vec<Vec<u8>> = frames.collect();
    let mut writer = PcapWriter::create(&file).unwrap();
    frames.iter().for_each(|f| writer.write(0, f).unwrap());
    writer.finish().unwrap();
    let mut port = dpdk.open(&format!("net_pcap0,rx_pcap={file}"));
    let mut batch = Batch::new();
    assert_eq!(port.rx[0].rx_burst(&mut batch), COUNT);

    let mut seed = 1_u32;
    let mut below = |bound: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % bound
    };
    for (mut mbuf, frame) in batch.drain(..).zip(&frames) {
        // Drivers leave no headroom in later segments.
        let mut model = MemBuffer::chained(frame, &[2048, 2176, 2176, 2176]);
        for step in 0..40 {
            let len = below(600);
            let same = match below(6) {
                0 => mbuf.prepend(len).is_ok() == model.prepend(len).is_ok(),
                1 => mbuf.trim_front(len) == model.trim_front(len),
                2 => {
                    let len = len.min(model.tailroom());
                    mbuf.append(len) == model.append(len)
                }
                3 => mbuf.pull_up(len * 4) == model.pull_up(len * 4),
                4 => {
                    let len = mbuf.len().saturating_sub(len);
                    mbuf.truncate(len);
                    model.truncate(len);
                    true
                }
                _ => {
                    let (mut a, mut b) = (vec![1; len], vec![1; len]);
                    let from = below(9000);
                    mbuf.copy_to(from, &mut a) == model.copy_to(from, &mut b) && a == b
                }
            };
            assert!(same, "step {step}");
            assert_eq!(mbuf.len(), model.len(), "step {step}");
            assert_eq!(mbuf.bytes().len(), model.bytes().len(), "step {step}");
            assert_eq!(mbuf.headroom(), model.headroom(), "step {step}");
            assert!(mbuf.tailroom() >= model.tailroom(), "step {step}");
            // Prepended bytes are unspecified, so make them the same.
            mbuf.bytes_mut().iter_mut().take(len).for_each(|b| *b = 5);
            model.bytes_mut().iter_mut().take(len).for_each(|b| *b = 5);
            let mut all = Vec::new();
            mbuf.for_each_segment(|segment| all.extend_from_slice(segment));
            assert!(all == model.to_vec(), "step {step}");
        }
    }
    drop((port, batch));
    assert_eq!(dpdk.pool.available(), before);
}

#[test]
fn an_empty_pool_gives_none_and_refills() {
    let dpdk = Dpdk::take();
    let config = MempoolConfig {
        count: 63,
        cache: 0,
        ..MempoolConfig::default()
    };
    let mut pool = Mempool::new(dpdk.eal, config).unwrap();
    let mut all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((all.len(), pool.available()), (63, 0));
    all.pop();
    assert!(pool.alloc().is_some());
    drop(all);
    assert_eq!(pool.available(), 63);
}

#[test]
fn a_pool_beyond_the_memory_says_how_much_it_takes() {
    let dpdk = Dpdk::take();
    let config = MempoolConfig {
        count: 1 << 20,
        ..MempoolConfig::default()
    };
    let said = Mempool::new(dpdk.eal, config).unwrap_err().to_string();
    assert!(
        said.contains("1048576 packet buffers") && said.contains("2432 MiB"),
        "{said}"
    );
}

#[test]
fn dpdk_starts_once() {
    let _dpdk = Dpdk::take();
    assert_eq!(
        Eal::start(&EalOptions::default()).unwrap_err(),
        EalError::AlreadyStarted
    );
}

#[test]
fn workers_register_once_each() {
    let dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    let eal = dpdk.eal;
    let mut pool = dpdk.pool;
    for _ in 0..200 {
        let worker = std::thread::spawn(move || {
            let registered = eal.register_worker().unwrap();
            assert!(eal.register_worker().is_err());
            drop(pool.alloc().unwrap());
            registered.lcore()
        });
        assert_ne!(worker.join().unwrap(), 0, "lcore 0 is not for workers");
    }
    assert_eq!(dpdk.pool.available(), before);
}
