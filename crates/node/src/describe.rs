//! Requests as an operator reads them in the log: protobuf's text form, without values.
//!
//! etcd's log has the same text, but for what its library leaves to chance: one space or two
//! between fields.

use std::fmt::Write as _;

use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    AlarmType, Compare, DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest,
    RequestHeader, RequestOp, TxnRequest,
};

use crate::tally::Kind;

/// Requests of clients as text.
pub mod text {
    pub use super::{delete_range, put, range, txn};
}

/// A size as etcd's log spells it: thousands, one digit behind the point below ten.
pub fn humane_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let thousands = (bytes.ilog10() / 3) as usize;
    let scaled = bytes as f64 / 1000_f64.powi(bytes.ilog10() as i32 / 3);
    let rounded = (scaled * 10.0 + 0.5).floor() / 10.0;
    let decimals = usize::from(rounded < 10.0);
    format!("{rounded:.decimals$} {}", UNITS[thousands])
}

/// Fields one after the other. Those that are not set are left out.
#[derive(Default)]
struct Fields {
    text: String,
}

impl Fields {
    fn raw(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        let gap = if self.text.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{gap}{name}:{value}");
        self
    }

    fn number(&mut self, name: &str, value: i64) -> &mut Self {
        if value == 0 { self } else { self.raw(name, value) }
    }

    fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        if value { self.raw(name, true) } else { self }
    }

    fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if value.is_empty() { self } else { self.raw(name, quoted(value)) }
    }

    fn name(&mut self, name: &str, number: i32, value: Option<&str>) -> &mut Self {
        match value {
            _ if number == 0 => self,
            Some(value) => self.raw(name, value),
            None => self.raw(name, number),
        }
    }
}

/// A `RangeRequest`.
pub fn range(request: &RangeRequest) -> String {
    let order = SortOrder::try_from(request.sort_order).ok();
    let target = SortTarget::try_from(request.sort_target).ok();
    let mut fields = Fields::default();
    fields
        .bytes("key", &request.key)
        .bytes("range_end", &request.range_end)
        .number("limit", request.limit)
        .number("revision", request.revision)
        .name("sort_order", request.sort_order, order.as_ref().map(SortOrder::as_str_name))
        .name("sort_target", request.sort_target, target.as_ref().map(SortTarget::as_str_name))
        .flag("serializable", request.serializable)
        .flag("keys_only", request.keys_only)
        .flag("count_only", request.count_only)
        .number("min_mod_revision", request.min_mod_revision)
        .number("max_mod_revision", request.max_mod_revision)
        .number("min_create_revision", request.min_create_revision)
        .number("max_create_revision", request.max_create_revision);
    fields.text
}

/// A `PutRequest`, with its value's size in place of the value.
pub fn put(request: &PutRequest) -> String {
    let mut fields = Fields::default();
    if !request.key.is_empty() {
        fields.raw("key", octal(&request.key));
    }
    fields
        .number("value_size", length(&request.value))
        .number("lease", request.lease)
        .flag("prev_kv", request.prev_kv)
        .flag("ignore_value", request.ignore_value)
        .flag("ignore_lease", request.ignore_lease);
    // The older text form ends with a space.
    fields.text + " "
}

/// A `DeleteRangeRequest`.
pub fn delete_range(request: &DeleteRangeRequest) -> String {
    let mut fields = Fields::default();
    fields
        .bytes("key", &request.key)
        .bytes("range_end", &request.range_end)
        .flag("prev_kv", request.prev_kv);
    fields.text
}

/// A `TxnRequest`, with sizes in place of values.
pub fn txn(request: &TxnRequest) -> String {
    let compares: Vec<_> = request.compare.iter().map(compare).collect();
    let ops = |ops: &[RequestOp]| ops.iter().map(op).collect::<Vec<_>>().join(" ");
    format!(
        "compare:<{}> success:<{}> failure:<{}>",
        compares.join(" "),
        ops(&request.success),
        ops(&request.failure)
    )
}

