//! Files that change while a member runs count from the next connection on.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use e2e::{Authority, Member, Scratch, Server};

use super::{authority, borrowed, client_flags, ctl};

#[test]
fn files_change_under_load_and_nobody_is_turned_away() {
    let (Some(pintle), Some(etcdctl)) = (Server::pintle(), e2e::peer("etcdctl")) else { return };
    let scratch = Scratch::new("tls-change");
    let authority = authority(scratch.path());
    authority.vouch("friend", 12).unwrap();
    let flags = client_flags(&authority);
    let member = Member::start(&pintle, scratch.path(), &borrowed(&flags)).unwrap();
    let asked = |authority: &Authority, name: &str| {
        ctl(&etcdctl, &member, authority, Some(name), &["put", "a", "b"], &scratch).code
    };
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(asked(&authority, "friend"), 0, "{}", member.log_tail());
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(asked(&authority, "client"), 0);
        // A new certificate, before its key, and with it.
        let next = Authority::new(&scratch.join("next")).unwrap();
        for serial in 20..23 {
            authority.vouch("server", serial).unwrap();
            assert_eq!(asked(&authority, "client"), 0);
        }
        // Revoked, and let in again.
        authority.revoke(&[11]).unwrap();
        assert_ne!(asked(&authority, "client"), 0);
        fs::write(authority.file("crl.der"), b"half").unwrap();
        assert_ne!(asked(&authority, "client"), 0, "what the list said before holds");
        authority.revoke(&[]).unwrap();
        assert_eq!(asked(&authority, "client"), 0);
        // Half a bundle changes nothing; a whole one with two authorities does.
        let whole = authority.pem();
        next.vouch("client", 30).unwrap();
        // It believes the member already.
        fs::write(next.file("ca.crt"), &whole).unwrap();
        let believed = authority.file("believed.crt");
        fs::write(&believed, &whole[..whole.len() / 2]).unwrap();
        assert_ne!(asked(&next, "client"), 0);
        assert_eq!(asked(&authority, "client"), 0, "what was believed before still is");
        fs::write(&believed, format!("{whole}{}", next.pem())).unwrap();
        assert_eq!(asked(&next, "client"), 0);
        assert_eq!(asked(&authority, "client"), 0);
        done.store(true, Ordering::Relaxed);
        load.join().unwrap();
    });
    assert!(count.load(Ordering::Relaxed) > 0);
    assert!(member.log().contains("cannot be used; what they said before holds"));
}
