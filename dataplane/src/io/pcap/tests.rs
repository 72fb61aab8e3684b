use std::io::{Cursor, Write};
use std::process::Command;

use encap::{Buffer, MemBuffer};

use super::*;
use crate::io::{Batch, RxQueue, TxQueue};

/// Two frames of 3 and 1 bytes in a file as tcpdump on a little-endian machine
/// writes it: microseconds, snap length 262144.
const LITTLE_MICROS: &[u8] = &[
    0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0, //
    1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, b'a', b'b', b'c', //
    2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'd',
];

/// One frame of 2 bytes from a big-endian machine with nanoseconds.
const BIG_NANOS: &[u8] = &[
    0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0,
    1, //
    0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 2, b'x', b'y',
];

fn read_all(bytes: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, PcapError> {
    let mut reader = PcapReader::new("a.pcap", bytes)?;
    let mut packets = Vec::new();
    while let Some((time_ns, frame)) = reader.next_packet()? {
        packets.push((time_ns, frame.to_vec()));
    }
    Ok(packets)
}

fn refusal(bytes: &[u8]) -> String {
    read_all(bytes).unwrap_err().to_string()
}

/// `LITTLE_MICROS` with one byte changed.
fn with_byte(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = LITTLE_MICROS.to_vec();
    bytes[at] = value;
    bytes
}

#[test]
fn both_byte_orders_and_resolutions_are_read() {
    assert_eq!(
        read_all(LITTLE_MICROS).unwrap(),
        [
            (1_000_002_000, b"abc".to_vec()),
            (2_000_000_000, b"d".to_vec())
        ]
    );
    assert_eq!(
        read_all(BIG_NANOS).unwrap(),
        [(1_000_000_007, b"xy".to_vec())]
    );
}

#[test]
fn a_file_without_packets_is_read() {
    assert_eq!(read_all(&LITTLE_MICROS[..24]).unwrap(), []);
}

#[test]
fn a_cut_file_names_the_packet() {
    let ends = "the file ends in the middle of it";
    for len in 25..40 {
        let said = refusal(&LITTLE_MICROS[..len]);
        assert_eq!(said, format!("a.pcap: packet 1: {ends}"));
    }
    // Frame 1 begins at 40, packet 2 at 43: an end exactly there is none.
    assert_eq!(
        refusal(&LITTLE_MICROS[..40]),
        format!("a.pcap: packet 1: {ends}")
    );
    assert_eq!(read_all(&LITTLE_MICROS[..43]).unwrap().len(), 1);
    assert_eq!(
        refusal(&LITTLE_MICROS[..59]),
        format!("a.pcap: packet 2: {ends}")
    );
    for len in 1..24 {
        assert_eq!(refusal(&LITTLE_MICROS[..len]), format!("a.pcap: {ends}"));
    }
}

#[test]
fn other_files_are_named_for_what_they_are() {
    assert_eq!(refusal(b""), "a.pcap: this is not a pcap file");
    assert_eq!(
        refusal(b"objects:\n  - "),
        "a.pcap: this is not a pcap file"
    );
    assert!(refusal(b"\x0a\x0d\x0d\x0a\x1c\0\0\0").contains("editcap -F pcap"));
    assert_eq!(
        refusal(&with_byte(6, 5)),
        "a.pcap: pcap version 2.5; only 2.4 can be read"
    );
    assert_eq!(
        refusal(&with_byte(20, 113)),
        "a.pcap: link type 113; only Ethernet (1) can be read"
    );
    let missing = PcapReader::open("/nonexistent/a.pcap").err().unwrap();
    assert!(
        missing
            .to_string()
            .starts_with("/nonexistent/a.pcap: No such file")
    );
}

#[test]
fn a_frame_longer_than_the_snap_length_is_refused() {
    let mut bytes = with_byte(18, 0);
    bytes[16] = 2;
    assert_eq!(
        refusal(&bytes),
        "a.pcap: packet 1: a frame of 3 bytes where at most 2 may be"
    );
    // And a length that would have us reserve 4 GiB.
    assert!(refusal(&with_byte(35, 0xff)).contains("at most 262144"));
}

#[test]
fn a_frame_cut_at_capture_is_refused() {
    assert_eq!(
        refusal(&with_byte(36, 60)),
        "a.pcap: packet 1: only 3 of 60 bytes were captured; \
         capture whole frames (`-s 262144`)"
    );
}

#[test]
fn a_fraction_beyond_a_second_is_refused() {
    let mut bytes = LITTLE_MICROS.to_vec();
    bytes[28..32].copy_from_slice(&1_000_000u32.to_le_bytes());
    assert_eq!(
        refusal(&bytes),
        "a.pcap: packet 1: the timestamp is out of range"
    );
}

#[test]
fn what_is_written_is_read_back() {
    let mut writer = PcapWriter::new("out", Vec::new()).unwrap();
    writer.write(1_700_000_000_123_456_789, b"abc").unwrap();
    writer.write(0, b"").unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(
        read_all(&bytes).unwrap(),
        [
            (1_700_000_000_123_456_789, b"abc".to_vec()),
            (0, Vec::new())
        ]
    );
}

#[test]
fn a_frame_or_a_time_the_format_cannot_hold_is_refused() {
    let mut writer = PcapWriter::new("out", Vec::new()).unwrap();
    assert!(writer.write(0, &vec![0; MAX_FRAME]).is_ok());
    let error = writer.write(0, &vec![0; MAX_FRAME + 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "out: packet 2: a frame of 262145 bytes where at most 262144 may be"
    );
    assert!(matches!(
        writer.write(u64::MAX, b"").unwrap_err().problem,
        PcapProblem::Time
    ));
}

#[test]
fn queues_carry_a_file_from_end_to_end() {
    let reader = PcapReader::new("a.pcap", LITTLE_MICROS).unwrap();
    let mut rx = PcapRx::new(reader);
    let mut batch = Batch::new();
    assert_eq!(rx.rx_burst(&mut batch), 2);
    assert_eq!(rx.rx_burst(&mut batch), 0);
    assert!(rx.ended() && rx.error().is_none());

    let mut tx = PcapTx::new(PcapWriter::new("out", Vec::new()).unwrap());
    tx.set_time(5);
    assert_eq!(tx.tx_burst(&mut batch), 2);
    assert!(batch.is_empty());
    let packets = read_all(&tx.finish().unwrap()).unwrap();
    assert_eq!(packets, [(5, b"abc".to_vec()), (5, b"d".to_vec())]);
}

#[test]
fn a_damaged_file_stops_the_queue_and_is_remembered() {
    let reader = PcapReader::new("a.pcap", &LITTLE_MICROS[..59]).unwrap();
    let mut rx = PcapRx::new(reader);
    let mut batch = Batch::new();
    assert_eq!(rx.rx_burst(&mut batch), 1);
    assert_eq!(batch[0].bytes(), b"abc");
    assert_eq!(rx.error().unwrap().packet, Some(2));
}

#[test]
fn a_full_disk_leaves_the_frames_in_the_batch() {
    // Room for the header and one frame of 4 bytes.
    let mut disk = [0; 24 + 16 + 4];
    let writer = PcapWriter::new("out", Cursor::new(&mut disk[..])).unwrap();
    let mut tx = PcapTx::new(writer);
    let mut batch: Batch<_> = [b"aaaa", b"bbbb", b"cccc"]
        .map(|frame| MemBuffer::from_frame(frame))
        .into_iter()
        .collect();
    assert_eq!(tx.tx_burst(&mut batch), 1);
    assert_eq!(batch[0].bytes(), b"bbbb");
    assert_eq!(tx.tx_burst(&mut batch), 0);
    assert_eq!(tx.finish().unwrap_err().packet, Some(2));
}

/// The oracle is Wireshark's own reader.
#[test]
fn capinfos_reads_what_is_written() {
    let path = std::env::temp_dir().join(format!("vrouter-{}.pcap", std::process::id()));
    let mut writer = PcapWriter::create(&path).unwrap();
    writer.write(1_000_000_007, &[0; 60]).unwrap();
    writer.finish().unwrap().flush().unwrap();
    let answer = Command::new("capinfos").arg("-tEcu").arg(&path).output();
    std::fs::remove_file(&path).unwrap();
    let Ok(answer) = answer else {
        eprintln!("left out: capinfos is not installed");
        return;
    };
    let text = String::from_utf8(answer.stdout).unwrap();
    assert!(text.contains("nanosecond"), "{text}");
    assert!(text.contains("Ethernet"), "{text}");
}
