//! `pintle gateway start`: forwards TCP connections to members, and never looks into them.
//!
//! Files in reading order: `mod`, `flags`, `endpoints`, `proxy`.

mod endpoints;
mod flags;
mod proxy;

use std::collections::HashSet;
use std::net::IpAddr;
use std::process::ExitCode;

use env::Random;
use tokio::net::TcpListener;

use crate::bootstrap::{Lookup, SystemNames};
use crate::command::{Flags, Stopped, reason};
use crate::logging::Logger;
use crate::notify;

use endpoints::{Endpoint, split_address};
pub(crate) use flags::COMMAND;
use proxy::Proxy;

/// Runs `gateway` with what stands behind it on the command line.
pub(crate) fn run(logger: &Logger, command_line: &[String], arguments: &[String]) -> ExitCode {
    let flags = match COMMAND.flags(arguments) {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    logger.info("Running: ").list("args", command_line).send();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Stopped::loudly(error).end(),
    };
    match runtime.block_on(start(logger, &flags, &SystemNames)) {
        Ok(never) => match never {},
        Err(stopped) => stopped.end(),
    }
}

async fn start<L: Lookup>(
    logger: &Logger,
    flags: &Flags,
    lookup: &L,
) -> Result<std::convert::Infallible, Stopped> {
    let endpoints = endpoints::all(logger, flags, lookup).await?;
    check_addresses(flags, &endpoints, lookup).await?;
    if endpoints.is_empty() {
        return Err(Stopped::Out("no endpoints found\n".to_owned()));
    }
    let listener = listen(flags.text("listen-addr")).await?;
    let chance = Random::from_machine().map_err(Stopped::loudly)?;
    notify::ready(logger);
    let proxy =
        Proxy::new(logger.clone(), endpoints, flags.duration("retry-delay").to_std(), chance);
    Ok(proxy.run(listener).await)
}

/// Who forwards to itself would do so for ever.
async fn check_addresses<L: Lookup>(
    flags: &Flags,
    endpoints: &[Endpoint],
    lookup: &L,
) -> Result<(), Stopped> {
    let listen = flags.text("listen-addr");
    let Some((host, port)) = split_address(listen) else {
        return Err(Stopped::Out(format!("failed to validate listen address: {listen}\n")));
    };
    let Some(ours) = addresses(host, lookup).await else {
        return Err(Stopped::Out(format!("failed to resolve listen host: {host}\n")));
    };
    for Endpoint { host, port: to, .. } in endpoints {
        let Some(theirs) = addresses(host, lookup).await else {
            return Err(Stopped::Out(format!("failed to resolve endpoint host: {host}\n")));
        };
        if to.to_string() != port {
            continue;
        }
        if let Some(same) = theirs.intersection(&ours).next() {
            return Err(Stopped::Out(format!(
                "SRV or endpoint ({host}:{to}->{same}:{to}) should not resolve to the gateway \
                 listen addr ({listen})\n"
            )));
        }
    }
    Ok(())
}

async fn addresses<L: Lookup>(host: &str, lookup: &L) -> Option<HashSet<IpAddr>> {
    let found = if host.is_empty() { None } else { lookup.addresses(host, 0).await.ok() };
    found.map(|found| found.iter().map(std::net::SocketAddr::ip).collect())
}

async fn listen(address: &str) -> Result<TcpListener, Stopped> {
    let (_, port) = split_address(address).unwrap_or_default();
    if port.parse::<u16>().is_err() {
        return Err(Stopped::loudly(format!("listen tcp: address {port}: invalid port")));
    }
    TcpListener::bind(address).await.map_err(|error| {
        let reason = reason(&error);
        Stopped::loudly(format!("listen tcp {address}: bind: {reason}"))
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use net::{DnsError, SrvRecord};

    use super::*;

    /// Knows the address of `here`, and a service.
    struct Names;

    impl Lookup for Names {
        async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            match host {
                "here" | "127.0.0.1" => Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]),
                _ => Err(io::Error::other("no such host")),
            }
        }

        async fn services(&self, name: &str) -> Result<Vec<SrvRecord>, DnsError> {
            match name {
                "_etcd-client-x._tcp.example" => Ok(vec![SrvRecord {
                    priority: 1,
                    weight: 2,
                    port: 7,
                    target: "here".to_owned(),
                }]),
                _ => Err(DnsError::Name(name.to_owned())),
            }
        }
    }

    fn stopped(arguments: &[&str]) -> Stopped {
        let arguments = ["start"].iter().chain(arguments);
        let arguments: Vec<String> = arguments.map(|&text| text.to_owned()).collect();
        let flags = COMMAND.flags(&arguments).expect("they are good");
        let (logger, _) = Logger::memory();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let started = runtime.expect("starts").block_on(start(&logger, &flags, &Names));
        match started {
            Ok(never) => match never {},
            Err(stopped) => stopped,
        }
    }

    #[test]
    fn what_cannot_work_is_told_as_by_etcd() {
        for (arguments, text) in [
            (&["--listen-addr=nonsense"][..], "failed to validate listen address: nonsense\n"),
            (&["--listen-addr=there:1"], "failed to resolve listen host: there\n"),
            (&["--endpoints=a"], "error parsing endpoint \"a\""),
            (&["--endpoints=there:2"], "failed to resolve endpoint host: there\n"),
            (
                &["--endpoints=http://here:23790"],
                "SRV or endpoint (here:23790->127.0.0.1:23790) should not resolve to the gateway \
                 listen addr (127.0.0.1:23790)\n",
            ),
            (&["--endpoints="], "no endpoints found\n"),
            (
                &[
                    "--discovery-srv=example",
                    "--discovery-srv-name=x",
                    "--insecure-discovery",
                    "--listen-addr=here:7",
                ],
                "SRV or endpoint (here:7->127.0.0.1:7) should not resolve to the gateway listen \
                 addr (here:7)\n",
            ),
        ] {
            assert_eq!(stopped(arguments), Stopped::Out(text.to_owned()), "{arguments:?}");
        }
        let refused = stopped(&["--discovery-srv=nowhere"]);
        let text = "dns lookup errors: lookup _etcd-client-ssl._tcp.nowhere: not a domain name and \
                    lookup _etcd-client._tcp.nowhere: not a domain name\n";
        assert_eq!(refused, Stopped::Err(text.to_owned()));
        let refused = stopped(&["--listen-addr=127.0.0.1:99999"]);
        let text = "listen tcp: address 99999: invalid port\n";
        assert_eq!(refused, Stopped::Err(text.to_owned()));
    }
}
