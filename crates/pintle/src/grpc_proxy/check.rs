//! What of the flags cannot be meant, in etcd's words and order.

use crate::command::Flags;
use crate::config::check::{tls_range, tls_version};

/// The first thing that is wrong with them.
pub(super) fn check(flags: &Flags) -> Result<(), String> {
    let (prefix, ttl) = (flags.text("resolver-prefix"), flags.int("resolver-ttl"));
    if !prefix.is_empty() && ttl < 1 {
        return Err(format!("invalid resolver-ttl {ttl}"));
    }
    if prefix.is_empty() && ttl > 0 {
        return Err(format!("invalid resolver-prefix {prefix:?}"));
    }
    if !prefix.is_empty() && flags.text("advertise-client-url").is_empty() {
        return Err("invalid advertise-client-url \"\"".to_owned());
    }
    if flags.switch("auto-tls") && flags.uint("self-signed-cert-validity") == 0 {
        return Err("selfSignedCertValidity is invalid,it should be greater than 0".to_owned());
    }
    let (min, max) = (flags.text("tls-min-version"), flags.text("tls-max-version"));
    for (name, version) in [("tls-min-version", min), ("tls-max-version", max)] {
        tls_version(version).map_err(|error| format!("{name} is invalid: {error}"))?;
    }
    let suites = flags.list("listen-cipher-suites");
    tls_range(min, max, !suites.is_empty())?;
    net::check_cipher_suites(suites)?;
    sizes(flags)?;
    not_built(flags)
}

fn sizes(flags: &Flags) -> Result<(), String> {
    let (sent, taken) = (flags.int("max-send-bytes"), flags.int("max-recv-bytes"));
    if taken > 0 && sent > taken {
        return Err(format!(
            "gRPC message recv limit ({taken} bytes) must be greater than send limit ({sent} bytes)"
        ));
    }
    Ok(())
}

/// A wish that cannot be fulfilled ends the start: whoever relies on it is to know.
fn not_built(flags: &Flags) -> Result<(), String> {
    let wishes = [
        ("experimental-leasing-prefix", !flags.text("experimental-leasing-prefix").is_empty()),
        ("experimental-enable-grpc-logging", flags.switch("experimental-enable-grpc-logging")),
    ];
    match wishes.iter().find(|(_, wished)| *wished) {
        Some((name, _)) => Err(format!("--{name} is not built in pintle; leave it out")),
        None => Ok(()),
    }
}
