//! Members that do not know each other gather at a discovery service: any etcd, or pintle, that
//! somebody runs already.

use std::time::Duration;

use client::{Client, Error, User};
use net::{ClientTls, InitialCluster, TlsInfo};
use proto::etcdserverpb::RangeResponse;
use proto::mvccpb::{Event, KeyValue, event::EventType};

use super::registry::{Registered, member_key, members_prefix, size_key, text};
use crate::config;
use crate::logging::{Level, Line, Logger};

/// After so many doublings the pauses between tries are long enough.
const DOUBLINGS_MAX: u32 = 8;

/// What the service knows of the cluster that gathers.
struct Gathering {
    size: usize,
    registered: Registered,
    /// Up to which revision of the service that is.
    revision: i64,
}

/// Why there is nothing to go on with.
enum Problem {
    /// Nobody could say anything; somebody may, later.
    Unreachable,
    /// The service has said what no further try will change.
    Final(String),
}

/// As in etcd, an endpoint that names no scheme is dialled by TLS where anything is said of it, and
/// what is said counts whatever the default is.
fn tls(wish: &config::DiscoveryTls) -> Result<client::Tls, String> {
    let info = TlsInfo {
        cert_file: wish.cert.clone(),
        key_file: wish.key.clone(),
        trusted_ca_file: wish.cacert.clone(),
        insecure_skip_verify: wish.insecure_skip_verify,
        ..TlsInfo::default()
    };
    let by_default = !wish.insecure_transport || info != TlsInfo::default();
    let made = ClientTls::new(&info, &["h2"]).map_err(|error| error.to_string())?;
    Ok(client::Tls { client: Some(made), by_default })
}

/// A member that looks for others.
pub(super) struct Discovery<'a> {
    logger: &'a Logger,
    config: &'a config::Discovery,
    client: Client,
    /// Tries in a row that came to nothing.
    failures: u32,
}

impl<'a> Discovery<'a> {
    pub(super) fn new(logger: &'a Logger, config: &'a config::Discovery) -> Result<Self, String> {
        let options = client::Options {
            endpoints: config.endpoints.clone(),
            // As in etcd, none is no bound.
            dial_timeout: if config.dial_timeout.is_zero() {
                Duration::MAX
            } else {
                config.dial_timeout
            },
            request_timeout: config.request_timeout,
            keepalive_time: config.keepalive_time,
            keepalive_timeout: config.keepalive_timeout,
            user: user(&config.user, &config.password),
            tls: tls(&config.tls)?,
        };
        let client = Client::new(options).map_err(|error| error.to_string())?;
        Ok(Discovery { logger, config, client, failures: 0 })
    }

    /// Registers this member and waits until all that there shall be have done so: who they are.
    pub(super) async fn join(
        mut self,
        id: &str,
        own: &InitialCluster,
    ) -> Result<InitialCluster, String> {
        let joined = self.try_join(id, own).await;
        match &joined {
            Ok(cluster) => self
                .line(Level::Info, "discovery joined cluster successfully")
                .text("cluster", cluster.to_string())
                .send(),
            Err(error) => self
                .line(Level::Error, "discovery failed to join cluster")
                .text("cluster", "")
                .error(error)
                .send(),
        }
        joined
    }

    async fn try_join(&mut self, id: &str, own: &InitialCluster) -> Result<InitialCluster, String> {
        let key = member_key(&self.config.token, id);
        self.look(&key).await?;
        self.register(&key, &own.to_string()).await?;
        let mut gathering = self.look(&key).await?;
        while gathering.registered.len() < gathering.size {
            match self.wait(&mut gathering).await {
                Ok(()) => {}
                Err(problem) => {
                    self.pause_or_end("wait for peers", problem).await?;
                    gathering = self.look(&key).await?;
                }
            }
        }
        gathering.registered.cluster(gathering.size)
    }

    /// Who is there. Somebody for whom there is no room any more goes no further.
    async fn look(&mut self, key: &str) -> Result<Gathering, String> {
        loop {
            match self.try_look().await {
                Ok(gathering) if gathering.registered.is_full_without(key, gathering.size) => {
                    return Err("discovery: cluster is full".to_owned());
                }
                Ok(gathering) => return Ok(gathering),
                Err(problem) => self.pause_or_end("cluster status check", problem).await?,
            }
        }
    }

    async fn try_look(&mut self) -> Result<Gathering, Problem> {
        let key = size_key(&self.config.token);
        let answer = self.client.get(key.clone()).await;
        let message = "failed to get cluster size from discovery service";
        let answer = answer.map_err(|error| self.failed(message, "clusterSizeKey", &key, error))?;
        let Some(size) = answer.kvs.first() else {
            return Err(Problem::Final("discovery: size key not found".to_owned()));
        };
        let size = std::str::from_utf8(&size.value).ok().and_then(|size| size.parse().ok());
        let Some(size) = size.filter(|size| *size > 0) else {
            return Err(Problem::Final("discovery: size key is bad".to_owned()));
        };
        let prefix = members_prefix(&self.config.token);
        let answer = self.client.get_prefix(prefix.clone()).await;
        let message = "failed to get cluster members from discovery service";
        let RangeResponse { header, kvs, .. } =
            answer.map_err(|error| self.failed(message, "membersKeyPrefix", &prefix, error))?;
        self.failures = 0;
        let revision = header.map_or(0, |header| header.revision);
        let mut gathering = Gathering { size, registered: Registered::default(), revision };
        for kv in &kvs {
            self.add(&mut gathering.registered, kv);
        }
        Ok(gathering)
    }

