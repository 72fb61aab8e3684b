//! The checksum of SCTP (RFC 9260 §6.8 and appendix A), updated for ports that changed.
//!
//! A CRC is linear: that of two messages' difference is the difference of their CRCs. The ports are a
//! packet's first four bytes, so their difference is that of four bytes followed by as many zeroes
//! as the packet has others; and a zero byte is a multiplication by x⁸, of which many are done by
//! squaring. The payload is not read, and what was damaged stays damaged.

/// The polynomial, lowest power at the top.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// x⁰ in that order.
const ONE: u32 = 1 << 31;

/// By what the checksum changes, as a number whose lowest byte is sent first, of a packet of `len`
/// bytes whose first four change by `difference`.
pub(super) fn change(difference: [u8; 4], len: u16) -> u32 {
    let crc = difference.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| times_x(crc))
    });
    times(crc, power(8 * u32::from(len.saturating_sub(4))))
}

/// x to the `exponent`.
fn power(mut exponent: u32) -> u32 {
    let (mut result, mut square) = (ONE, times_x(ONE));
    while exponent > 0 {
        if exponent & 1 != 0 {
            result = times(result, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    result
}

fn times(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for bit in (0..32).rev() {
        if a >> bit & 1 != 0 {
            product ^= b;
        }
        b = times_x(b);
    }
    product
}

const fn times_x(a: u32) -> u32 {
    let carried = a & 1 != 0;
    a >> 1 ^ if carried { POLYNOMIAL } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Bit by bit over the whole message, from RFC 9260 appendix A.
    pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| times_x(crc))
        })
    }

    #[test]
    fn check_value_is_that_of_the_castagnoli_polynomial() {
        // RFC 3720 appendix B.4: 32 bytes of zeroes, and of ones.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_change_of_four_bytes_equals_a_full_recompute() {
        for len in [4, 12, 13, 100, 1480, 9000] {
            let mut bytes: Vec<u8> = (0..len).map(|n| (n * 7 + n / 256) as u8).collect();
            let before = crc32c(&bytes);
            let difference = [0x12, 0x34, 0x56, 0x78];
            for (byte, change) in bytes.iter_mut().zip(difference) {
                *byte ^= change;
            }
            let expected = crc32c(&bytes);
            assert_eq!(before ^ change(difference, len as u16), expected, "{len}");
        }
    }
}
