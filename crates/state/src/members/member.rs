use proto::etcdserverpb as pb;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::MemberId;
use crate::go_json;

/// What is known of a member: the replicated part (peer URLs, learner) and what it says of
/// itself once it runs (name, client URLs).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    #[serde(default, with = "plain_id")]
    pub id: MemberId,
    /// Where other members reach it.
    #[serde(default, rename = "peerURLs", with = "go_list")]
    pub peer_urls: Vec<String>,
    /// Whether it has no vote yet.
    #[serde(default, rename = "isLearner", skip_serializing_if = "is_false")]
    pub is_learner: bool,
    /// Its name; empty until it has started once.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where clients reach it.
    #[serde(
        default,
        rename = "clientURLs",
        deserialize_with = "go_list::deserialize",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub client_urls: Vec<String>,
}

impl Member {
    /// Whether it has ever published itself.
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }

    /// The value of the `members` bucket, also the context of a conf change.
    pub fn to_json(&self) -> Vec<u8> {
        go_json::to_vec(self)
    }

    /// Reads what [`Member::to_json`] (or any etcd) wrote: missing fields are defaults, unknown
    /// ones are skipped.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The part that the v2 store keeps under `raftAttributes`.
    pub(super) fn raft_attributes_json(&self) -> String {
        go_json::to_string(&RaftAttributes {
            peer_urls: self.peer_urls.clone(),
            is_learner: self.is_learner,
        })
    }

    /// The part that the v2 store keeps under `attributes`.
    pub(super) fn attributes_json(&self) -> String {
        go_json::to_string(&Attributes {
            name: self.name.clone(),
            client_urls: self.client_urls.clone(),
        })
    }
}

impl From<&Member> for pb::Member {
    fn from(member: &Member) -> Self {
        Self {
            id: member.id.0,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            is_learner: member.is_learner,
        }
    }
}

/// The replicated part of a member.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RaftAttributes {
    /// Where other members reach it.
    #[serde(default, rename = "peerURLs", with = "go_list")]
    pub peer_urls: Vec<String>,
    /// Whether it has no vote yet.
    #[serde(default, rename = "isLearner", skip_serializing_if = "is_false")]
    pub is_learner: bool,
}

/// What a member publishes of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where clients reach it.
    #[serde(
        default,
        rename = "clientURLs",
        deserialize_with = "go_list::deserialize",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub client_urls: Vec<String>,
}

/// The context of an add, learner add or promotion: a [`Member`] and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfChangeContext {
    /// Who.
    #[serde(flatten)]
    pub member: Member,
    /// Whether a learner gets its vote.
    #[serde(default, rename = "isPromote", skip_serializing_if = "is_false")]
    pub is_promote: bool,
}

impl ConfChangeContext {
    /// The bytes for `ConfChange.context`.
    pub fn to_json(&self) -> Vec<u8> {
        go_json::to_vec(self)
    }

    /// Reads a context leniently: missing fields are defaults, unknown ones are skipped.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A u64 as a plain JSON number.
mod plain_id {
    use super::{Deserialize, Deserializer, MemberId, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &MemberId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(id.0)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<MemberId, D::Error> {
        u64::deserialize(from).map(MemberId)
    }
}

/// A Go slice: `null` when there is nothing in it, and read the same way.
mod go_list {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(list: &[String], to: S) -> Result<S::Ok, S::Error> {
        if list.is_empty() { to.serialize_none() } else { list.serialize(to) }
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<String>, D::Error> {
        Option::<Vec<String>>::deserialize(from).map(Option::unwrap_or_default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            id: MemberId(7_026_481_039_975_517_645),
            peer_urls: vec!["http://127.0.0.1:14380".into()],
            name: "n1".into(),
            client_urls: vec!["http://127.0.0.1:14379".into()],
            ..Member::default()
        }
    }

    #[test]
    fn member_json_is_what_etcd_writes() {
        let json = concat!(
            r#"{"id":7026481039975517645,"peerURLs":["http://127.0.0.1:14380"],"#,
            r#""name":"n1","clientURLs":["http://127.0.0.1:14379"]}"#
        );
        assert_eq!(String::from_utf8_lossy(&member().to_json()), json);
        assert_eq!(Member::from_json(json.as_bytes()).expect("json"), member());
    }

    #[test]
    fn learners_say_so_between_peer_urls_and_name() {
        let learner = Member { is_learner: true, client_urls: vec![], ..member() };
        assert_eq!(
            String::from_utf8_lossy(&learner.to_json()),
            concat!(
                r#"{"id":7026481039975517645,"peerURLs":["http://127.0.0.1:14380"],"#,
                r#""isLearner":true,"name":"n1"}"#
            )
        );
    }

    #[test]
    fn a_promotion_has_null_peer_urls() {
        let promote = ConfChangeContext {
            member: Member { id: MemberId(5), ..Member::default() },
            is_promote: true,
        };
        let json = br#"{"id":5,"peerURLs":null,"isPromote":true}"#;
        assert_eq!(promote.to_json(), json);
        assert_eq!(ConfChangeContext::from_json(json).expect("json"), promote);
    }

    #[test]
    fn contexts_are_read_leniently() {
        let read = ConfChangeContext::from_json(br#"{"id":18446744073709551615,"new":[1]}"#);
        let read = read.expect("json");
        assert_eq!(read.member.id, MemberId(u64::MAX));
        assert!(!read.is_promote && read.member.peer_urls.is_empty());
        assert!(ConfChangeContext::from_json(b"").is_err());
    }
}