/// What lies in the log.
pub(crate) fn entry(request: &InternalRaftRequest) -> String {
    let default = RequestHeader::default();
    let header = request.header.as_ref().unwrap_or(&default);
    let mut head = Fields::default();
    if header.id != 0 {
        head.raw("ID", header.id);
    }
    head.bytes("username", header.username.as_bytes());
    if header.auth_revision != 0 {
        head.raw("auth_revision", header.auth_revision);
    }
    let head = head.text;
    if let Some(grant) = &request.lease_grant {
        return format!(
            "header:<{head}> lease_grant:<ttl:{}-second id:{:016x}>",
            grant.ttl, grant.id
        );
    }
    if let Some(revoke) = &request.lease_revoke {
        return format!("header:<{head}> lease_revoke:<id:{:016x}>", revoke.id);
    }
    if let Some(request) = &request.put {
        return format!("header:<{head}> put:<{}>", put(request));
    }
    if let Some(request) = &request.txn {
        return format!("header:<{head}> txn:<{}>", txn(request));
    }
    format!("header:{{{head}}} {}", plain_entry(request))
}

/// The requests that hide nothing. Those about users may, and are named only.
fn plain_entry(request: &InternalRaftRequest) -> String {
    let mut fields = Fields::default();
    let name = if let Some(request) = &request.range {
        return format!("range:{{{}}}", range(request));
    } else if let Some(request) = &request.delete_range {
        return format!("delete_range:{{{}}}", delete_range(request));
    } else if let Some(request) = &request.compaction {
        fields.number("revision", request.revision).flag("physical", request.physical);
        "compaction"
    } else if let Some(request) = &request.alarm {
        let alarm = AlarmType::try_from(request.alarm).ok();
        fields.number("action", i64::from(request.action));
        if request.member_id != 0 {
            fields.raw("memberID", request.member_id);
        }
        fields.name("alarm", request.alarm, alarm.as_ref().map(AlarmType::as_str_name));
        "alarm"
    } else if let Some(request) = &request.lease_checkpoint {
        for checkpoint in &request.checkpoints {
            let (id, left) = (checkpoint.id, checkpoint.remaining_ttl);
            fields.raw("checkpoints", format_args!("{{ID:{id} remaining_TTL:{left}}}"));
        }
        "lease_checkpoint"
    } else if let Some(request) = &request.cluster_version_set {
        fields.bytes("ver", request.ver.as_bytes());
        "cluster_version_set"
    } else if let Some(request) = &request.cluster_member_attr_set {
        let attributes = request.member_attributes.clone().unwrap_or_default();
        let mut inner = Fields::default();
        inner.bytes("name", attributes.name.as_bytes());
        for url in &attributes.client_urls {
            inner.bytes("client_urls", url.as_bytes());
        }
        fields.raw("member_ID", request.member_id);
        fields.raw("member_attributes", format_args!("{{{}}}", inner.text));
        "cluster_member_attr_set"
    } else if let Some(request) = &request.downgrade_info_set {
        fields.flag("enabled", request.enabled).bytes("ver", request.ver.as_bytes());
        "downgrade_info_set"
    } else {
        return format!("{}:{{}}", Kind::of(request).name());
    };
    format!("{name}:{{{}}}", fields.text)
}

fn compare(compare: &Compare) -> String {
    let result = CompareResult::try_from(compare.result).ok();
    let target = CompareTarget::try_from(compare.target).ok();
    let mut fields = Fields::default();
    fields.name("result", compare.result, result.as_ref().map(CompareResult::as_str_name)).name(
        "target",
        compare.target,
        target.as_ref().map(CompareTarget::as_str_name),
    );
    let value_size = match &compare.target_union {
        Some(TargetUnion::Value(value)) => Some(length(value)),
        _ => None,
    };
    if let Some(size) = value_size {
        if !compare.key.is_empty() {
            fields.raw("key", octal(&compare.key));
        }
        fields.number("value_size", size);
        if !compare.range_end.is_empty() {
            fields.raw("range_end", octal(&compare.range_end));
        }
        return fields.text + " ";
    }
    fields.bytes("key", &compare.key);
    match &compare.target_union {
        Some(TargetUnion::Version(version)) => drop(fields.raw("version", version)),
        Some(TargetUnion::CreateRevision(rev)) => drop(fields.raw("create_revision", rev)),
        Some(TargetUnion::ModRevision(rev)) => drop(fields.raw("mod_revision", rev)),
        Some(TargetUnion::Lease(lease)) => drop(fields.raw("lease", lease)),
        Some(TargetUnion::Value(_)) | None => {}
    }
    fields.bytes("range_end", &compare.range_end);
    fields.text
}

