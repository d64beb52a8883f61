//! What an applied request answers, as the message that its client waits for.

use bytes::Bytes;
use proto::Message;
use proto::etcdserverpb::{
    AlarmResponse, AuthRoleGetResponse, AuthRoleListResponse, AuthStatusResponse,
    AuthUserGetResponse, AuthUserListResponse, AuthenticateResponse, CompactionResponse,
    LeaseGrantResponse, LeaseRevokeResponse, ResponseHeader,
};
use state::{AuthReply, DeleteRangeReply, OpReply, PutReply, RangeReply, Reply, TxnReply};

use crate::encode::{Encoder, part_len};

/// Room for a header with all fields.
const HEADER_BYTES: usize = 48;

/// Encodes the reply to a proposed request. The header of the whole answer carries `header`; the
/// headers inside a transaction carry a revision and nothing else.
pub(crate) fn encode(header: ResponseHeader, reply: &Reply) -> Bytes {
    let with = |revision: i64| match revision {
        0 => header,
        revision => ResponseHeader { revision, ..header },
    };
    let message: Vec<u8> = match reply {
        Reply::Range(reply) => return range(with(reply.revision), reply),
        Reply::Put(reply) => return put(with(reply.revision), reply),
        Reply::DeleteRange(reply) => return delete_range(with(reply.revision), reply),
        Reply::Txn(reply) => return txn(with(reply.revision), reply),
        Reply::Auth(reply) => auth(header, reply),
        Reply::Nothing | Reply::Compaction | Reply::LeaseCheckpoint => {
            CompactionResponse { header: Some(header) }.encode_to_vec()
        }
        Reply::LeaseGrant { id, ttl } => {
            LeaseGrantResponse { header: Some(header), id: id.0, ttl: *ttl, error: String::new() }
                .encode_to_vec()
        }
        Reply::LeaseRevoke => LeaseRevokeResponse { header: Some(header) }.encode_to_vec(),
        Reply::Alarm(alarms) => {
            AlarmResponse { header: Some(header), alarms: alarms.clone() }.encode_to_vec()
        }
    };
    Bytes::from(message)
}

/// Answers of the Auth service.
fn auth(header: ResponseHeader, reply: &AuthReply) -> Vec<u8> {
    let header = Some(header);
    match reply {
        // All that have nothing to tell are alike.
        AuthReply::Done => CompactionResponse { header }.encode_to_vec(),
        AuthReply::Status { enabled, revision } => {
            AuthStatusResponse { header, enabled: *enabled, auth_revision: *revision }
                .encode_to_vec()
        }
        AuthReply::Authenticated { token, .. } => {
            AuthenticateResponse { header, token: token.clone() }.encode_to_vec()
        }
        AuthReply::UserRoles(roles) => {
            AuthUserGetResponse { header, roles: roles.clone() }.encode_to_vec()
        }
        AuthReply::Users(users) => {
            AuthUserListResponse { header, users: users.clone() }.encode_to_vec()
        }
        AuthReply::Permissions(perm) => {
            AuthRoleGetResponse { header, perm: perm.clone() }.encode_to_vec()
        }
        AuthReply::Roles(roles) => {
            AuthRoleListResponse { header, roles: roles.clone() }.encode_to_vec()
        }
    }
}

/// How many bytes the rows of a reply have.
pub(crate) fn rows_len(reply: &Reply) -> usize {
    match reply {
        Reply::Range(reply) => len_of(&reply.kvs),
        Reply::DeleteRange(reply) => len_of(&reply.prev_kvs),
        Reply::Txn(reply) => txn_rows_len(reply),
        _ => 0,
    }
}

fn txn_rows_len(reply: &TxnReply) -> usize {
    let of_op = |op: &OpReply| match op {
        OpReply::Range(reply) => len_of(&reply.kvs),
        OpReply::DeleteRange(reply) => len_of(&reply.prev_kvs),
        OpReply::Txn(reply) => txn_rows_len(reply),
        OpReply::Put(_) | OpReply::Empty => 0,
    };
    reply.responses.iter().map(of_op).sum()
}

fn len_of(rows: &[Bytes]) -> usize {
    rows.iter().map(Bytes::len).sum()
}

