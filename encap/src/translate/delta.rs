//! What a change of fields means for a checksum that covers them (RFC 1624 §3, equation 3).

/// The difference that new fields make to a one's complement sum.
///
/// Words are added as the machine loads them: a sum of swapped words is the swapped sum (RFC 1071
/// §2(B)), so nothing is swapped here, and the checksum field neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delta(u64);

impl Delta {
    /// Nothing changed.
    pub(super) const NONE: Self = Self(0);

    /// These bytes are covered now. `N` is a multiple of four, or two.
    #[inline]
    #[must_use]
    pub(super) fn plus<const N: usize>(self, bytes: &[u8; N]) -> Self {
        Self(self.0 + sum(bytes, 0))
    }

    /// These bytes are covered no more.
    #[inline]
    #[must_use]
    pub(super) fn minus<const N: usize>(self, bytes: &[u8; N]) -> Self {
        Self(self.0 + sum(bytes, u32::MAX))
    }

    /// This difference and another one.
    #[inline]
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Writes a field that is covered.
    #[inline]
    #[must_use]
    pub(super) fn exchange<const N: usize>(self, field: &mut [u8; N], new: [u8; N]) -> Self {
        let delta = self.minus(field).plus(&new);
        *field = new;
        delta
    }

    /// The checksum of a header whose fields have changed so. Of the two spellings of zero it comes
    /// out as 0, as from a full computation.
    #[inline]
    pub(super) fn update(self, field: &mut [u8]) {
        if let Ok(field) = <&mut [u8; 2]>::try_from(field) {
            *field = self.updated(*field);
        }
    }

    /// [`update`](Self::update) for UDP, where 0 means that there is no checksum (RFC 768).
    #[inline]
    pub(super) fn update_udp(self, field: &mut [u8]) {
        let Ok(field) = <&mut [u8; 2]>::try_from(field) else {
            return;
        };
        if *field != [0; 2] {
            *field = match self.updated(*field) {
                [0, 0] => [0xff; 2],
                other => other,
            };
        }
    }

    #[inline]
    const fn updated(self, field: [u8; 2]) -> [u8; 2] {
        // The complement of the field is 0xffff less it. Another 0xffff, which is zero too, keeps the
        // sum from being none, so that nothing folds to 0.
        let sum = self.0 + 2 * 0xffff - u16::from_ne_bytes(field) as u64;
        // Adding the halves to each other leaves their sum, and what it carried, in the upper one.
        let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
        let sum = (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16;
        (!sum).to_ne_bytes()
    }
}

/// The sum of the words, each of them changed by `mask` first.
#[inline]
fn sum<const N: usize>(bytes: &[u8; N], mask: u32) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let whole: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_ne_bytes(*word) ^ mask))
        .sum();
    match rest.first_chunk::<2>() {
        Some(half) => whole + u64::from(u16::from_ne_bytes(*half) ^ mask as u16),
        None => whole,
    }
}
