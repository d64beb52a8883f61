//! The JSON of the gateway: what is read can be written, and reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::json::{Scanner, Style, method, read, write};

/// The first byte says which.
const CALLS: [&str; 6] = [
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Maintenance/Alarm",
    "/etcdserverpb.Auth/RoleGrantPermission",
];

fuzz_target!(|data: &[u8]| {
    let Some((which, text)) = data.split_first() else { return };
    let call = CALLS[usize::from(*which) % CALLS.len()];
    let schema = method(call).expect("it is a call").request;
    // Also what is no JSON must not make the reader panic.
    let mut wire = Vec::new();
    let is_read = read(schema, text, &mut wire).is_ok();
    let mut scanner = Scanner::new();
    let value = match scanner.feed(text) {
        Ok(Some(end)) => &text[..end],
        Ok(None) if scanner.end() == Ok(true) => text,
        _ => return,
    };
    // However it comes in, it ends where it ends.
    let mut by_bytes = Scanner::new();
    let ended = text.iter().position(|byte| by_bytes.feed(&[*byte]) != Ok(None));
    assert!(ended.is_none_or(|at| at == value.len() || at + 1 == value.len()));
    wire.clear();
    if read(schema, value, &mut wire).is_err() {
        // Spaces around a value are passed over.
        assert!(!is_read || value.len() != text.len());
        return;
    }
    let mut again = Vec::new();
    write(schema, &wire, Style::Html, &mut again).expect("it is what was read");
    let mut back = Vec::new();
    read(schema, &again, &mut back).expect("it is what was written");
    let mut twice = Vec::new();
    write(schema, &back, Style::Html, &mut twice).expect("it is what was read");
    assert_eq!(again, twice);
});
