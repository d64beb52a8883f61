//! Messages as JSON: as etcd's gateway writes them, and with all that it reads.

use proptest::prelude::{ProptestConfig, any};
use proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeResponse, PutRequest, RangeRequest, RangeResponse,
    ResponseHeader, TxnRequest, WatchResponse, compare,
};
use proto::json::{self, Field, Kind, Scanner, Schema, Style};
use proto::mvccpb::{Event, KeyValue};
use proto::{Message, etcdserverpb};

fn request(path: &str) -> &'static Schema {
    json::method(path).expect("is a call").request
}

fn response(path: &str) -> &'static Schema {
    json::method(path).expect("is a call").response
}

fn written(schema: &'static Schema, message: &impl Message) -> String {
    let mut out = Vec::new();
    json::write(schema, &message.encode_to_vec(), Style::Plain, &mut out).expect("is a message");
    String::from_utf8(out).expect("is text")
}

fn read<M: Message + Default>(path: &str, text: &str) -> Result<M, String> {
    let mut wire = Vec::new();
    json::read(request(path), text.as_bytes(), &mut wire).map_err(|error| error.to_string())?;
    Ok(M::decode(wire.as_slice()).expect("is the wire form"))
}

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";

#[test]
fn replies_are_written_as_by_etcd() {
    let header = ResponseHeader { cluster_id: u64::MAX, member_id: 3, revision: -1, raft_term: 0 };
    let kv = KeyValue {
        key: "foo".into(),
        value: vec![0xff, 0xfe].into(),
        version: i64::MIN,
        ..KeyValue::default()
    };
    let reply = RangeResponse {
        header: Some(header),
        kvs: vec![kv.clone(), KeyValue::default()],
        more: true,
        count: 2,
    };
    assert_eq!(
        written(response(RANGE), &reply),
        r#"{"header":{"cluster_id":"18446744073709551615","member_id":"3","revision":"-1"},"#
            .to_owned()
            + r#""kvs":[{"key":"Zm9v","version":"-9223372036854775808","value":"//4="},{}],"#
            + r#""more":true,"count":"2"}"#
    );
    assert_eq!(written(response(RANGE), &RangeResponse::default()), "{}");
    let events = vec![Event { r#type: 1, kv: Some(kv), prev_kv: None }];
    let watch = WatchResponse { events, compact_revision: 7, ..WatchResponse::default() };
    assert_eq!(
        written(response("/etcdserverpb.Watch/Watch"), &watch),
        r#"{"compact_revision":"7","events":[{"type":"DELETE","kv":{"key":"Zm9v","#.to_owned()
            + r#""version":"-9223372036854775808","value":"//4="}}]}"#
    );
    let unknown = etcdserverpb::AlarmResponse {
        alarms: vec![etcdserverpb::AlarmMember { member_id: 1, alarm: 9 }],
        ..Default::default()
    };
    assert_eq!(
        written(response("/etcdserverpb.Maintenance/Alarm"), &unknown),
        r#"{"alarms":[{"memberID":"1","alarm":9}]}"#
    );
    let hash = etcdserverpb::HashKvResponse { hash: 7, ..Default::default() };
    assert_eq!(written(response("/etcdserverpb.Maintenance/HashKV"), &hash), r#"{"hash":7}"#);
}

#[test]
fn strings_are_escaped_where_they_must() {
    let written = |style| {
        let mut out = Vec::new();
        json::write_text("a\"\\\n\x01<\u{2028}\u{fc}", style, &mut out);
        String::from_utf8(out).expect("is text")
    };
    assert_eq!(written(Style::Plain), "\"a\\\"\\\\\\n\\u0001<\u{2028}\u{fc}\"");
    assert_eq!(written(Style::Html), "\"a\\\"\\\\\\n\\u0001\\u003c\\u2028\u{fc}\"");
}

#[test]
fn fields_that_come_in_another_order_are_put_in_theirs() {
    let later = DeleteRangeResponse { deleted: 1, ..Default::default() }.encode_to_vec();
    let header = Some(ResponseHeader { revision: 1, ..Default::default() });
    let sooner = DeleteRangeResponse { header, ..Default::default() }.encode_to_vec();
    let twice = DeleteRangeResponse { deleted: 2, ..Default::default() }.encode_to_vec();
    let wire = [later, sooner, twice].concat();
    let mut out = Vec::new();
    let schema = response("/etcdserverpb.KV/DeleteRange");
    json::write(schema, &wire, Style::Plain, &mut out).expect("is a message");
    assert_eq!(out, br#"{"header":{"revision":"1"},"deleted":"2"}"#);
    assert!(json::write(schema, &wire[..wire.len() - 1], Style::Plain, &mut out).is_err());
}

#[test]
fn requests_are_read_in_all_their_forms() {
    let expected = RangeRequest {
        key: "foo".into(),
        range_end: vec![0xfb, 0xff].into(),
        limit: 10,
        sort_order: 1,
        serializable: true,
        ..Default::default()
    };
    for text in [
        r#"{"key":"Zm9v","range_end":"+/8=","limit":"10","sort_order":"ASCEND",
            "serializable":true}"#,
        r#"{"rangeEnd":"-_8","key":"Zm9v","limit":"10, or so","sortOrder":1,"serializable":true}"#,
        r#"{"key":"Zm\n9v","range_end":"-_8=","limit":"1.0e1","unknown":[{"a":null}],
            "sort_order":"ASCEND","sort_target":"NOBODY","serializable":true,"revision":null}"#,
        r#"{"k\u0065y":"\u005am9v","range_end":"+/8","limit":10.00,"sort_order":1,
            "serializable":true}"#,
    ] {
        assert_eq!(read(RANGE, text), Ok(expected.clone()), "{text}");
    }
    let compares = r#"{"compare":[{"target":"CREATE","key":"eA==","create_revision":"0"}],
        "success":[{"request_put":{"key":"eA==","lease":"-1"}},{"requestTxn":{}}]}"#;
    let txn: TxnRequest = read(TXN, compares).expect("is good");
    let target_union = Some(compare::TargetUnion::CreateRevision(0));
    let compare = Compare { target: 1, key: "x".into(), target_union, ..Default::default() };
    assert_eq!(txn.compare, [compare]);
    assert_eq!(txn.success.len(), 2);
    let defaults = r#"{"revision":"0","physical":false}"#;
    let mut wire = Vec::new();
    json::read(request("/etcdserverpb.KV/Compact"), defaults.as_bytes(), &mut wire).unwrap();
    assert_eq!(wire, CompactionRequest::default().encode_to_vec());
}

