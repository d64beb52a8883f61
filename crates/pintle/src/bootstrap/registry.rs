//! What a discovery service keeps of the cluster that gathers there.
//!
//! ```text
//!   /_etcd/registry/TOKEN/_config/size    how many members it will have, in decimal
//!   /_etcd/registry/TOKEN/members/ID      name=url,name=url of a member; the first so many count
//! ```

use std::collections::BTreeSet;

use net::InitialCluster;
use proto::mvccpb::KeyValue;

const REGISTRY: &str = "/_etcd/registry";

/// The key of the size.
pub(super) fn size_key(token: &str) -> String {
    joined(token, "_config/size")
}

/// What the keys of all members begin with.
pub(super) fn members_prefix(token: &str) -> String {
    joined(token, "members")
}

/// The key of a member.
pub(super) fn member_key(token: &str, id: &str) -> String {
    joined(token, &format!("members/{id}"))
}

/// Slashes in the token neither double nor lead anywhere else, as in etcd.
fn joined(token: &str, rest: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let text = format!("{REGISTRY}/{token}/{rest}");
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Who has registered, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Registered {
    members: Vec<Entry>,
    seen: BTreeSet<String>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    urls: String,
    /// When it came.
    revision: i64,
}

impl Registered {
    /// Takes in what the service says of a member; an error says why it does not count.
    pub(super) fn add(&mut self, token: &str, kv: &KeyValue) -> Result<(), &'static str> {
        let (key, urls) = (text(&kv.key), text(&kv.value));
        if !key.starts_with(&members_prefix(token)) {
            return Err("invalid peer registry key");
        }
        if !urls.contains('=') {
            return Err("invalid peer info returned from discovery service");
        }
        if !self.seen.insert(key.clone()) {
            return Err("found duplicate peer from discovery service");
        }
        self.members.push(Entry { key, urls, revision: kv.create_revision });
        self.members.sort_by_key(|member| member.revision);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether so many others have come before the member of this key.
    pub(super) fn is_full_without(&self, key: &str, size: usize) -> bool {
        self.members.len() >= size && self.members.iter().take(size).all(|it| it.key != key)
    }

    /// The first so many.
    pub(super) fn cluster(&self, size: usize) -> Result<InitialCluster, String> {
        let urls: Vec<&str> = self.members.iter().take(size).map(|it| it.urls.as_str()).collect();
        InitialCluster::parse(&urls.join(",")).map_err(|_| "discovery: invalid peer URL".to_owned())
    }
}

/// A key or a value of the service.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, value: &str, create_revision: i64) -> KeyValue {
        KeyValue {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            create_revision,
            ..KeyValue::default()
        }
    }

    #[test]
    fn keys_are_etcds() {
        assert_eq!(size_key("t"), "/_etcd/registry/t/_config/size");
        assert_eq!(members_prefix("t"), "/_etcd/registry/t/members");
        assert_eq!(member_key("t/../u//v", "1f"), "/_etcd/registry/u/v/members/1f");
    }

    #[test]
    fn the_first_that_came_are_the_members() {
        let mut registered = Registered::default();
        let key = |id: &str| member_key("t", id);
        let mut add = |key: &str, value, revision| registered.add("t", &kv(key, value, revision));
        assert_eq!(add(&key("3"), " c=http://c:1 ", 9), Ok(()));
        assert_eq!(add(&key("1"), "a=http://a:1,a=http://a:2", 5), Ok(()));
        assert_eq!(add(&key("2"), "b=http://b:1", 7), Ok(()));
        let twice = add(&key("1"), "a=http://a:3", 5);
        assert_eq!(twice, Err("found duplicate peer from discovery service"));
        let none = add(&key("4"), "none", 1);
        assert_eq!(none, Err("invalid peer info returned from discovery service"));
        assert_eq!(add("/elsewhere", "x=http://x:1", 1), Err("invalid peer registry key"));
        assert_eq!(registered.len(), 3);
        let cluster = registered.cluster(2).expect("reads").to_string();
        assert_eq!(cluster, "a=http://a:1,a=http://a:2,b=http://b:1");
        assert!(registered.is_full_without(&key("3"), 2));
        assert!(!registered.is_full_without(&key("2"), 2));
        assert!(!registered.is_full_without(&key("9"), 4));
        assert_eq!(registered.add("t", &kv(&key("0"), "bad=ftp://x", 2)), Ok(()));
        let refused = registered.cluster(1).expect_err("no peer URL");
        assert_eq!(refused, "discovery: invalid peer URL");
    }
}
