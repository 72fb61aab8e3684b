//! Which bytes of one datagram were seen: enough to tell a piece that overlaps
//! another from one that is new, and when there is nothing left to wait for.

use arrayvec::ArrayVec;
use encap::Meta;

/// Pieces one datagram may come in. 64 carry 65,535 bytes over any link of the
/// 1280 bytes that IPv6 asks for (RFC 8200 §5).
pub(crate) const MAX_PIECES: usize = 64;

/// One fragment's part of its datagram, in bytes from the beginning of what was
/// cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    start: u16,
    /// One past the last byte.
    end: u16,
    is_last: bool,
}

/// The pieces seen, none of which overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces {
    /// By their start: `(start, end)`.
    seen: ArrayVec<(u16, u16), MAX_PIECES>,
    bytes: u16,
    /// End of the last piece, once that was seen.
    len: Option<u16>,
}

/// How a piece fits those seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// None of its bytes was seen.
    New,
    /// Exactly this piece was seen.
    Again,
    /// Some of its bytes were seen, or it lies beyond the datagram's end.
    Overlap,
    /// It is new and there are [`MAX_PIECES`] already.
    TooMany,
}

impl Piece {
    /// The part that the fragment with this `meta` carries; its bytes begin at
    /// `payload`. `None` if that is not within the packet.
    pub(crate) fn new(meta: &Meta, payload: usize) -> Option<Piece> {
        let len = usize::from(meta.end).checked_sub(payload)?;
        let start = meta.fragment_offset;
        Some(Piece {
            start,
            end: u16::try_from(usize::from(start) + len).ok()?,
            is_last: !meta.more_fragments,
        })
    }
}

impl Pieces {
    /// Takes note of a piece, if it is new.
    pub(crate) fn add(&mut self, piece: Piece) -> Fit {
        let Piece { start, end, .. } = piece;
        let after = self.seen.partition_point(|seen| seen.0 < start);
        if self.seen.get(after) == Some(&(start, end)) {
            return match piece.is_last == (self.len == Some(end)) {
                true => Fit::Again,
                false => Fit::Overlap, // the end of the datagram is told differently
            };
        }
        let begins_within = after > 0 && self.seen[after - 1].1 > start;
        let reaches_into = self.seen.get(after).is_some_and(|next| next.0 < end);
        let highest = self.seen.last().map_or(0, |last| last.1);
        let beyond_end = match self.len {
            Some(len) => piece.is_last || end > len,
            None => piece.is_last && end < highest,
        };
        if begins_within || reaches_into || beyond_end {
            return Fit::Overlap;
        }
        if self.seen.is_full() {
            return Fit::TooMany;
        }
        self.seen.insert(after, (start, end));
        self.bytes += end - start;
        if piece.is_last {
            self.len = Some(end);
        }
        Fit::New
    }

    /// Whether every byte of the datagram was seen.
    pub(crate) fn is_complete(&self) -> bool {
        self.len == Some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(start: u16, end: u16, is_last: bool) -> Piece {
        Piece {
            start,
            end,
            is_last,
        }
    }

    fn after(pieces: &[Piece]) -> (Pieces, Vec<Fit>) {
        let mut seen = Pieces::default();
        let fits = pieces.iter().map(|piece| seen.add(*piece)).collect();
        (seen, fits)
    }

    #[test]
    fn a_datagram_is_complete_with_its_last_hole_filled_in_any_order() {
        let parts = [
            piece(0, 16, false),
            piece(16, 24, false),
            piece(24, 29, true),
        ];
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let mut seen = Pieces::default();
            for (count, index) in order.into_iter().enumerate() {
                assert!(!seen.is_complete(), "{order:?} after {count}");
                assert_eq!(seen.add(parts[index]), Fit::New);
            }
            assert!(seen.is_complete());
        }
    }

    #[test]
    fn the_same_piece_again_is_not_an_overlap() {
        let twice = [piece(8, 16, false), piece(8, 16, false)];
        assert_eq!(after(&twice).1, [Fit::New, Fit::Again]);
        let last = [piece(8, 16, true), piece(8, 16, true)];
        assert_eq!(after(&last).1, [Fit::New, Fit::Again]);
    }

    #[test]
    fn one_byte_in_common_is_an_overlap_in_both_orders() {
        // Only the last piece has a length that is not a multiple of eight.
        for (a, b) in [
            (piece(0, 16, false), piece(8, 24, false)),
            (piece(0, 16, false), piece(8, 9, true)),
            (piece(16, 24, false), piece(8, 17, true)),
            (piece(8, 16, false), piece(0, 24, false)),
            (piece(0, 8, false), piece(0, 16, false)),
        ] {
            assert_eq!(after(&[a, b]).1[1], Fit::Overlap, "{a:?} {b:?}");
            assert_eq!(after(&[b, a]).1[1], Fit::Overlap, "{b:?} {a:?}");
        }
    }

    #[test]
    fn a_datagram_has_one_end() {
        for (a, b) in [
            (piece(8, 16, true), piece(16, 24, false)),
            (piece(8, 16, true), piece(24, 32, true)),
            (piece(8, 16, true), piece(8, 16, false)),
            (piece(24, 32, false), piece(8, 16, true)),
        ] {
            assert_eq!(after(&[a, b]).1[1], Fit::Overlap, "{a:?} {b:?}");
            assert_eq!(after(&[b, a]).1[1], Fit::Overlap, "{b:?} {a:?}");
        }
    }

    #[test]
    fn more_pieces_than_the_bound_are_too_many() {
        let many: Vec<Piece> = (0..=MAX_PIECES as u16)
            .map(|n| piece(n * 16, n * 16 + 8, false))
            .collect();
        let (_, fits) = after(&many);
        assert_eq!(fits[MAX_PIECES - 1], Fit::New);
        assert_eq!(fits[MAX_PIECES], Fit::TooMany);
    }

    #[test]
    fn the_largest_datagram_fits() {
        let mut seen = Pieces::default();
        for n in 0..53 {
            let end = (n + 1) * 1232;
            seen.add(piece(n * 1232, end, false));
        }
        assert_eq!(seen.add(piece(53 * 1232, u16::MAX, true)), Fit::New);
        assert!(seen.is_complete());
    }
}
