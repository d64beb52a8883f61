//! The names and numbers of the `.proto` files against those in etcd's own binaries.

use std::collections::BTreeSet;
use std::path::Path;

use protox::prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};

/// Not in 3.7.1 any more; kept to read the logs of older members.
const OLDER: [&str; 19] = [
    "field etcdserverpb.InternalRaftRequest v2 = 2 etcdserverpb.Request",
    "field etcdserverpb.Request Dir = 5 optional bool",
    "field etcdserverpb.Request Expiration = 9 optional int64",
    "field etcdserverpb.Request ID = 1 optional uint64",
    "field etcdserverpb.Request Method = 2 optional string",
    "field etcdserverpb.Request Path = 3 optional string",
    "field etcdserverpb.Request PrevExist = 8 optional bool",
    "field etcdserverpb.Request PrevIndex = 7 optional uint64",
    "field etcdserverpb.Request PrevValue = 6 optional string",
    "field etcdserverpb.Request Quorum = 14 optional bool",
    "field etcdserverpb.Request Recursive = 12 optional bool",
    "field etcdserverpb.Request Refresh = 17 optional bool",
    "field etcdserverpb.Request Since = 11 optional uint64",
    "field etcdserverpb.Request Sorted = 13 optional bool",
    "field etcdserverpb.Request Stream = 16 optional bool",
    "field etcdserverpb.Request Time = 15 optional int64",
    "field etcdserverpb.Request Val = 4 optional string",
    "field etcdserverpb.Request Wait = 10 optional bool",
    "message etcdserverpb.Request",
];

#[test]
fn every_name_and_number_is_the_official_one() {
    let ours = describe_protos();
    let mut wanted: BTreeSet<String> = include_str!("etcd-3.7.1.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    assert!(wanted.len() > 600, "the table of names is short: {}", wanted.len());
    wanted.extend(OLDER.map(str::to_owned));
    let missing: Vec<_> = wanted.difference(&ours).collect();
    let surplus: Vec<_> = ours.difference(&wanted).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:#?}\nsurplus {surplus:#?}");
}

/// The lines of the table, made from our `.proto` files.
fn describe_protos() -> BTreeSet<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = [
        "authpb/auth.proto",
        "etcdserverpb/raft_internal.proto",
        "health/health.proto",
        "leasepb/lease.proto",
        "snappb/snap.proto",
        "v3electionpb/v3election.proto",
        "v3lockpb/v3lock.proto",
        "walpb/record.proto",
    ];
    let mut compiler = protox::Compiler::new([dir]).expect("the folder is there");
    compiler.include_imports(true).open_files(files).expect("the protos compile");
    let pool = compiler.descriptor_pool();

    let mut lines = BTreeSet::new();
    for message in pool.all_messages() {
        lines.insert(format!("message {}", message.full_name()));
        lines.extend(message.fields().map(|field| describe_field(&message, &field)));
    }
    for of in pool.all_enums() {
        lines.extend(
            of.values().map(|value| {
                format!("enum {} {} = {}", of.full_name(), value.name(), value.number())
            }),
        );
    }
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let stream = |yes| if yes { "stream " } else { "" };
        lines.insert(format!(
            "rpc /{}/{} {}{} -> {}{}",
            method.parent_service().full_name(),
            method.name(),
            stream(method.is_client_streaming()),
            method.input().full_name(),
            stream(method.is_server_streaming()),
            method.output().full_name(),
        ));
    }
    lines
}

fn describe_field(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(of) => of.full_name().to_owned(),
        Kind::Enum(of) => of.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    let of_message = matches!(field.kind(), Kind::Message(_));
    let before = match field.cardinality() {
        Cardinality::Repeated => "repeated ",
        _ if field.supports_presence() && !of_message && field.containing_oneof().is_none() => {
            "optional "
        }
        _ => "",
    };
    let packed = if field.is_packed() { " packed" } else { "" };
    let oneof =
        field.containing_oneof().map(|of| format!(" oneof {}", of.name())).unwrap_or_default();
    format!(
        "field {} {} = {} {before}{kind}{packed}{oneof}",
        message.full_name(),
        field.name(),
        field.number(),
    )
}
