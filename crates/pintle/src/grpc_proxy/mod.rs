//! `pintle grpc-proxy start`: serves the v3 API by asking members for it.
//!
//! What the proxy does is in the crate `proxy`; here are its flags, its doors and its end.
//!
//! Files in reading order: `mod`, `flags`, `check`, `members`, `doors`.

mod check;
mod doors;
mod flags;
mod members;

use std::process::ExitCode;
use std::time::Duration;

use api::{Keepalive, Server};
use proxy::{Options, Proxy, Registration};

use crate::bootstrap::SystemNames;
use crate::command::{Flags, Stopped};
use crate::logging::{Level, LogConfig, Logger};
use crate::notify;
use crate::signals::{Signals, Termination, die_of};

use doors::Doors;
pub(crate) use flags::COMMAND;

/// How long calls under way may take to end when the proxy stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Runs `grpc-proxy` with what stands behind it on the command line.
pub(crate) fn run(logger: &Logger, arguments: &[String]) -> ExitCode {
    let flags = match COMMAND.flags(arguments) {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    logger.install();
    match start(logger, &flags) {
        Ok(signal) => die_of(signal),
        Err(stopped) => stopped.end(),
    }
}

fn start(logger: &Logger, flags: &Flags) -> Result<Termination, Stopped> {
    check::check(flags).map_err(Stopped::loudly)?;
    let level = if flags.switch("debug") { Level::Debug } else { Level::Info };
    logger.configure(&LogConfig::to_stderr(level)).map_err(Stopped::loudly)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Stopped::loudly)?.block_on(serve(logger, flags))
}

async fn serve(logger: &Logger, flags: &Flags) -> Result<Termination, Stopped> {
    let doors = Doors::bind(logger, flags)?;
    let members = members::options(logger, flags, &SystemNames).await?;
    let proxy = Proxy::start(Options {
        members,
        sync_interval: flags.duration("endpoints-auto-sync-interval").to_std(),
        namespace: flags.text("namespace").to_owned(),
        ordering: flags.switch("experimental-serializable-ordering"),
        advertise_client_url: flags.text("advertise-client-url").to_owned(),
        registration: registration(flags),
        keepalive: keepalive(flags),
        pprof: flags.switch("enable-pprof"),
        metrics_tls: members::http_tls(flags)?,
    });
    let proxy = proxy.map_err(Stopped::loudly)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let server = Server::start(&proxy, cores, STOP_GRACE).map_err(Stopped::loudly)?;
    let mut signals = Signals::listen().map_err(Stopped::loudly)?;
    tokio::select! {
        signal = signals.wait(logger) => return Ok(signal),
        () = proxy.ready() => {}
    }
    doors.open(logger, flags, &server)?;
    let address = flags.text("listen-addr");
    logger.info("started gRPC proxy").text("address", address).send();
    notify::ready(logger);
    let signal = signals.wait(logger).await;
    // Calls that may still end need this runtime meanwhile.
    tokio::task::spawn_blocking(|| server.stop()).await.map_err(Stopped::loudly)?;
    let message = "stop listening gRPC proxy client requests";
    logger.info(message).text("address", address).send();
    Ok(signal)
}

fn registration(flags: &Flags) -> Option<Registration> {
    let prefix = flags.text("resolver-prefix");
    let wished = !prefix.is_empty();
    wished.then(|| Registration { prefix: prefix.to_owned(), ttl: flags.int("resolver-ttl") })
}

fn keepalive(flags: &Flags) -> Keepalive {
    Keepalive {
        min_time: flags.duration("grpc-keepalive-min-time").to_std(),
        interval: flags.duration("grpc-keepalive-interval").to_std(),
        timeout: flags.duration("grpc-keepalive-timeout").to_std(),
    }
}
