//! `etcdserverpb.Maintenance`: alarms, status, hashes, the snapshot stream.

use std::sync::Arc;

use bytes::Bytes;
use node::humane_bytes;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{
    AlarmRequest, DefragmentRequest, DefragmentResponse, DowngradeRequest, DowngradeResponse,
    HashKvRequest, HashKvResponse, HashRequest, HashResponse, InternalRaftRequest,
    MoveLeaderRequest, MoveLeaderResponse, StatusRequest,
};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Services, decode, decode_received, encode, health, kv};
use crate::encode::Encoder;
use crate::rpc::{self, Caller, Replies, Requests};
use crate::status::Status;

/// The piece size of the snapshot stream, as clients know it.
const SNAPSHOT_BLOB_BYTES: usize = 32 * 1024;

pub(super) async fn alarm(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: AlarmRequest = decode(request)?;
    match request.action == AlarmAction::Get as i32 {
        true => services.user(&caller).await?,
        false => services.admin(&caller).await?,
    }
    let proposal = InternalRaftRequest { alarm: Some(request), ..Default::default() };
    kv::propose(&services, &caller, proposal).await
}

pub(super) async fn status(
    services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let StatusRequest {} = decode(request)?;
    Ok(encode(&services.node.status()))
}

pub(super) async fn defragment(
    services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let DefragmentRequest {} = decode(request)?;
    tracing::info!("starting defragment");
    let serving = health::defragmenting(&services);
    let done = services.node.defragment().await;
    drop(serving);
    if let Err(failure) = &done {
        tracing::warn!(error = failure.to_string(), "failed to defragment");
    }
    done?;
    tracing::info!("finished defragment");
    Ok(encode(&DefragmentResponse::default()))
}

pub(super) async fn downgrade(
    services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: DowngradeRequest = decode(request)?;
    let version = services.node.downgrade(&request).await?;
    Ok(encode(&DowngradeResponse { header: Some(services.node.header()), version }))
}

pub(super) async fn hash(
    services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let HashRequest {} = decode(request)?;
    let hash = services.node.hash().await?;
    Ok(encode(&HashResponse { header: Some(services.node.header()), hash }))
}

pub(super) async fn hash_kv(
    services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: HashKvRequest = decode(request)?;
    let before = services.node.header().revision;
    let hashed = services.node.hash_kv(request.revision).await?;
    let mut header = services.node.header();
    if request.revision == 0 && hashed.revision >= before {
        // Clients that know no `hash_revision` take this one for it. A hash that was kept from a
        // compaction is older than the answer.
        header.revision = hashed.revision;
    }
    Ok(encode(&HashKvResponse {
        header: Some(header),
        hash: hashed.hash,
        compact_revision: hashed.compact_revision,
        hash_revision: hashed.revision,
    }))
}

pub(super) async fn move_leader(
    services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: MoveLeaderRequest = decode(request)?;
    services.node.move_leader(request.target_id).await?;
    Ok(encode(&MoveLeaderResponse::default()))
}

/// The db file as it is now, piece by piece, then its SHA-256 as a message of its own.
pub(super) async fn snapshot(
    services: Arc<Services>,
    _caller: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    if let Some(request) = rpc::next(&mut *requests).await {
        let _: proto::etcdserverpb::SnapshotRequest = decode_received(request?)?;
    }
    let image = services.node.image().await?;
    let version = services.node.storage_version();
    let total = image.len();
    let size = humane_bytes(total);
    tracing::info!(
        "total-bytes" = total,
        size,
        "storage-version" = version,
        "sending database snapshot to client"
    );
    let begun = Instant::now();
    let mut digest = Sha256::new();
    let mut sent = 0;
    while sent < total {
        let piece = usize::try_from(total - sent)
            .map_or(SNAPSHOT_BLOB_BYTES, |left| left.min(SNAPSHOT_BLOB_BYTES));
        let blob = image.read(sent, piece).await?;
        digest.update(&blob);
        sent += blob.len() as u64;
        rpc::send(&mut *replies, chunk(total - sent, &blob, &version)).await?;
    }
    let digest = digest.finalize();
    tracing::info!(
        "total-bytes" = total,
        "checksum-size" = digest.len(),
        "sending database sha256 checksum to client"
    );
    rpc::send(&mut *replies, chunk(0, &digest, &version)).await?;
    tracing::info!(
        "total-bytes" = total,
        size,
        took = ?begun.elapsed(),
        "storage-version" = version,
        "successfully sent database snapshot to client"
    );
    Ok(())
}

/// A `SnapshotResponse`.
fn chunk(remaining: u64, blob: &[u8], version: &str) -> Bytes {
    let mut encoder = Encoder::with_capacity(blob.len() + 64);
    encoder.number(2, remaining).part(3, blob).text(4, version);
    encoder.finish()
}
