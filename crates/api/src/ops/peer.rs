//! What other members, and operators, ask at a peer URL. Consensus itself is not spoken here yet:
//! a member that is alone has nobody to speak it with.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode, request};
use proto::etcdserverpb::Member;
use serde_json::json;

use super::{JSON, error, get_only, not_found, typed, version};
use crate::service::Services;

const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");

pub(super) async fn answer(services: &Arc<Services>, request: &request::Parts) -> Response<Bytes> {
    match request.uri.path() {
        "/version" => get_only(request, async { version(services) }).await,
        "/members" => get_only(request, async { members(services) }).await,
        "/downgrade/enabled" => get_only(request, downgrade_enabled(services)).await,
        _ => not_found(),
    }
}

fn members(services: &Services) -> Response<Bytes> {
    let members: Vec<_> = services.node.members().iter().map(member).collect();
    let response = typed(StatusCode::OK, JSON, format!("[{}]\n", members.join(",")));
    marked(services, response)
}

/// A member with its fields in etcd's order; what is empty is left out.
fn member(member: &Member) -> String {
    let mut fields = vec![format!("\"id\":{}", member.id)];
    fields.push(format!("\"peerURLs\":{}", json!(member.peer_urls)));
    if member.is_learner {
        fields.push("\"isLearner\":true".to_owned());
    }
    if !member.name.is_empty() {
        fields.push(format!("\"name\":{}", json!(member.name)));
    }
    if !member.client_urls.is_empty() {
        fields.push(format!("\"clientURLs\":{}", json!(member.client_urls)));
    }
    format!("{{{}}}", fields.join(","))
}

async fn downgrade_enabled(services: &Services) -> Response<Bytes> {
    let response = match services.node.read_barrier().await {
        Ok(()) => {
            let downgrade = services.node.status().downgrade_info.unwrap_or_default();
            let mut response = Response::new(Bytes::from(downgrade.enabled.to_string()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            response
        }
        Err(failure) => {
            let text = format!("failed linearized read: etcdserver: {failure}\n");
            error(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    };
    marked(services, response)
}

/// Says whose answer it is.
fn marked(services: &Services, mut response: Response<Bytes>) -> Response<Bytes> {
    let id = format!("{:x}", services.node.header().cluster_id);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(CLUSTER_ID, id);
    }
    response
}