/// A `RangeResponse`.
pub(crate) fn range(header: ResponseHeader, reply: &RangeReply) -> Bytes {
    let rows: usize = reply.kvs.iter().map(|kv| part_len(kv.len())).sum();
    let mut encoder = Encoder::with_capacity(rows + HEADER_BYTES + 16);
    encoder.message(1, &header);
    for kv in &reply.kvs {
        encoder.part(2, kv);
    }
    encoder.flag(3, reply.more).signed(4, reply.count);
    encoder.finish()
}

fn put(header: ResponseHeader, reply: &PutReply) -> Bytes {
    let prev_bytes = reply.prev_kv.as_ref().map_or(0, Bytes::len);
    let mut encoder = Encoder::with_capacity(prev_bytes + HEADER_BYTES + 8);
    encoder.message(1, &header);
    if let Some(kv) = &reply.prev_kv {
        encoder.part(2, kv);
    }
    encoder.finish()
}

fn delete_range(header: ResponseHeader, reply: &DeleteRangeReply) -> Bytes {
    let rows: usize = reply.prev_kvs.iter().map(|kv| part_len(kv.len())).sum();
    let mut encoder = Encoder::with_capacity(rows + HEADER_BYTES + 16);
    encoder.message(1, &header).signed(2, reply.deleted);
    for kv in &reply.prev_kvs {
        encoder.part(3, kv);
    }
    encoder.finish()
}

fn txn(header: ResponseHeader, reply: &TxnReply) -> Bytes {
    let mut encoder = Encoder::with_capacity(256);
    encoder.message(1, &header).flag(2, reply.succeeded);
    for op in &reply.responses {
        encoder.part(3, &operation(op));
    }
    encoder.finish()
}

/// A `ResponseOp`.
fn operation(op: &OpReply) -> Bytes {
    let only = |revision| ResponseHeader { revision, ..ResponseHeader::default() };
    let (field, message) = match op {
        OpReply::Range(reply) => (1, range(only(reply.revision), reply)),
        OpReply::Put(reply) => (2, put(only(reply.revision), reply)),
        OpReply::DeleteRange(reply) => (3, delete_range(only(reply.revision), reply)),
        OpReply::Txn(reply) => (4, txn(only(reply.revision), reply)),
        OpReply::Empty => return Bytes::new(),
    };
    let mut encoder = Encoder::with_capacity(part_len(message.len()));
    encoder.part(field, &message);
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::response_op::Response;
    use proto::etcdserverpb::{PutResponse, RangeResponse, ResponseOp, TxnResponse};
    use proto::mvccpb::KeyValue;

    use super::*;

    #[test]
    fn a_txn_reply_is_the_message_that_etcd_would_send() {
        let kv = KeyValue { key: Bytes::from("k"), mod_revision: 3, ..Default::default() };
        let rows =
            RangeReply { revision: 4, kvs: vec![kv.encode_to_vec().into()], more: true, count: 9 };
        let nested = TxnReply { revision: 0, succeeded: false, responses: vec![] };
        let reply = TxnReply {
            revision: 5,
            succeeded: true,
            responses: vec![
                OpReply::Range(rows),
                OpReply::Put(PutReply { revision: 5, prev_kv: None }),
                OpReply::Txn(nested),
                OpReply::Empty,
            ],
        };
        let header = |revision| ResponseHeader { revision, ..Default::default() };
        let op = |response| ResponseOp { response: Some(response) };
        let expected = TxnResponse {
            header: Some(ResponseHeader { cluster_id: 1, member_id: 2, revision: 5, raft_term: 3 }),
            succeeded: true,
            responses: vec![
                op(Response::ResponseRange(RangeResponse {
                    header: Some(header(4)),
                    kvs: vec![kv],
                    more: true,
                    count: 9,
                })),
                op(Response::ResponsePut(PutResponse { header: Some(header(5)), prev_kv: None })),
                op(Response::ResponseTxn(TxnResponse {
                    header: Some(header(0)),
                    ..Default::default()
                })),
                ResponseOp { response: None },
            ],
        };
        let whole = ResponseHeader { cluster_id: 1, member_id: 2, revision: 9, raft_term: 3 };
        assert_eq!(encode(whole, &Reply::Txn(reply)), expected.encode_to_vec());
    }
}
