//! Valid frames made wrong, and made nearly right again: most damage would end
//! at the first length or checksum, and never reach what lies behind.

use crate::common::Random;

/// Bytes that headers are full of.
const TELLING: [u8; 24] = [
    0, 1, 2, 4, 6, 7, 8, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 64, 0x45, 0x60, 127, 128, 224, 255,
];

/// One to eight changes, and half the time what makes lengths and checksums fit again.
pub fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..random.pick(&[1, 1, 1, 1, 2, 2, 3, 8]) {
        change(random, frame);
        if frame.is_empty() {
            return;
        }
    }
    if random.one_in(2) {
        repair(random, frame, 14);
    }
}

fn change(random: &mut Random, frame: &mut Vec<u8>) {
    // Headers are where it hurts.
    let reach = if random.one_in(4) {
        frame.len()
    } else {
        frame.len().min(90)
    };
    let at = random.below(reach);
    match random.below(16) {
        0 => frame.truncate(at),
        1 => {
            let end = (at + 1 + random.below(8)).min(frame.len());
            frame.drain(at..end);
        }
        2 => {
            let count = 1 + random.below(8);
            let bytes: Vec<u8> = (0..count).map(|_| random.next() as u8).collect();
            frame.splice(at..at, bytes);
        }
        3 => frame.extend((0..random.below(64)).map(|_| 0)),
        4 => {
            // A piece of the frame once more, as headers inside headers are.
            let piece = frame[at..(at + 40).min(frame.len())].to_vec();
            let to = random.below(reach);
            frame.splice(to..to, piece);
        }
        5..=8 => frame[at] ^= 1 << random.below(8),
        9..=12 => frame[at] = random.pick(&TELLING),
        _ => frame[at] = random.next() as u8,
    }
}

/// Makes the lengths and the checksum of an IP header at `l3` fit, sometimes, and
/// those of what is inside.
fn repair(random: &mut Random, frame: &mut [u8], l3: usize) {
    let Some(packet) = frame.get_mut(l3..) else {
        return;
    };
    match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet.len() >= 20 => {
            let header_len = usize::from(packet[0] & 0xf) * 4;
            if random.one_in(2) {
                let len = packet.len() as u16;
                packet[2..4].copy_from_slice(&len.to_be_bytes());
            }
            inside(random, packet, header_len);
            if let Some(header) = packet.get_mut(..header_len)
                && header_len >= 20
            {
                header[10..12].fill(0);
                let sum = folded(header);
                header[10..12].copy_from_slice(&(!sum).to_be_bytes());
            }
        }
        Some(6) if packet.len() >= 40 => {
            if random.one_in(2) {
                let len = packet.len() as u16 - 40;
                packet[4..6].copy_from_slice(&len.to_be_bytes());
            }
            inside(random, packet, 40);
        }
        _ => {}
    }
}

/// The UDP header at `l4`, and what a tunnel packet carries there.
fn inside(random: &mut Random, packet: &mut [u8], l4: usize) {
    let protocol = if packet[0] >> 4 == 4 {
        packet[9]
    } else {
        packet[6]
    };
    if protocol == 17 && packet.len() >= l4 + 8 {
        if random.one_in(2) {
            let len = (packet.len() - l4) as u16;
            packet[l4 + 4..l4 + 6].copy_from_slice(&len.to_be_bytes());
        }
        if random.one_in(2) {
            packet[l4 + 6..l4 + 8].fill(0);
        }
        match packet[l4 + 2..l4 + 4] {
            [0x12, 0xb5] => repair(random, packet, l4 + 16 + 14),
            [0x19, 0xeb] => repair(random, packet, l4 + 12),
            _ => {}
        }
    }
    if protocol == 47 {
        repair(random, packet, l4 + 8);
    }
}

fn folded(bytes: &[u8]) -> u16 {
    let mut total: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}
