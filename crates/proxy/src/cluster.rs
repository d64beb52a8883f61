//! `etcdserverpb.Cluster`: the proxies in place of the members, and how a proxy is found.

use std::sync::Arc;
use std::time::Duration;

use api::{Caller, Status};
use bytes::Bytes;
use client::{Channel, Error, Metadata, Repeat};
use proto::Message as _;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, Member,
    MemberListResponse, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
};
use tokio::time::sleep;

use crate::kv::RANGE;
use crate::namespace::Namespace;
use crate::proxy::Proxy;
use crate::status::{self, encode, metadata};

const MEMBER_LIST: &str = "/etcdserverpb.Cluster/MemberList";
/// Before a proxy registers again.
const PAUSE: Duration = Duration::from_secs(1);

/// Where proxies of a kind tell of each other.
#[derive(Debug, Clone)]
pub struct Registration {
    /// `--resolver-prefix`.
    pub prefix: String,
    /// `--resolver-ttl`, in seconds.
    pub ttl: i64,
}

pub(crate) async fn member_list(
    proxy: Arc<Proxy>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let address = &proxy.options.advertise_client_url;
    if address.is_empty() {
        let metadata = metadata(&caller);
        let asked = proxy.channel.unary(MEMBER_LIST, &metadata, &request, Repeat::Always);
        return asked.await.map_err(status::of);
    }
    let mut members = match &proxy.options.registration {
        Some(registration) => registered(&proxy, &caller, &registration.prefix).await,
        None => Vec::new(),
    };
    if members.is_empty() {
        members.push(member(host_name(), address.clone()));
    }
    Ok(encode(&MemberListResponse { members, ..MemberListResponse::default() }))
}

fn member(name: String, url: String) -> Member {
    Member { name, client_urls: vec![url], ..Member::default() }
}

/// Those that have told of themselves; nobody where nobody can be asked.
async fn registered(proxy: &Proxy, caller: &Caller, prefix: &str) -> Vec<Member> {
    let mut key = Bytes::from(format!("{prefix}/"));
    // The first letter behind the stroke.
    let mut range_end = Bytes::from(format!("{prefix}0"));
    proxy.namespace.put_on(&mut key, &mut range_end);
    let request = RangeRequest { key, range_end, serializable: true, ..RangeRequest::default() };
    let request = request.encode_to_vec();
    let asked = proxy.channel.unary(RANGE, &metadata(caller), &request, Repeat::Always).await;
    let reply = asked.ok().and_then(|reply| RangeResponse::decode(reply).ok()).unwrap_or_default();
    reply.kvs.iter().filter_map(|kv| read(&kv.value)).collect()
}

fn read(value: &[u8]) -> Option<Member> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    let address = value.get("Addr")?.as_str()?;
    let meta: serde_json::Value = serde_json::from_str(value.get("Metadata")?.as_str()?).ok()?;
    Some(member(meta.get("name")?.as_str()?.to_owned(), address.to_owned()))
}

fn written(name: &str, address: &str) -> String {
    let meta = serde_json::json!({ "name": name }).to_string();
    let (address, meta) = (serde_json::json!(address), serde_json::json!(meta));
    format!("{{\"Op\":0,\"Addr\":{address},\"Metadata\":{meta}}}")
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().to_owned()
}

/// Tells of the proxy for as long as it lives, under a lease.
pub(crate) async fn register(
    channel: Channel,
    namespace: Namespace,
    registration: Registration,
    address: String,
) {
    loop {
        match register_once(&channel, &namespace, &registration, &address).await {
            Ok(()) => {
                tracing::warn!("session expired; possible network partition or server restart");
                tracing::warn!("creating a new session to rejoin");
            }
            Err(error) => tracing::warn!(%error, "failed to create a session"),
        }
        sleep(PAUSE).await;
    }
}

/// Ends well when the lease is lost.
async fn register_once(
    channel: &Channel,
    namespace: &Namespace,
    registration: &Registration,
    address: &str,
) -> Result<(), Error> {
    let nobody = Metadata::default();
    let ask = async |path: &str, request: Vec<u8>, repeat| {
        channel.unary(path, &nobody, &request, repeat).await
    };
    let Registration { prefix, ttl } = registration;
    let grant = LeaseGrantRequest { ttl: *ttl, ..LeaseGrantRequest::default() };
    let granted = ask("/etcdserverpb.Lease/LeaseGrant", grant.encode_to_vec(), Repeat::Unsent);
    let lease = LeaseGrantResponse::decode(granted.await?).map_err(lost)?.id;
    let put = PutRequest {
        key: namespace.key(format!("{prefix}/{address}").as_bytes()),
        value: written(&host_name(), address).into(),
        lease,
        ..PutRequest::default()
    };
    let op = RequestOp { request: Some(Request::RequestPut(put)) };
    let txn = TxnRequest { success: vec![op], ..TxnRequest::default() };
    ask("/etcdserverpb.KV/Txn", txn.encode_to_vec(), Repeat::Unsent).await?;
    tracing::info!(addr = address, "lease-ttl" = ttl, "registered session with lease");
    let mut misses = 0;
    let every = Duration::from_millis(u64::try_from(*ttl).unwrap_or(1).saturating_mul(1000) / 3);
    // As long as the lease may still live.
    while misses < 3 {
        sleep(every).await;
        match renew(channel, &nobody, lease).await {
            Ok(ttl) if ttl <= 0 => return Ok(()),
            Ok(_) => misses = 0,
            Err(_) => misses += 1,
        }
    }
    Ok(())
}

async fn renew(channel: &Channel, nobody: &Metadata, lease: i64) -> Result<i64, Error> {
    let request = LeaseKeepAliveRequest { id: lease };
    let mut call = channel.stream("/etcdserverpb.Lease/LeaseKeepAlive", nobody).await?;
    call.send_bytes(&request.encode_to_vec(), true)?;
    let reply = call.only_bytes().await?;
    Ok(LeaseKeepAliveResponse::decode(reply).map_err(lost)?.ttl)
}

fn lost(error: proto::DecodeError) -> Error {
    Error::Lost(error.to_string())
}

/// Follows the members as they come and go.
pub(crate) async fn follow(channel: Channel, every: Duration) {
    loop {
        sleep(every).await;
        let asked = channel.unary(MEMBER_LIST, &Metadata::default(), &[], Repeat::Always).await;
        let Ok(reply) = asked else { continue };
        let Ok(list) = MemberListResponse::decode(reply) else { continue };
        let members = list.members.iter().filter(|member| !member.is_learner);
        let urls: Vec<String> =
            members.flat_map(|member| member.client_urls.iter().cloned()).collect();
        match channel.set_endpoints(&urls) {
            Ok(true) => tracing::info!(endpoints = ?urls, "the members are at other endpoints"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "sync endpoints failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_as_etcd_writes_it() {
        let text = written("host", "127.0.0.1:1");
        let theirs = r#"{"Op":0,"Addr":"127.0.0.1:1","Metadata":"{\"name\":\"host\"}"}"#;
        assert_eq!(text, theirs);
        assert_eq!(
            read(text.as_bytes()),
            Some(member("host".to_owned(), "127.0.0.1:1".to_owned()))
        );
        assert_eq!(read(b"{}"), None);
        assert_eq!(read(b"nonsense"), None);
    }
}
