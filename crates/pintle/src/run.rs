//! From a command line to an exit code.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use env::RealClock;
use net::{ClientTls, InitialCluster, TlsInfo};

use crate::bootstrap::{Failure, First};
use crate::config::check::{ADVERTISE_MISSING, Verdict, check};
use crate::config::{Config, Srv, start_line};
use crate::doors::Doors;
use crate::logging::{Level, LogConfig, Logger};
use crate::options::arguments::{Parsed, parse};
use crate::options::environment::{self, Notice, Refused};
use crate::options::file::{self, BadFile};
use crate::options::{Settings, help};
use crate::signals::{Termination, die_of};
use crate::{bootstrap, config, data_dir, doors, gateway, grpc_proxy, memory, version, wire};

/// How a member came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was told to, and has closed in order.
    Signal(Termination),
    /// It has no place in the cluster any more.
    Removed,
    /// It could not go on, since a disk did not do what it must.
    MemberFailed(anyhow::Error),
}

/// What the process was given.
#[derive(Debug)]
pub(crate) struct Given {
    /// With the program's name.
    pub(crate) arguments: Vec<String>,
    /// In the environment's order.
    pub(crate) variables: Vec<(String, String)>,
}

/// Requests larger than this are known to hurt.
const RECOMMENDED_REQUEST_BYTES: u64 = 10 * 1024 * 1024;
const FAILURE: u8 = 1;
const USAGE_ERROR: u8 = 2;

/// Runs the program.
pub(crate) fn run(given: &Given) -> ExitCode {
    let logger = Logger::early(Arc::new(RealClock::new()));
    if !version::is_supported(version::ARCH, &given.variables) {
        let message = "Refusing to run etcd on unsupported architecture since \
                       ETCD_UNSUPPORTED_ARCH is not set";
        logger.line(Level::Error, message).text("arch", version::ARCH).send();
        return FAILURE.into();
    }
    let arguments = given.arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        Some("gateway") => return gateway::run(&logger, &given.arguments, &arguments[1..]),
        Some("grpc-proxy") => return grpc_proxy::run(&logger, &arguments[1..]),
        _ => {}
    }
    match parse(arguments) {
        Parsed::Help => {
            eprintln!("{}", help::USAGE);
            print(&help::flags());
            ExitCode::SUCCESS
        }
        Parsed::Wrong(error) => {
            eprintln!("{error}\n{}", help::USAGE);
            USAGE_ERROR.into()
        }
        Parsed::Settings(settings, rest) => {
            if rest.is_empty() && settings.flag("version") {
                print(&version::text());
                return ExitCode::SUCCESS;
            }
            logger.install();
            match start(&logger, given, *settings, &rest) {
                Ok(ended) => end(&logger, ended),
                Err(Stopped) => FAILURE.into(),
            }
        }
    }
}

/// The start has failed, and the log says why.
struct Stopped;

fn start(
    logger: &Logger,
    given: &Given,
    settings: Settings,
    rest: &[String],
) -> Result<Ended, Stopped> {
    let settings = match rest.first() {
        Some(argument) => Err(format!("{argument:?} is not a valid flag")),
        None => read_everything(logger, given, settings)?,
    };
    let settings = settings.and_then(|settings| {
        logger.configure(&LogConfig::read(&settings)?)?;
        Ok(settings)
    });
    let verdict = match &settings {
        Ok(settings) => check(settings),
        Err(problem) => Verdict { problems: vec![problem.clone()], ..Verdict::default() },
    };
    for warning in &verdict.warnings {
        let line = logger.warn(warning.message);
        match &warning.field {
            Some((key, value)) => line.text(key, value).send(),
            None => line.send(),
        }
    }
    if let (Ok(settings), true) = (&settings, verdict.problems.is_empty())
        && let Some(path) = &settings.path
    {
        let message = "loaded server configuration, other configuration command line flags and \
                       environment variables will be ignored if provided";
        logger.info(message).text("path", path).send();
    }
    logger.info("Running: ").list("args", &given.arguments).send();
    for problem in &verdict.problems {
        logger.warn("failed to verify flags").error(problem).send();
        if problem == ADVERTISE_MISSING {
            logger.warn("advertise client URLs are not set").error(problem).send();
        }
    }
    match settings {
        Ok(settings) if verdict.problems.is_empty() => member(logger, &settings),
        _ => Err(Stopped),
    }
}

