//! How the proxy speaks to members.

use std::time::Duration;

use client::{ChannelOptions, Tls};
use net::{ClientTls, TlsInfo};

use crate::bootstrap::Lookup;
use crate::command::{Flags, Stopped, discover};
use crate::logging::Logger;

const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// What etcd's clients send and take at most where nothing is said.
const SEND_BYTES: usize = 2 << 20;
const RECEIVE_BYTES: usize = i32::MAX as usize;

pub(super) async fn options<L: Lookup>(
    logger: &Logger,
    flags: &Flags,
    lookup: &L,
) -> Result<ChannelOptions, Stopped> {
    let discovered = discover(logger, flags, flags.text("cacert"), lookup).await?;
    let endpoints = match discovered.is_empty() {
        true => flags.list("endpoints").to_vec(),
        false => discovered.into_iter().map(|member| member.url).collect(),
    };
    let bytes = |name: &str, default: usize| match usize::try_from(flags.int(name)) {
        Ok(bytes) if bytes > 0 => bytes,
        _ => default,
    };
    Ok(ChannelOptions {
        endpoints,
        dial_timeout: DIAL_TIMEOUT,
        keepalive_time: flags.duration("dial-keepalive-time").to_std(),
        keepalive_timeout: flags.duration("dial-keepalive-timeout").to_std(),
        ping_idle: flags.switch("permit-without-stream"),
        tls: tls(logger, flags)?,
        send_bytes: bytes("max-send-bytes", SEND_BYTES),
        receive_bytes: bytes("max-recv-bytes", RECEIVE_BYTES),
    })
}

fn info(flags: &Flags) -> TlsInfo {
    TlsInfo {
        cert_file: flags.text("cert").to_owned(),
        key_file: flags.text("key").to_owned(),
        trusted_ca_file: flags.text("cacert").to_owned(),
        insecure_skip_verify: flags.switch("insecure-skip-tls-verify"),
        ..TlsInfo::default()
    }
}

/// Members may take the common name of a client's certificate for a user, and then all clients of
/// the proxy would be that one: a certificate that has one is refused.
fn tls(logger: &Logger, flags: &Flags) -> Result<Tls, Stopped> {
    let info = info(flags);
    let by_default =
        !info.is_empty() || !info.trusted_ca_file.is_empty() || info.insecure_skip_verify;
    if info.insecure_skip_verify {
        let message = "--insecure-skip-tls-verify was given, this grpc proxy process skips \
                       authentication of etcd server TLS certificates. This option should be \
                       enabled only for testing purposes.";
        logger.warn(message).send();
    }
    let client = ClientTls::new(&info, &["h2"]).map_err(Stopped::loudly)?;
    let name = client.common_name();
    if !name.is_empty() {
        let file = &info.cert_file;
        return Err(Stopped::loudly(format!("cert has non empty Common Name ({name}): {file}")));
    }
    if by_default {
        logger.info("gRPC proxy client TLS").text("tls-info", info.to_string()).send();
    }
    Ok(Tls { client: Some(client), by_default })
}

/// The same for plain HTTP.
pub(super) fn http_tls(flags: &Flags) -> Result<std::sync::Arc<ClientTls>, Stopped> {
    ClientTls::new(&info(flags), &[]).map_err(Stopped::loudly)
}