    async fn register(&mut self, key: &str, urls: &str) -> Result<(), String> {
        loop {
            match self.client.put(key.to_owned(), urls.to_owned()).await {
                Ok(_) => break,
                Err(error) => {
                    let message = "failed to register members itself to the discovery service";
                    let problem = self.failed(message, "memberKey", key, error);
                    self.pause_or_end("register member itself", problem).await?;
                }
            }
        }
        self.failures = 0;
        self.line(Level::Info, "register member itself successfully")
            .text("memberKey", key)
            .text("memberInfo", urls)
            .send();
        Ok(())
    }

    /// Waits until enough have come.
    async fn wait(&mut self, gathering: &mut Gathering) -> Result<(), Problem> {
        let prefix = members_prefix(&self.config.token);
        self.tell_found("waiting for peers from discovery service", gathering);
        let message = "failed to watch cluster members in discovery service";
        let watch = self.client.watch_prefix(prefix.clone(), gathering.revision + 1).await;
        let mut watch =
            watch.map_err(|error| self.failed(message, "membersKeyPrefix", &prefix, error))?;
        self.failures = 0;
        while gathering.registered.len() < gathering.size {
            let events = watch.next().await;
            let events =
                events.map_err(|error| self.failed(message, "membersKeyPrefix", &prefix, error))?;
            for Event { r#type, kv, .. } in events {
                // Who has gone again was there, and the others have counted him.
                if r#type == EventType::Put as i32
                    && let Some(kv) = kv
                {
                    self.add(&mut gathering.registered, &kv);
                }
            }
        }
        self.tell_found("found all needed peers from discovery service", gathering);
        Ok(())
    }

    fn add(&self, registered: &mut Registered, kv: &KeyValue) {
        let line = match registered.add(&self.config.token, kv) {
            Ok(()) => self.line(Level::Info, "found peer from discovery service"),
            Err(problem) => self.line(Level::Warn, problem),
        };
        line.text("memberKey", text(&kv.key)).text("memberInfo", text(&kv.value)).send();
    }

    fn tell_found(&self, message: &str, gathering: &Gathering) {
        self.line(Level::Info, message)
            .value("clusterSize", gathering.size)
            .value("found-peers", gathering.registered.len())
            .send();
    }

    fn failed(&self, message: &str, field: &str, value: &str, error: Error) -> Problem {
        self.line(Level::Warn, message).text(field, value).error(&error).send();
        match error {
            Error::Login(_) => Problem::Final(error.to_string()),
            _ => Problem::Unreachable,
        }
    }

    async fn pause_or_end(&mut self, reason: &str, problem: Problem) -> Result<(), String> {
        if let Problem::Final(reason) = problem {
            return Err(reason);
        }
        self.failures = (self.failures + 1).min(DOUBLINGS_MAX);
        let pause = Duration::from_secs(1 << self.failures);
        self.line(Level::Warn, "retry connecting to discovery service")
            .text("reason", reason)
            .duration("backoff", pause)
            .send();
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn line<'l>(&'l self, level: Level, message: &'l str) -> Line<'l> {
        self.logger
            .line(level, message)
            .text("discovery-token", &self.config.token)
            .text("discovery-endpoints", self.config.endpoints.join(","))
    }
}

/// `name`, or `name:password` where no password stands elsewhere; nobody without a password.
fn user(name: &str, password: &str) -> Option<User> {
    let (name, password) = match name.split_once(':') {
        Some((name, with_it)) if password.is_empty() => (name, with_it),
        _ => (name, password),
    };
    let known = !name.is_empty() && !password.is_empty();
    known.then(|| User { name: name.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::{tls, user};
    use crate::config::DiscoveryTls;

    #[test]
    fn a_password_stands_behind_the_name_or_alone() {
        let told = |name, password| user(name, password).map(|user| (user.name, user.password));
        let some = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(told("root:a:b", ""), some("root", "a:b"));
        assert_eq!(told("root", "p"), some("root", "p"));
        assert_eq!(told("ro:om", "p"), some("ro:om", "p"));
        assert_eq!(told("root", ""), None);
        assert_eq!(told("", "p"), None);
    }

    #[test]
    fn whatever_is_said_of_tls_is_meant() {
        let plain = DiscoveryTls { insecure_transport: true, ..DiscoveryTls::default() };
        assert!(!tls(&plain).expect("nothing is asked for").by_default);
        let secure = DiscoveryTls::default();
        assert!(tls(&secure).expect("no file is needed").by_default);
        let skip = DiscoveryTls { insecure_skip_verify: true, ..plain.clone() };
        assert!(tls(&skip).expect("no file is needed").by_default);
        // The files are read although transport may be insecure, as it may by default.
        let cacert = DiscoveryTls { cacert: "/nowhere/ca.crt".to_owned(), ..plain };
        let refused = tls(&cacert).expect_err("there is no such file");
        assert!(refused.contains("/nowhere/ca.crt"), "{refused}");
    }
}