fn op(op: &RequestOp) -> String {
    match &op.request {
        Some(Op::RequestPut(request)) => format!("request_put:<{}>", put(request)),
        Some(Op::RequestTxn(request)) => format!("request_txn:<{}>", txn(request)),
        Some(Op::RequestRange(request)) => format!("request_range:{{{}}}", range(request)),
        Some(Op::RequestDeleteRange(request)) => {
            format!("request_delete_range:{{{}}}", delete_range(request))
        }
        None => String::new(),
    }
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

/// A quoted text: what is UTF-8 stays, other bytes are hexadecimal.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for mark in chunk.valid().chars() {
            match mark {
                '"' | '\\' => out.extend(['\\', mark]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                mark if mark < ' ' || mark == '\u{7f}' => {
                    let _ = write!(out, "\\x{:02x}", u32::from(mark));
                }
                mark => out.push(mark),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

/// A quoted text as the older library writes it: what is not plain ASCII is octal.
fn octal(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b' '..=b'~' => out.push(char::from(*byte)),
            byte => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto::etcdserverpb::{CompactionRequest, LeaseGrantRequest, range_request, request_op};

    use super::*;

    /// The texts are those of etcd 3.7.1's log, with one space where it has two.
    #[test]
    fn requests_read_as_in_etcds_log() {
        let request = RangeRequest {
            key: Bytes::from_static(b"a"),
            range_end: Bytes::from_static(b"z"),
            limit: 3,
            revision: 1,
            sort_order: range_request::SortOrder::Descend as i32,
            ..Default::default()
        };
        assert_eq!(
            range(&request),
            r#"key:"a" range_end:"z" limit:3 revision:1 sort_order:DESCEND"#
        );
        let header = Some(RequestHeader { id: 7, ..Default::default() });
        let compaction = Some(CompactionRequest { revision: 2, physical: false });
        let request =
            InternalRaftRequest { header: header.clone(), compaction, ..Default::default() };
        assert_eq!(entry(&request), "header:{ID:7} compaction:{revision:2}");
        let lease_grant = Some(LeaseGrantRequest { id: 0x568, ttl: 100 });
        let request = InternalRaftRequest { header, lease_grant, ..Default::default() };
        assert_eq!(
            entry(&request),
            "header:<ID:7> lease_grant:<ttl:100-second id:0000000000000568>"
        );
    }

    #[test]
    fn values_are_told_by_their_size() {
        let compares = vec![
            Compare {
                result: 1,
                target: 2,
                key: Bytes::from_static(b"a"),
                target_union: Some(TargetUnion::ModRevision(0)),
                ..Default::default()
            },
            Compare {
                target: 3,
                key: Bytes::from_static(b"a"),
                target_union: Some(TargetUnion::Value(Bytes::from_static(b"xx"))),
                ..Default::default()
            },
        ];
        let put = PutRequest {
            key: Bytes::from_static(b"b\xff\n\""),
            value: Bytes::from_static(b"secret"),
            ..Default::default()
        };
        let success = vec![RequestOp { request: Some(request_op::Request::RequestPut(put)) }];
        let request = TxnRequest { compare: compares, success, failure: Vec::new() };
        assert_eq!(
            txn(&request),
            "compare:<result:GREATER target:MOD key:\"a\" mod_revision:0 \
             target:VALUE key:\"a\" value_size:2 > \
             success:<request_put:<key:\"b\\377\\n\\\"\" value_size:6 >> failure:<>"
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_hexadecimal() {
        assert_eq!(quoted("\u{1}é\\".as_bytes()), r#""\x01é\\""#);
        assert_eq!(quoted(b"\xff"), r#""\xff""#);
    }

    #[test]
    fn sizes_are_spelled_as_in_etcds_log() {
        let cases = [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (10_485_760, "10 MB"),
            (1_572_864, "1.6 MB"),
            (2_147_483_648, "2.1 GB"),
            (8_589_934_592, "8.6 GB"),
            (9_999_999_999_999_999_999, "10 EB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(humane_bytes(bytes), text);
        }
    }
}
