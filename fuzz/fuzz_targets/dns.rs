//! Answers of name servers, to a question that was asked.
#![no_main]
#![allow(dead_code, reason = "of net's file the messages alone are of use here")]

use libfuzzer_sys::fuzz_target;
use net::SrvRecord;

/// As net has it.
const UDP_BYTES: u16 = 1232;
const ID: u16 = 0x1234;

#[path = "../../crates/net/src/dns/message.rs"]
mod message;

fuzz_target!(|data: &[u8]| {
    let query = message::Query::srv(ID, "_etcd-server._tcp.example.").expect("a name");
    // Its question stands at the front; the fuzzer need not find that out.
    let question = &query.bytes()[12..query.bytes().len() - 11];
    let Some((head, rest)) = data.split_first_chunk::<8>() else { return };
    let mut answer = ID.to_be_bytes().to_vec();
    answer.extend([head[0] | 0x80, head[1], 0, 1]);
    answer.extend(&head[2..]);
    answer.extend(question);
    answer.extend(rest);
    let _ = query.answer(data);
    if let Some(message::Answer::Records(records)) = query.answer(&answer) {
        assert!(!records.is_empty());
        assert!(records.iter().all(|record| !record.target.ends_with('.')));
        assert!(records.len() <= usize::from(u16::MAX));
    }
    // Any text may be asked for.
    if let Ok(name) = std::str::from_utf8(data) {
        let _ = message::Query::srv(ID, name);
    }
});
