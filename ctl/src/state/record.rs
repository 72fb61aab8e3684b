//! A record of the state file: a protobuf message behind a checksum.
//!
//! ```text
//! | XXH3-64 of the key and the message, little-endian | message (saved.proto) |
//! ```
//!
//! redb checks its own pages when the file is opened; the checksum here also holds
//! what came through redb unharmed and is still not what was written, and ties a
//! record to its place. Messages are written by prost, whose encoding of a message
//! has one length: one that is longer than it encodes to holds fields that this
//! version does not know, and must not be taken for what it seems to say.

use prost::Message;
use xxhash_rust::xxh3::Xxh3;

/// The format of what is written. Raise it when records mean something else, and keep reading the
/// older ones; fields and kinds of objects that come along need no new one.
pub const FORMAT: u32 = 1;

const CHECKSUM_LEN: usize = 8;

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is not what was written under this key.
    #[error("is damaged")]
    Damaged,
    /// It has fields or values that came after this version.
    #[error("was written by a later version and holds fields that this one does not know")]
    Unknown,
}

/// The bytes of a record that stands under `key`.
pub fn seal<M: Message>(key: &[u8], message: &M) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CHECKSUM_LEN + message.encoded_len());
    bytes.extend([0; CHECKSUM_LEN]);
    // A vector grows, so there is always room.
    _ = message.encode(&mut bytes);
    let sum = checksum(key, &bytes[CHECKSUM_LEN..]);
    bytes[..CHECKSUM_LEN].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The message of the record under `key`.
///
/// # Errors
/// [`RecordError`].
pub(super) fn unseal<M: Message + Default>(key: &[u8], bytes: &[u8]) -> Result<M, RecordError> {
    let message = body(key, bytes)?;
    let decoded = M::decode(message).map_err(|_| RecordError::Damaged)?;
    match decoded.encoded_len() == message.len() {
        true => Ok(decoded),
        false => Err(RecordError::Unknown),
    }
}

/// The same of a record that later formats may add fields to.
///
/// # Errors
/// [`RecordError::Damaged`].
pub(super) fn unseal_known<M: Message + Default>(
    key: &[u8],
    bytes: &[u8],
) -> Result<M, RecordError> {
    M::decode(body(key, bytes)?).map_err(|_| RecordError::Damaged)
}

fn body<'a>(key: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], RecordError> {
    let (sum, message) = bytes
        .split_first_chunk::<CHECKSUM_LEN>()
        .ok_or(RecordError::Damaged)?;
    match u64::from_le_bytes(*sum) == checksum(key, message) {
        true => Ok(message),
        false => Err(RecordError::Damaged),
    }
}

fn checksum(key: &[u8], message: &[u8]) -> u64 {
    let mut sum = Xxh3::new();
    sum.update(key);
    sum.update(message);
    sum.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::SavedHeader;

    fn header() -> SavedHeader {
        SavedHeader {
            format: 1,
            written_by: "0.1.0".into(),
        }
    }

    #[test]
    fn what_was_sealed_is_read_again() {
        let bytes = seal(b"key", &header());
        assert_eq!(unseal(b"key", &bytes), Ok(header()));
    }

    #[test]
    fn every_flipped_bit_every_cut_and_another_place_is_noticed() {
        let bytes = seal(b"key", &header());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = unseal::<SavedHeader>(b"key", &flipped);
            assert_eq!(read, Err(RecordError::Damaged), "bit {bit}");
        }
        for len in 0..bytes.len() {
            let read = unseal::<SavedHeader>(b"key", &bytes[..len]);
            assert_eq!(read, Err(RecordError::Damaged), "{len} bytes");
        }
        let read = unseal::<SavedHeader>(b"yek", &bytes);
        assert_eq!(read, Err(RecordError::Damaged));
    }

    #[test]
    fn a_field_of_a_later_version_is_not_passed_over() {
        let mut message = header().encode_to_vec();
        message.extend([0x78, 1]); // field 15, a varint
        let sum = checksum(b"key", &message);
        let bytes = [&sum.to_le_bytes()[..], &message].concat();
        let read = unseal::<SavedHeader>(b"key", &bytes);
        assert_eq!(read, Err(RecordError::Unknown));
        assert_eq!(unseal_known(b"key", &bytes), Ok(header()));
    }
}
