//! `mvcc::KvFields::parse`, beside the general decoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::Message as _;
use proto::mvccpb::KeyValue;

fuzz_target!(|data: &[u8]| {
    let parsed = mvcc::KvFields::parse(data);
    let Ok(decoded) = KeyValue::decode(data) else { return };
    let fields = parsed.expect("what the general decoder reads is read");
    assert_eq!(fields.key, decoded.key);
    assert_eq!(fields.value, decoded.value);
    assert_eq!(
        (fields.create_revision, fields.mod_revision, fields.version, fields.lease),
        (decoded.create_revision, decoded.mod_revision, decoded.version, decoded.lease)
    );
    assert_eq!(fields.encode(), decoded.encode_to_vec());
});
