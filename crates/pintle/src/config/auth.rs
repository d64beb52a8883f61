//! `--auth-token` and what belongs to it, taken apart as etcd does: wrong ones stop the start, with
//! a line that says why and a short error.

use std::collections::BTreeMap;
use std::time::Duration;

use api::{AuthError, JwtOptions, TokenOptions};

use crate::options::Settings;
use crate::options::number::GoDuration;

/// How long a simple token holds where nobody says so.
const DEFAULT_SIMPLE_TTL: Duration = Duration::from_secs(300);
/// How long a signed one does.
const DEFAULT_JWT_TTL: Duration = Duration::from_secs(300);

/// Who callers are, and how they show it.
#[derive(Debug, Clone)]
pub(crate) struct Auth {
    pub(crate) token: String,
    pub(crate) token_ttl: Duration,
    pub(crate) bcrypt_cost: u64,
    pub(crate) client_cert_auth: bool,
}

impl Auth {
    pub(crate) fn new(settings: &Settings) -> Self {
        let token_ttl = Duration::from_secs(settings.uint("auth-token-ttl"));
        Self {
            token: settings.text("auth-token"),
            token_ttl: super::or(token_ttl, DEFAULT_SIMPLE_TTL),
            bcrypt_cost: settings.uint("bcrypt-cost"),
            client_cert_auth: settings.flag("client-cert-auth"),
        }
    }

    /// How long simple tokens hold; `None` where tokens are of another kind.
    pub(crate) fn simple_token_ttl(&self) -> Option<Duration> {
        (self.kind() == "simple").then_some(self.token_ttl)
    }

    fn kind(&self) -> &str {
        self.token.split(',').next().unwrap_or_default()
    }

    /// The kind of tokens, with the keys read.
    pub(crate) fn tokens(&self) -> Result<TokenOptions, AuthError> {
        let options = self.options()?;
        match self.kind() {
            "simple" => Ok(TokenOptions::Simple),
            "" => Ok(TokenOptions::Nothing),
            "jwt" => match jwt(&options) {
                Ok(options) => Ok(TokenOptions::Jwt(options)),
                Err(error) => {
                    tracing::error!(error, "problem loading JWT options");
                    Err(AuthError::Options)
                }
            },
            unknown => {
                let error = AuthError::Options;
                tracing::warn!("type" = unknown, %error, "unknown token type");
                Err(error)
            }
        }
    }

    fn options(&self) -> Result<BTreeMap<&str, &str>, AuthError> {
        let invalid = || {
            tracing::error!(option = self.token, "invalid token option");
            AuthError::Options
        };
        let mut options = BTreeMap::new();
        for option in self.token.split(',').skip(1) {
            let pair = option.split_once('=').filter(|(_, value)| !value.contains('='));
            let (name, value) = pair.ok_or_else(invalid)?;
            if options.insert(name, value).is_some() {
                return Err(invalid());
            }
        }
        Ok(options)
    }
}

fn jwt(options: &BTreeMap<&str, &str>) -> Result<JwtOptions, String> {
    let known = ["sign-method", "pub-key", "priv-key", "ttl"];
    let unknown: Vec<_> = options.keys().filter(|name| !known.contains(name)).copied().collect();
    let value = |name: &str| options.get(name).copied().filter(|value| !value.is_empty());
    let ttl = match value("ttl") {
        Some(text) => GoDuration::parse(text).map_err(|error| error.to_string())?.to_std(),
        None => DEFAULT_JWT_TTL,
    };
    let read = |name: &str| match value(name) {
        Some(path) => std::fs::read(path).map_err(|error| format!("open {path}: {error}")),
        None => Ok(Vec::new()),
    };
    let (public_key, private_key) = (read("pub-key")?, read("priv-key")?);
    if !unknown.is_empty() {
        tracing::warn!(keys = unknown.join(","), "unknown JWT options");
    }
    let sign_method = options.get("sign-method").copied().unwrap_or_default().to_owned();
    Ok(JwtOptions { sign_method, public_key, private_key, ttl })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(token: &str) -> Auth {
        let (token_ttl, bcrypt_cost) = (DEFAULT_SIMPLE_TTL, 10);
        Auth { token: token.to_owned(), token_ttl, bcrypt_cost, client_cert_auth: false }
    }

    #[test]
    fn only_what_etcd_takes_is_taken() {
        for bad in [
            "none",
            "simple,a",
            "simple,a=b=c",
            "simple,a=b,a=c",
            "jwt,sign-method=HS256,ttl=x",
            "jwt,sign-method=HS256,priv-key=/nowhere/at/all",
        ] {
            assert_eq!(auth(bad).tokens().err(), Some(AuthError::Options), "{bad}");
        }
        assert!(matches!(auth("simple,a=b").tokens(), Ok(TokenOptions::Simple)));
        assert!(matches!(auth("").tokens(), Ok(TokenOptions::Nothing)));
        let Ok(TokenOptions::Jwt(options)) = auth("jwt,sign-method=HS256,ttl=1m30s").tokens()
        else {
            panic!("this is fine")
        };
        assert_eq!((options.sign_method.as_str(), options.ttl.as_secs()), ("HS256", 90));
    }

    #[test]
    fn only_simple_tokens_are_remembered() {
        assert_eq!(auth("simple").simple_token_ttl(), Some(DEFAULT_SIMPLE_TTL));
        assert_eq!(auth("jwt,sign-method=HS256").simple_token_ttl(), None);
        assert_eq!(auth("").simple_token_ttl(), None);
    }
}
