//! The other way: what a `.snap` file of etcd up to 3.5 says of the members. Those versions did
//! not keep the buckets of the db file up to date.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Attributes, Member, RaftAttributes, Roster};
use crate::{MemberId, Version};

/// Why the v2 store in a snapshot cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum V2StoreError {
    /// It is no v2 store.
    #[error("cannot read the v2 store of the snapshot: {0}")]
    Json(#[from] serde_json::Error),
    /// Something under `/0` is not what etcd writes there.
    #[error("cannot read {path} in the v2 store of the snapshot: {reason}")]
    Node {
        /// Which node.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Clients have used the v2 API. There is no such API here, and their data would be lost.
    #[error("the v2 store of the snapshot has user data at {path}: export or delete it first")]
    UserData {
        /// Where.
        path: String,
    },
}

#[derive(Deserialize)]
struct Store {
    #[serde(rename = "Root")]
    root: Node,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Node {
    path: String,
    value: String,
    children: Option<BTreeMap<String, Node>>,
}

impl Roster {
    /// Reads the data of a `.snap` file. A store with user data is refused.
    pub fn from_v2_json(json: &[u8]) -> Result<Self, V2StoreError> {
        let Store { root } = serde_json::from_slice(json)?;
        refuse_user_data(&root)?;
        let Some(cluster) = root.child("0") else { return Ok(Self::default()) };
        let members = match cluster.child("members") {
            Some(members) => members.named().map(read_member).collect::<Result<Vec<_>, _>>()?,
            None => Vec::new(),
        };
        let removed = match cluster.child("removed_members") {
            Some(removed) => removed.named().map(read_id).collect::<Result<Vec<_>, _>>()?,
            None => Vec::new(),
        };
        let version = match cluster.child("version") {
            Some(node) => Some(node.value.parse::<Version>().map_err(|error| node.bad(error))?),
            None => None,
        };
        Ok(Self::new(members, removed, version))
    }
}

/// User keys lie under `/1`. Under `/2` lies old auth data, whose directories stay when all of
/// it is deleted.
fn refuse_user_data(root: &Node) -> Result<(), V2StoreError> {
    for (name, node) in root.named() {
        let used = match name {
            "0" => continue,
            "2" => node.named().find(|(_, child)| child.named().next().is_some()),
            _ => node.named().next(),
        };
        if let Some((_, node)) = used {
            return Err(V2StoreError::UserData { path: node.path.clone() });
        }
    }
    Ok(())
}

fn read_member((name, node): (&str, &Node)) -> Result<Member, V2StoreError> {
    let id = read_id((name, node))?;
    if let Some((_, odd)) =
        node.named().find(|(name, _)| !matches!(*name, "raftAttributes" | "attributes"))
    {
        return Err(odd.bad("nobody knows what it means"));
    }
    let raft = node.child("raftAttributes").ok_or_else(|| node.bad("no raftAttributes"))?;
    let raft: RaftAttributes =
        serde_json::from_str(&raft.value).map_err(|error| raft.bad(error))?;
    let own: Attributes = match node.child("attributes") {
        Some(node) => serde_json::from_str(&node.value).map_err(|error| node.bad(error))?,
        None => Attributes::default(),
    };
    Ok(Member {
        id,
        peer_urls: raft.peer_urls,
        is_learner: raft.is_learner,
        name: own.name,
        client_urls: own.client_urls,
    })
}

fn read_id((name, node): (&str, &Node)) -> Result<MemberId, V2StoreError> {
    name.parse().map_err(|error| node.bad(error))
}

impl Node {
    fn child(&self, name: &str) -> Option<&Self> {
        self.children.as_ref()?.get(name)
    }

    fn named(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.children.iter().flatten().map(|(name, node)| (name.as_str(), node))
    }

    fn bad(&self, reason: impl ToString) -> V2StoreError {
        V2StoreError::Node { path: self.path.clone(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let member = |id, name: &str, is_learner| Member {
            id: MemberId(id),
            peer_urls: vec![format!("http://m{id}:1")],
            is_learner,
            name: name.into(),
            client_urls: if name.is_empty() { vec![] } else { vec!["http://<c>:1".into()] },
        };
        let members = [member(10, "a", false), member(11, "", true), member(u64::MAX, "z", false)];
        let roster = Roster::new(members, [MemberId(12)], Some(Version::new(3, 5)));
        let read = Roster::from_v2_json(&roster.to_v2_json()).expect("own bytes");
        assert_eq!(read, roster);
        let empty = Roster::default();
        assert_eq!(Roster::from_v2_json(&empty.to_v2_json()).expect("own bytes"), empty);
    }

    fn read(zero: &str, others: &str) -> Result<Roster, V2StoreError> {
        let cluster = format!(r#"{{"Path":"/0","Children":{zero}}}"#);
        let root = format!(r#"{{"Path":"/","Children":{{"0":{cluster}{others}}}}}"#);
        Roster::from_v2_json(format!(r#"{{"Root":{root}}}"#).as_bytes())
    }

    #[test]
    fn user_data_is_refused_and_what_deleted_data_leaves_is_not() {
        let key = r#","1":{"Path":"/1","Children":{"a":{"Path":"/1/a","Value":"x"}}}"#;
        assert!(matches!(
            read("{}", key),
            Err(V2StoreError::UserData { path }) if path == "/1/a"
        ));
        let users = |children: &str| {
            format!(
                r#","2":{{"Path":"/2","Children":{{"enabled":{{"Path":"/2/enabled","Value":"true"}},
                "users":{{"Path":"/2/users","Children":{children}}}}}}}"#
            )
        };
        let used = users(r#"{"root":{"Path":"/2/users/root"}}"#);
        assert!(matches!(read("{}", &used), Err(V2StoreError::UserData { .. })));
        assert!(read("{}", &users("{}")).is_ok());
        assert!(read("{}", r#","1":{"Path":"/1","Children":{}}"#).is_ok());
    }

    #[test]
    fn odd_members_are_named() {
        for (member, path) in [
            (r#""x":{"Path":"/0/members/x"}"#, "/0/members/x"),
            (r#""1":{"Path":"/0/members/1","Children":{}}"#, "/0/members/1"),
            (
                r#""1":{"Path":"/0/members/1","Children":{"other":{"Path":"/0/members/1/other"}}}"#,
                "/0/members/1/other",
            ),
            (r#""1":{"Children":{"raftAttributes":{"Path":"raft","Value":""}}}"#, "raft"),
        ] {
            let error = read(&format!(r#"{{"members":{{"Children":{{{member}}}}}}}"#), "");
            assert!(
                matches!(&error, Err(V2StoreError::Node { path: named, .. }) if named == path),
                "{error:?}"
            );
        }
        assert!(matches!(Roster::from_v2_json(b"{}"), Err(V2StoreError::Json(_))));
    }
}
