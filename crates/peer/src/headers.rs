//! Who speaks and what it speaks: the headers that members put on what they say to each other.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// What this version of etcd speaks at least: all of 3.x.
const LEAST: Version = Version { major: 3, minor: 0, patch: 0 };

pub(crate) const FROM: HeaderName = HeaderName::from_static("x-server-from");
pub(crate) const TO: HeaderName = HeaderName::from_static("x-raft-to");
pub(crate) const SERVER_VERSION: HeaderName = HeaderName::from_static("x-server-version");
pub(crate) const LEAST_VERSION: HeaderName = HeaderName::from_static("x-min-cluster-version");
pub(crate) const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
pub(crate) const PEER_URLS: HeaderName = HeaderName::from_static("x-peerurls");

/// A version by three numbers; what stands behind them does not matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) patch: u64,
}

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let numbers = text.split(['-', '+']).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(Self { major, minor, patch })
    }

    fn speaks(self) -> (u64, u64) {
        (self.major, self.minor)
    }
}

/// Why what somebody says is not listened to: the answer's body, with status 412.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mismatch(pub(crate) &'static str);

/// Puts on what members say who says it.
pub(crate) fn put(headers: &mut HeaderMap, me: u64, cluster: u64, urls: &[String]) {
    put_id(headers, FROM, me);
    put_id(headers, CLUSTER_ID, cluster);
    headers.insert(SERVER_VERSION, HeaderValue::from_static(node::SERVER_VERSION));
    headers.insert(LEAST_VERSION, HeaderValue::from_static("3.0.0"));
    if let Ok(urls) = HeaderValue::from_str(&urls.join(",")) {
        headers.insert(PEER_URLS, urls);
    }
}

pub(crate) fn put_id(headers: &mut HeaderMap, name: HeaderName, id: u64) {
    let value = HeaderValue::from_str(&format!("{id:x}")).expect("hexadecimal digits are text");
    headers.insert(name, value);
}

pub(crate) fn id(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    u64::from_str_radix(text(headers, name)?, 16).ok()
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The peer URLs that a sender says it has.
pub(crate) fn peer_urls(headers: &HeaderMap) -> Vec<String> {
    let urls = text(headers, &PEER_URLS).unwrap_or_default();
    urls.split(',').filter(|url| !url.is_empty()).map(str::to_owned).collect()
}

/// Whether a sender speaks what this member speaks, and of the same cluster.
pub(crate) fn check(headers: &HeaderMap, cluster: u64) -> Result<(), Mismatch> {
    // Who says nothing is from before versions were told.
    let version = |name| text(headers, name).map_or(Version::parse("2.0.0"), Version::parse);
    let own = Version::parse(node::SERVER_VERSION);
    let speaks = match (version(&SERVER_VERSION), version(&LEAST_VERSION), own) {
        (Some(theirs), Some(least), Some(own)) => {
            theirs.speaks() >= LEAST.speaks() && least.speaks() <= own.speaks()
        }
        _ => false,
    };
    if !speaks {
        return Err(Mismatch("incompatible version"));
    }
    match id(headers, &CLUSTER_ID) {
        Some(theirs) if theirs == cluster => Ok(()),
        _ => Err(Mismatch("cluster ID mismatch")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(version: &str, least: &str, cluster: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [(SERVER_VERSION, version), (LEAST_VERSION, least), (CLUSTER_ID, cluster)]
        {
            if !value.is_empty() {
                headers.insert(name, HeaderValue::from_str(value).expect("text"));
            }
        }
        headers
    }

    #[test]
    fn who_speaks_another_version_or_of_another_cluster_is_not_listened_to() {
        let check = |version, least, cluster| check(&headers(version, least, cluster), 0xabc);
        let version = Err(Mismatch("incompatible version"));
        assert_eq!(check("3.7.1", "3.0.0", "abc"), Ok(()));
        assert_eq!(check("3.5.26", "3.0.0", "abc"), Ok(()));
        assert_eq!(check("3.9.0-alpha.0", "3.7.0", "abc"), Ok(()));
        assert_eq!(check("3.9.0", "3.8.0", "abc"), version);
        assert_eq!(check("2.3.8", "2.1.0", "abc"), version);
        assert_eq!(check("", "", "abc"), version);
        assert_eq!(check("3.7", "3.0.0", "abc"), version);
        let cluster = Err(Mismatch("cluster ID mismatch"));
        assert_eq!(check("3.7.1", "3.0.0", "abf"), cluster);
        assert_eq!(check("3.7.1", "3.0.0", ""), cluster);
    }

    #[test]
    fn what_is_put_is_what_is_checked() {
        let mut headers = HeaderMap::new();
        put(&mut headers, 7, 0xabc, &["http://a:1".to_owned(), "http://b:2".to_owned()]);
        assert_eq!(check(&headers, 0xabc), Ok(()));
        assert_eq!(id(&headers, &FROM), Some(7));
        assert_eq!(peer_urls(&headers), ["http://a:1", "http://b:2"]);
    }
}
