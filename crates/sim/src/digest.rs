//! What happened, as one number.

use std::sync::{Arc, Mutex, PoisonError};

/// A checksum over everything noted. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Digest {
    crc: Arc<Mutex<(u32, u64)>>,
}

impl Digest {
    pub(crate) fn note(&self, what: &str, numbers: &[u64], bytes: &[u8]) {
        let mut state = self.crc.lock().unwrap_or_else(PoisonError::into_inner);
        let mut crc = crc32c::crc32c_append(state.0, what.as_bytes());
        for number in numbers {
            crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
        }
        *state = (crc32c::crc32c_append(crc, bytes), state.1 + 1);
    }

    /// The checksum, and how much was noted.
    pub(crate) fn value(&self) -> u64 {
        let (crc, notes) = *self.crc.lock().unwrap_or_else(PoisonError::into_inner);
        (u64::from(crc) << 32) | (notes & 0xffff_ffff)
    }
}
