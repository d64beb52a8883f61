//! What can be asked of members before there is one here: who they are, and what they speak.

use std::time::Duration;

use http::{Method, Request};
use proto::etcdserverpb::Member;
use serde::{Deserialize, Serialize};

use crate::dial::{self, Dialer, Failure, Pool};
use crate::headers;

/// A member as peer URLs tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct MemberJson {
    #[serde(default)]
    id: u64,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Option<Vec<String>>,
    #[serde(default, rename = "isLearner", skip_serializing_if = "is_false")]
    is_learner: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, rename = "clientURLs", skip_serializing_if = "is_empty")]
    client_urls: Option<Vec<String>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_empty(urls: &Option<Vec<String>>) -> bool {
    urls.as_ref().is_none_or(Vec::is_empty)
}

impl From<&Member> for MemberJson {
    fn from(member: &Member) -> Self {
        Self {
            id: member.id,
            peer_urls: Some(member.peer_urls.clone()),
            is_learner: member.is_learner,
            name: member.name.clone(),
            client_urls: Some(member.client_urls.clone()),
        }
    }
}

impl From<MemberJson> for Member {
    fn from(json: MemberJson) -> Self {
        Self {
            id: json.id,
            name: json.name,
            peer_urls: json.peer_urls.unwrap_or_default(),
            client_urls: json.client_urls.unwrap_or_default(),
            is_learner: json.is_learner,
        }
    }
}

/// What a member says of its version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct VersionJson {
    #[serde(default)]
    pub(crate) etcdserver: String,
    #[serde(default)]
    pub(crate) etcdcluster: String,
}

/// The versions of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// `3.7.1`
    pub server: String,
    /// `3.7.0`, or `not_decided`.
    pub cluster: String,
}

pub(crate) fn get(path: &str) -> Request<dial::Body> {
    let mut request = Request::new(dial::no_body());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = path.parse().expect("paths are written here");
    request
}

async fn ask(
    dialer: &Dialer,
    url: &str,
    path: &str,
    patience: Duration,
) -> Result<http::Response<bytes::Bytes>, Failure> {
    let pool = Pool::new(dialer);
    let asked = pool.ask(url, || get(path), patience);
    tokio::time::timeout(patience, asked).await.unwrap_or(Err(Failure::Timeout))
}

/// Who the members of a cluster are, and which cluster that is, as the first of these URLs says
/// that answers.
pub async fn members(
    dialer: &Dialer,
    urls: &[String],
    patience: Duration,
) -> Result<(u64, Vec<Member>), Failure> {
    let mut last = Failure::Connection("there is nobody to ask".to_owned());
    for url in urls {
        match members_at(dialer, url, patience).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// As [`members`], of one URL.
pub async fn members_at(
    dialer: &Dialer,
    url: &str,
    patience: Duration,
) -> Result<(u64, Vec<Member>), Failure> {
    let answer = ask(dialer, url, "/members", patience).await?;
    let cluster = headers::id(answer.headers(), &headers::CLUSTER_ID)
        .ok_or_else(|| Failure::Malformed("no cluster id".to_owned()))?;
    let members: Vec<MemberJson> = serde_json::from_slice(answer.body())
        .map_err(|error| Failure::Malformed(error.to_string()))?;
    Ok((cluster, members.into_iter().map(Member::from).collect()))
}

/// What the member at a URL speaks.
pub async fn version(dialer: &Dialer, url: &str, patience: Duration) -> Result<Versions, Failure> {
    let answer = ask(dialer, url, "/version", patience).await?;
    let told: VersionJson = serde_json::from_slice(answer.body())
        .map_err(|error| Failure::Malformed(error.to_string()))?;
    Ok(Versions { server: told.etcdserver, cluster: told.etcdcluster })
}

/// Whether the cluster of the member at a URL is on its way to an older version.
pub async fn downgrade_enabled(
    dialer: &Dialer,
    url: &str,
    patience: Duration,
) -> Result<bool, Failure> {
    let answer = ask(dialer, url, "/downgrade/enabled", patience).await?;
    let text = String::from_utf8_lossy(answer.body());
    text.trim().parse().map_err(|_| Failure::Malformed(text.into_owned()))
}
