//! JSON of members: in conf changes, in the db file, in snapshot files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use state::{ConfChangeContext, Member, Roster, conf_state_from_json, conf_state_to_json};

fuzz_target!(|data: &[u8]| {
    if let Ok(member) = Member::from_json(data) {
        assert_eq!(Member::from_json(&member.to_json()).expect("ours is read"), member);
        // Whether the URLs are good is not asked here.
        let _ = state::check_peer_urls(&member.peer_urls);
    }
    if let Ok(context) = ConfChangeContext::from_json(data) {
        let again = ConfChangeContext::from_json(&context.to_json()).expect("ours is read");
        assert_eq!(again, context);
    }
    if let Ok(state) = conf_state_from_json(data) {
        let again = conf_state_from_json(&conf_state_to_json(&state)).expect("ours is read");
        assert_eq!(again, state);
    }
    if let Ok(roster) = Roster::from_v2_json(data) {
        let again = Roster::from_v2_json(&roster.to_v2_json()).expect("ours is read");
        assert_eq!(again.to_v2_json(), roster.to_v2_json());
    }
});
