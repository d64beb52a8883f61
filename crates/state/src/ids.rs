use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// A member of the cluster. Prints as etcd does: lowercase hex without leading zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MemberId(pub u64);

/// A lease. Zero means "no lease"; clients may choose any other number, negative ones too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaseId(pub i64);

impl LeaseId {
    /// The absence of a lease.
    pub const NONE: Self = Self(0);

    /// Whether this is the absence of a lease.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:x}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:x}", self.0)
    }
}

impl FromStr for MemberId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_ids_print_unpadded_and_read_back() {
        assert_eq!(MemberId(0xabc).to_string(), "abc");
        assert_eq!("6183134728c20dcd".parse(), Ok(MemberId(0x6183_1347_28c2_0dcd)));
        assert!("members".parse::<MemberId>().is_err());
    }

    #[test]
    fn negative_lease_ids_print_as_their_bits() {
        assert_eq!(LeaseId(-1).to_string(), "ffffffffffffffff");
    }
}