/// The file's settings, or else the environment's on top of the flags'. An inner error is a
/// problem like others; an outer one has ended the start.
fn read_everything(
    logger: &Logger,
    given: &Given,
    mut settings: Settings,
) -> Result<Result<Settings, String>, Stopped> {
    let variable = given.variables.iter().find(|(name, _)| name == "ETCD_CONFIG_FILE");
    let path = match settings.text("config-file") {
        path if path.is_empty() => variable.map(|found| found.1.clone()).unwrap_or_default(),
        path => path,
    };
    if !path.is_empty() {
        return read_file(&path);
    }
    let (notices, outcome) = environment::apply(&mut settings, &given.variables);
    for notice in notices {
        match notice {
            Notice::Special { key, value } => logger
                .warn("cannot set special environment variable")
                .text("key", key)
                .text("value", value)
                .send(),
            Notice::Used { name, value } => logger
                .info("recognized and used environment variable")
                .text("variable-name", name)
                .text("variable-value", value)
                .send(),
            Notice::Unknown(variable) => logger
                .warn("unrecognized environment variable")
                .text("environment-variable", variable)
                .send(),
        }
    }
    for name in ["raft-read-timeout", "raft-write-timeout"] {
        if outcome.is_ok() && settings.duration(name).to_std() < config::RAFT_TIMEOUT_MIN {
            logger.info(&format!("{name} increased to minimum value: 5s")).send();
        }
    }
    match outcome {
        Ok(()) => Ok(Ok(settings)),
        Err(Refused::Value(problem)) => Ok(Err(problem)),
        Err(Refused::Conflict(variable)) => {
            let message = "conflicting environment variable is shadowed by corresponding \
                           command-line flag (either unset environment variable or disable flag))";
            logger.line(Level::Fatal, message).text("environment-variable", variable).send();
            Err(Stopped)
        }
    }
}

fn read_file(path: &str) -> Result<Result<Settings, String>, Stopped> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Ok(Err(format!("open {path}: {}", data_dir::plain(&error)))),
    };
    match file::parse(&text) {
        Ok(mut settings) => {
            settings.path = Some(path.to_owned());
            Ok(Ok(settings))
        }
        Err(error @ BadFile::Urls { .. }) => {
            eprintln!("{error}");
            Err(Stopped)
        }
        Err(error) => Ok(Err(error.to_string())),
    }
}

fn member(logger: &Logger, settings: &Settings) -> Result<Ended, Stopped> {
    let directory = config::data_dir(settings);
    let shown = directory.display().to_string();
    let host = net::default_host();
    let config = Config::new(settings, host.as_ref().ok().copied());
    match (host, &config) {
        (Ok(host), Ok(config)) if config.advertise.host_used => {
            let host = host.to_string();
            logger.info("detected default host for advertise").text("host", host).send();
        }
        (Ok(_), _) => {}
        (Err(error), _) => logger.info("failed to detect default host").error(error).send(),
    }
    if settings.text("data-dir").is_empty() {
        logger.warn("'data-dir' was empty; using default").text("data-dir", &shown).send();
    }
    let kind = data_dir::identify(logger, &directory).map_err(|data_dir::Unusable| Stopped)?;
    let message = match kind {
        data_dir::Kind::Member => "server has already been initialized",
        data_dir::Kind::Empty => "Initialize and start etcd server",
    };
    logger.info(message).text("data-dir", shown).text("dir-type", kind.as_str()).send();
    let config = config.map_err(|error| failed(logger, &anyhow::Error::msg(error)))?;
    prepared(logger, &config).map_err(|error| match error.downcast_ref() {
        Some(failure @ Failure::Discovery(_)) => not_discovered(logger, &config, failure),
        _ => failed(logger, &error),
    })
}

/// In etcd's words, whatever the cause.
fn failed(logger: &Logger, error: &anyhow::Error) -> Stopped {
    logger.line(Level::Fatal, "discovery failed").error(format_args!("{error:#}")).send();
    Stopped
}

/// Again in etcd's words: they name the commonest cause.
fn not_discovered(logger: &Logger, config: &Config, failure: &Failure) -> Stopped {
    let discovery = &config.bootstrap.discovery;
    logger
        .warn("failed to bootstrap; discovery token was already used")
        .text("discovery-token", &discovery.token)
        .list("discovery-endpoints", &discovery.endpoints)
        .error(failure)
        .send();
    let message = "do not reuse discovery token; generate a new one to bootstrap a cluster";
    logger.warn(message).send();
    Stopped
}