#[test]
fn what_is_refused_is_told_as_by_go() {
    for (path, text, error) in [
        (RANGE, r#"{"key":5}"#, "(line 1:8): invalid value for bytes field key: 5"),
        (RANGE, r#"{"key":"?"}"#, r#"(line 1:8): invalid value for bytes field key: "?""#),
        (RANGE, "{\n \"limit\":1.5}", "(line 2:10): invalid value for int64 field limit: 1.5"),
        (RANGE, r#"{"limit":" 1"}"#, r#"(line 1:10): invalid value for int64 field limit: " 1""#),
        (
            RANGE,
            r#"{"limit":9223372036854775808}"#,
            "(line 1:10): invalid value for int64 field limit: 9223372036854775808",
        ),
        (RANGE, r#"{"sortOrder":1.5}"#, "(line 1:14): invalid value for enum field sortOrder: 1.5"),
        (RANGE, r#"{"range_end":"","rangeEnd":""}"#, r#"(line 1:17): duplicate field "rangeEnd""#),
        (RANGE, "[]", "syntax error (line 1:1): unexpected token ["),
        (RANGE, "null", "syntax error (line 1:1): unexpected token null"),
        (TXN, r#"{"compare":{}}"#, "syntax error (line 1:12): unexpected token {"),
        (TXN, r#"{"compare":[null]}"#, "syntax error (line 1:13): unexpected token null"),
        (
            TXN,
            r#"{"compare":[{"version":1,"value":null,"lease":2}]}"#,
            "(line 1:39): error parsing \"lease\", oneof etcdserverpb.Compare.target_union is \
             already set",
        ),
        (
            RANGE,
            r#"{"unknown":"\ud800\u0041"}"#,
            r#"syntax error (line 1:12): invalid escape code "\\u0041" in string"#,
        ),
        (RANGE, r#"{"unknown":"\ud800"}"#, "unexpected EOF"),
    ] {
        let got = read::<RangeRequest>(path, text).expect_err(text);
        assert_eq!(got, format!("proto: {error}"), "{text}");
    }
    let mut out = Vec::new();
    let error = json::read(request(RANGE), b"{\"a\":\"\xff\"}", &mut out).unwrap_err();
    let expected = "proto: syntax error (line 1:6): invalid UTF-8 in string";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_nesting_bomb_is_refused() {
    let bomb = format!("{}{}", r#"{"success":[{"request_txn":"#.repeat(3000), "}]}".repeat(3000));
    let error = read::<TxnRequest>(TXN, &bomb).expect_err("is too deep");
    assert_eq!(error, "proto: exceeded max recursion depth");
    let unknown = format!("{{\"x\":{}{}}}", "[".repeat(9000), "]".repeat(9000));
    assert_eq!(read(RANGE, &unknown), Ok(RangeRequest::default()));
}

/// A random message of any kind, as prost would encode it but in the order of the table.
fn random(schema: &'static Schema, choose: &mut impl FnMut() -> u8, depth: u8, out: &mut Vec<u8>) {
    let mut oneofs = Vec::new();
    for field in schema.fields {
        if choose() < 100 || field.oneof.is_some_and(|oneof| oneofs.contains(&oneof)) {
            continue;
        }
        oneofs.extend(field.oneof);
        let count = if field.repeated { choose() % 3 } else { 1 };
        let mut packed = Vec::new();
        for _ in 0..count {
            if matches!(field.kind, Kind::Message(_)) && depth == 0 {
                continue;
            }
            value(field, choose, depth, &mut packed, out);
        }
        if !packed.is_empty() {
            put_bytes(field.number, &packed, out);
        }
    }
}

fn value(
    field: &Field,
    choose: &mut impl FnMut() -> u8,
    depth: u8,
    packed: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    let mut wide = || u64::from_le_bytes(std::array::from_fn(|_| choose())) >> (choose() % 64);
    let number = match field.kind {
        Kind::Bool => 1,
        Kind::Int32 => i64::from(wide() as i32) as u64,
        Kind::Enum(of) => of.names[usize::from(choose()) % of.names.len()].0 as u64,
        Kind::Uint32 => u64::from(wide() as u32),
        Kind::Int64 | Kind::Uint64 => wide(),
        Kind::String | Kind::Bytes => {
            let len = choose() % 20 + u8::from(!field.repeated);
            let ascii = matches!(field.kind, Kind::String);
            let bytes: Vec<u8> =
                (0..len).map(|_| if ascii { choose() & 127 } else { choose() }).collect();
            return put_bytes(field.number, &bytes, out);
        }
        Kind::Message(schema) => {
            let mut inner = Vec::new();
            random(schema, choose, depth - 1, &mut inner);
            return put_bytes(field.number, &inner, out);
        }
    };
    if field.repeated {
        prost::encoding::encode_varint(number, packed);
    } else if number != 0 || field.oneof.is_some() {
        prost::encoding::encode_varint(u64::from(field.number) << 3, out);
        prost::encoding::encode_varint(number, out);
    }
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    prost::encoding::encode_varint(u64::from(number) << 3 | 2, out);
    prost::encoding::encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

const CALLS: [&str; 6] = [
    RANGE,
    TXN,
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Auth/RoleGet",
    "/etcdserverpb.Cluster/MemberList",
];

proptest::proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(seed in any::<u64>(), reply in any::<bool>()) {
        let mut state = seed;
        let mut choose = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u8
        };
        for path in CALLS {
            let schema = if reply { response(path) } else { request(path) };
            let mut wire = Vec::new();
            random(schema, &mut choose, 5, &mut wire);
            let mut text = Vec::new();
            json::write(schema, &wire, Style::Html, &mut text).expect("is a message");
            let end = Scanner::new().feed(&text).expect("is JSON");
            proptest::prop_assert_eq!(end, Some(text.len()));
            let mut again = Vec::new();
            let back = json::read(schema, &text, &mut again);
            let text = String::from_utf8_lossy(&text);
            proptest::prop_assert_eq!(back, Ok(()), "{}", text);
            proptest::prop_assert_eq!(&again, &wire, "{}", text);
        }
    }

    #[test]
    fn what_is_read_of_a_broken_text_reads_the_same_again(seed in any::<u64>()) {
        let mut state = seed;
        let mut choose = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u8
        };
        for path in CALLS {
            let schema = request(path);
            let mut wire = Vec::new();
            random(schema, &mut choose, 4, &mut wire);
            let mut text = Vec::new();
            json::write(schema, &wire, Style::Plain, &mut text).expect("is a message");
            for _ in 0..choose() % 3 {
                let at = (usize::from(choose()) << 8 | usize::from(choose())) % text.len();
                let scraps: [&[u8]; 6] = [b"\\u0041", b"1e2", b"{}", b"null,", b"\xff", b"\""];
                let scrap = scraps[usize::from(choose()) % scraps.len()];
                text.splice(at..text.len().min(at + usize::from(choose() % 3)), scrap.to_vec());
            }
            let mut read = Vec::new();
            if json::read(schema, &text, &mut read).is_err() {
                continue;
            }
            let rewrite = |wire: &[u8]| {
                let mut text = Vec::new();
                json::write(schema, wire, Style::Html, &mut text).expect("is a message");
                text
            };
            let again = rewrite(&read);
            let mut back = Vec::new();
            proptest::prop_assert_eq!(json::read(schema, &again, &mut back), Ok(()));
            proptest::prop_assert_eq!(rewrite(&back), again);
        }
    }

    #[test]
    fn no_text_is_too_strange(text in "[\\[\\]{}:,\"\\\\ue0-9.a-z+-]{0,60}") {
        let mut scanner = Scanner::new();
        let _ = scanner.feed(text.as_bytes()).and_then(|_| scanner.end());
        let mut wire = Vec::new();
        if json::read(request(PUT), text.as_bytes(), &mut wire).is_ok() {
            proptest::prop_assert!(PutRequest::decode(wire.as_slice()).is_ok());
        }
    }
}
