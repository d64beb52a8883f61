use std::fmt;
use std::str::FromStr;

/// A version such as `3.7.0`: of the cluster, of the stored schema, of a downgrade's target.
///
/// Text behind a `-` or `+` (pre-release, build) is read and dropped: nothing replicated
/// depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 3, for ever.
    pub major: u64,
    /// What compatibility is about.
    pub minor: u64,
    /// Zero in cluster and storage versions.
    pub patch: u64,
}

impl Version {
    /// `major.minor.0`.
    pub const fn new(major: u64, minor: u64) -> Self {
        Self { major, minor, patch: 0 }
    }

    /// The same without the patch number.
    pub const fn to_minor(self) -> Self {
        Self::new(self.major, self.minor)
    }
}

/// The text is no `major.minor.patch`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version of the form major.minor.patch")]
pub struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || VersionError(text.to_owned());
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = core.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if digits { part.parse::<u64>().ok() } else { None }
        });
        let mut next = || parts.next().flatten().ok_or_else(bad);
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if parts.next().is_some() { Err(bad()) } else { Ok(version) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_print_and_compare_by_number() {
        let version: Version = "3.10.2".parse().expect("a version");
        assert_eq!(version.to_string(), "3.10.2");
        assert_eq!(version.to_minor(), Version::new(3, 10));
        assert!(version > Version::new(3, 9));
        assert_eq!("3.8.0-alpha.1+git".parse::<Version>(), Ok(Version::new(3, 8)));
    }

    #[test]
    fn odd_texts_are_refused() {
        for text in ["", "3", "3.7", "3.7.", "3.7.0.1", "v3.7.0", "3.-7.0", "3.+7.0", "a.b.c"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