/// From here on every failure is told in the same way.
fn prepared(logger: &Logger, config: &Config) -> anyhow::Result<Ended> {
    config.listen.check(&config.tls).map_err(anyhow::Error::msg)?;
    if config.storage.memory_mlock {
        memory::lock(logger)?;
    }
    let doors = Doors::bind(config, logger)?;
    tell_local_address(config, logger);
    let first = match has_log(&config.wal_path()) {
        true => None,
        false => Some(bootstrap::first_members(config, logger)?),
    };
    let dialer = dialer(config, first.as_ref(), &doors.peer_info)?;
    start_line::log(logger, config, first.as_ref());
    warn_of_large_requests(logger, config);
    let bootstrap = match &first {
        None => bootstrap::with_log(config, logger),
        Some(first) => Some(bootstrap::without_log(config, logger, &dialer, first)?),
    };
    wire::run_member(config, logger, doors, dialer, bootstrap)
}

/// How other members are reached.
fn dialer(config: &Config, first: Option<&First>, info: &TlsInfo) -> anyhow::Result<peer::Dialer> {
    let members = first.map(|first| &first.members);
    let info = believed_by_domain(config.bootstrap.srv.as_ref(), members, info.clone());
    let tls = Some(ClientTls::new(&info, &[])?);
    Ok(peer::Dialer { tls, local_address: config.member_local_address() })
}

/// Members that the DNS has named are believed for its domain, where no authority is said to vouch
/// for them.
fn believed_by_domain(
    srv: Option<&Srv>,
    members: Option<&InitialCluster>,
    mut info: TlsInfo,
) -> TlsInfo {
    if let (Some(srv), Some(members)) = (srv, members)
        && info.trusted_ca_file.is_empty()
        && members.to_string().contains("https://")
    {
        info.server_name = srv.domain.clone();
    }
    info
}

/// Where this member dials the others from, if that was asked for.
fn tell_local_address(config: &Config, logger: &Logger) {
    if !config.feature_gates.enabled(config::SET_MEMBER_LOCAL_ADDRESS) {
        return;
    }
    let urls = || doors::texts(&config.advertise.peer);
    let message = "searching for a suitable member local address in AdvertisePeerURLs";
    logger.info(message).list("advertise-peer-urls", urls()).send();
    match config.member_local_address() {
        Some(address) => logger
            .info("setting member local address")
            .text("LocalAddr", address.to_string())
            .send(),
        None => logger
            .warn("unable to set a member local address due to lack of suitable local addresses")
            .list("advertise-peer-urls", urls())
            .send(),
    }
}

fn warn_of_large_requests(logger: &Logger, config: &Config) {
    let bytes = config.limits.max_request_bytes;
    if bytes > RECOMMENDED_REQUEST_BYTES {
        logger
            .warn("exceeded recommended request limit")
            .value("max-request-bytes", bytes)
            .text("max-request-size", node::humane_bytes(bytes))
            .value("recommended-request-bytes", RECOMMENDED_REQUEST_BYTES)
            .text("recommended-request-size", node::humane_bytes(RECOMMENDED_REQUEST_BYTES))
            .send();
    }
}

/// A member is what has a log.
fn has_log(wal_dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(wal_dir) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|end| end == "wal"))
}

fn end(logger: &Logger, ended: Ended) -> ExitCode {
    match ended {
        Ended::Signal(signal) => die_of(signal),
        Ended::Removed => ExitCode::SUCCESS,
        Ended::MemberFailed(error) => {
            logger.line(Level::Fatal, "member failed").error(format_args!("{error:#}")).send();
            FAILURE.into()
        }
    }
}

#[expect(clippy::print_stdout, reason = "help and version are what the user asked for")]
pub(crate) fn print(text: &str) {
    print!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_the_dns_has_named_are_believed_for_its_domain() {
        let srv = Srv { domain: "example.com".to_owned(), name: String::new() };
        let members = |text| InitialCluster::parse(text).expect("it is good");
        let secure = members("a=http://10.0.0.1:2380,b=https://10.0.0.2:2380");
        let plain = members("a=http://10.0.0.1:2380");
        let vouched = TlsInfo { trusted_ca_file: "ca.crt".to_owned(), ..TlsInfo::default() };
        let nobody = TlsInfo::default();
        for (srv, members, info, name) in [
            (Some(&srv), Some(&secure), &nobody, "example.com"),
            (Some(&srv), Some(&plain), &nobody, ""),
            (Some(&srv), Some(&secure), &vouched, ""),
            // Who has a log did not ask the DNS.
            (Some(&srv), None, &nobody, ""),
            (None, Some(&secure), &nobody, ""),
        ] {
            let believed = believed_by_domain(srv, members, info.clone());
            assert_eq!(believed, TlsInfo { server_name: name.to_owned(), ..info.clone() });
        }
    }
}
