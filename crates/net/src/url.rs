//! URLs as etcd takes them: `http`, `https`, `unix` and `unixs`.
//!
//! The grammar and the error texts are those of Go's `net/url`, because operators and their
//! scripts meet these texts: `127.0.0.1:2379` without a scheme is the commonest mistake of all.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::escape::{Piece, escape, escape_as_written, unescape};

/// How a door is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// TCP, in the clear.
    Http,
    /// TCP with TLS.
    Https,
    /// A unix socket, in the clear.
    Unix,
    /// A unix socket with TLS.
    Unixs,
}

impl Scheme {
    /// The scheme's name as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        }
    }

    /// Whether connections are encrypted.
    pub fn is_secure(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Unixs)
    }

    /// Whether the address is a file in place of a host and a port.
    pub fn is_unix(self) -> bool {
        matches!(self, Scheme::Unix | Scheme::Unixs)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not a usable URL; the texts are etcd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// The text is no URL at all.
    #[error("parse {url:?}: {reason}")]
    Syntax {
        /// The text, without its fragment.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A scheme that nobody listens on.
    #[error("URL scheme must be http, https, unix, or unixs: {0}")]
    Scheme(String),
    /// An http or https URL without a port.
    #[error("URL address does not have the form \"host:port\": {0}")]
    NoPort(String),
    /// An http or https URL with a path.
    #[error("URL must not contain a path: {0}")]
    Path(String),
}

/// One address to listen on or to tell others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    // First, so that the derived order is the order of the texts.
    text: String,
    scheme: Scheme,
    host: String,
    path: String,
}

impl Url {
    /// Reads one URL; white space around it does not count.
    pub fn parse(input: &str) -> Result<Url, BadUrl> {
        let input = input.trim();
        let parts = Parts::split(input)?;
        let scheme = match parts.scheme.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(BadUrl::Scheme(input.to_owned())),
        };
        if !scheme.is_unix() {
            if split_host_port(&parts.host).is_none() {
                return Err(BadUrl::NoPort(input.to_owned()));
            }
            if !parts.path.is_empty() {
                return Err(BadUrl::Path(input.to_owned()));
            }
        }
        let text = parts.text();
        Ok(Url { text, scheme, host: parts.host, path: parts.path })
    }

    /// The same URL with another host and port, as when the machine's own name is filled in.
    pub fn with_host_port(&self, host: &str, port: &str) -> Result<Url, BadUrl> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Url::parse(&format!("{}://{host}:{port}", self.scheme))
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `host:port` for TCP, the socket's file for a unix socket.
    pub fn address(&self) -> String {
        match self.scheme {
            Scheme::Http | Scheme::Https => self.host.clone(),
            Scheme::Unix | Scheme::Unixs => format!("{}{}", self.host, self.path),
        }
    }

    /// The host without port and brackets; empty when the URL has none.
    pub fn hostname(&self) -> &str {
        split_host_port(&self.host).map_or(self.host.as_str(), |(host, _)| host)
    }

    /// The port's digits; empty when the URL has none.
    pub fn port(&self) -> &str {
        split_host_port(&self.host).map_or("", |(_, port)| port)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads a list of URLs separated by commas and sorts it by text. Duplicates stay.
pub fn parse_urls(list: &str) -> Result<Vec<Url>, BadUrl> {
    let mut urls = list.split(',').map(Url::parse).collect::<Result<Vec<_>, _>>()?;
    urls.sort();
    Ok(urls)
}

/// Splits `host:port` and `[v6]:port`; `None` when it has another form.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let clean = |part: &str| !part.contains(['[', ']']);
    (clean(host) && clean(port)).then_some((host, port))
}

/// A URL taken apart, before anything is asked of it.
#[derive(Default)]
struct Parts {
    scheme: String,
    /// What follows `scheme:` when it does not begin with a slash.
    opaque: String,
    /// The path begins right behind `scheme:`.
    omit_host: bool,
    user: Option<User>,
    host: String,
    path: String,
    written_path: String,
    query: Option<String>,
    /// As it was written, and what that means.
    fragment: Option<(String, String)>,
}

/// What stands before the `@`.
struct User {
    name: String,
    password: Option<String>,
}

impl Parts {
    fn split(input: &str) -> Result<Parts, BadUrl> {
        let (url, fragment) = cut(input, '#');
        let mut parts = Parts::before_fragment(url)?;
        if let Some(written) = fragment.filter(|text| !text.is_empty()) {
            let fragment = unescape(written, Piece::Fragment);
            let fragment =
                fragment.map_err(|reason| BadUrl::Syntax { url: input.to_owned(), reason })?;
            parts.fragment = Some((written.to_owned(), fragment));
        }
        Ok(parts)
    }

    fn before_fragment(url: &str) -> Result<Parts, BadUrl> {
        let wrap = |reason: String| BadUrl::Syntax { url: url.to_owned(), reason };
        if url.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(wrap("net/url: invalid control character in URL".to_owned()));
        }
        let (scheme, rest) = split_scheme(url).map_err(wrap)?;
        let (rest, query) = cut(rest, '?');
        let mut parts = Parts {
            scheme: scheme.to_ascii_lowercase(),
            query: query.map(str::to_owned),
            ..Parts::default()
        };
        if !rest.starts_with('/') {
            if !parts.scheme.is_empty() {
                parts.opaque = rest.to_owned();
                return Ok(parts);
            }
            if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err(wrap("first path segment in URL cannot contain colon".to_owned()));
            }
        }
        let mut path = rest;
        if let Some(after) = rest.strip_prefix("//")
            && (!parts.scheme.is_empty() || !after.starts_with('/'))
        {
            let end = after.find('/').unwrap_or(after.len());
            let (authority, tail) = after.split_at(end);
            let (user, host) = match authority.rsplit_once('@') {
                Some((user, host)) => (Some(user), host),
                None => (None, authority),
            };
            parts.host = host_of(&parts.scheme, host).map_err(wrap)?;
            parts.user = user.map(User::parse).transpose().map_err(wrap)?;
            path = tail;
        } else {
            parts.omit_host = true;
        }
        parts.path = unescape(path, Piece::Path).map_err(wrap)?;
        path.clone_into(&mut parts.written_path);
        Ok(parts)
    }

    /// What Go's `URL.String` makes of it.
    fn text(&self) -> String {
        let mut text = format!("{}:", self.scheme);
        if self.opaque.is_empty() {
            self.push_hierarchy(&mut text);
        } else {
            text.push_str(&self.opaque);
        }
        if let Some(query) = &self.query {
            text.push('?');
            text.push_str(query);
        }
        if let Some((written, fragment)) = &self.fragment {
            text.push('#');
            text.push_str(&escape_as_written(written, fragment, Piece::Fragment));
        }
        text
    }

    fn push_hierarchy(&self, text: &mut String) {
        let empty = self.host.is_empty() && self.user.is_none();
        if !(empty && (self.omit_host || self.path.is_empty())) {
            text.push_str("//");
        }
        if let Some(user) = &self.user {
            text.push_str(&escape(&user.name, Piece::User));
            if let Some(password) = &user.password {
                text.push(':');
                text.push_str(&escape(password, Piece::User));
            }
            text.push('@');
        }
        text.push_str(&escape(&self.host, Piece::Host));
        text.push_str(&escape_as_written(&self.written_path, &self.path, Piece::Path));
    }
}

impl User {
    fn parse(text: &str) -> Result<User, String> {
        let valid =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
        if !text.bytes().all(valid) {
            return Err("net/url: invalid userinfo".to_owned());
        }
        let (name, password) = cut(text, ':');
        let password = password.map(|password| unescape(password, Piece::User)).transpose()?;
        Ok(User { name: unescape(name, Piece::User)?, password })
    }
}

fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn split_scheme(url: &str) -> Result<(&str, &str), String> {
    for (at, byte) in url.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&url[..at], &url[at + 1..])),
            _ => break,
        }
    }
    Ok(("", url))
}

fn host_of(scheme: &str, host: &str) -> Result<String, String> {
    match host.rfind('[') {
        Some(0) => bracketed_host(host),
        Some(_) => Err("invalid IP-literal".to_owned()),
        None => {
            let strict = matches!(scheme, "http" | "https");
            let colon = if strict { host.find(':') } else { host.rfind(':') };
            if let Some(colon) = colon {
                check_port(&host[colon..])?;
            }
            unescape(host, Piece::Host)
        }
    }
}

fn bracketed_host(host: &str) -> Result<String, String> {
    let Some((inner, port)) = host[1..].rsplit_once(']') else {
        return Err("missing ']' in host".to_owned());
    };
    check_port(port)?;
    let inner = unescape(inner, Piece::Host)?;
    let address = inner.split('%').next().unwrap_or_default();
    if address.parse::<Ipv4Addr>().is_ok() {
        return Err("invalid IP-literal".to_owned());
    }
    if address.parse::<Ipv6Addr>().is_err() {
        return Err(format!("invalid host: ParseAddr({inner:?}): unable to parse IP"));
    }
    Ok(format!("[{inner}]{port}"))
}

/// `""` or a colon and digits, of which there may be none.
fn check_port(text: &str) -> Result<(), String> {
    let digits = match text.strip_prefix(':') {
        Some(digits) => digits,
        None if text.is_empty() => return Ok(()),
        None => "x",
    };
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(format!("invalid port {text:?} after host"))
}

#[cfg(test)]
mod tests {
    use super::{Scheme, Url, parse_urls};

    fn error(input: &str) -> String {
        Url::parse(input).expect_err(input).to_string()
    }

    #[test]
    fn mistakes_get_the_texts_that_operators_know() {
        let cases = [
            (
                "127.0.0.1:2379",
                "parse \"127.0.0.1:2379\": first path segment in URL cannot contain colon",
            ),
            (":2379", "parse \":2379\": missing protocol scheme"),
            ("localhost:2379", "URL scheme must be http, https, unix, or unixs: localhost:2379"),
            ("", "URL scheme must be http, https, unix, or unixs: "),
            ("ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1"),
            (
                "http://localhost",
                "URL address does not have the form \"host:port\": http://localhost",
            ),
            ("http:", "URL address does not have the form \"host:port\": http:"),
            ("http://a:1/", "URL must not contain a path: http://a:1/"),
            ("http://a:1/x", "URL must not contain a path: http://a:1/x"),
            (
                "http://localhost:bad",
                "parse \"http://localhost:bad\": invalid port \":bad\" after host",
            ),
            ("http://::1:2379", "parse \"http://::1:2379\": invalid port \"::1:2379\" after host"),
            ("http://[::1", "parse \"http://[::1\": missing ']' in host"),
            ("http://[1.2.3.4]:1", "parse \"http://[1.2.3.4]:1\": invalid IP-literal"),
            ("http://[::1]x", "parse \"http://[::1]x\": invalid port \"x\" after host"),
            ("http://a b:1", "parse \"http://a b:1\": invalid character \" \" in host name"),
            ("http://a%zz:1", "parse \"http://a%zz:1\": invalid URL escape \"%zz\""),
            ("http://a\t:1", "parse \"http://a\\t:1\": net/url: invalid control character in URL"),
        ];
        for (input, text) in cases {
            assert_eq!(error(input), text, "{input}");
        }
    }

    #[test]
    fn parts_are_found_and_the_text_stays() {
        let cases = [
            ("http://localhost:2379", "localhost:2379", "localhost", "2379"),
            (" HTTPS://[::1]:2380 ", "[::1]:2380", "::1", "2380"),
            ("http://:2379", ":2379", "", "2379"),
            ("unix://localhost:123", "localhost:123", "localhost", "123"),
            ("unix:///run/etcd.sock", "/run/etcd.sock", "", ""),
            ("unixs://dir/file:1", "dir/file:1", "dir", ""),
            ("unix:/run/x", "/run/x", "", ""),
            ("http://[fe80::1%25eth0]:1", "[fe80::1%eth0]:1", "fe80::1%eth0", "1"),
            ("http://me:secret@a:1?b#c", "a:1", "a", "1"),
        ];
        for (input, address, host, port) in cases {
            let url = Url::parse(input).expect(input);
            assert_eq!(url.address(), address, "{input}");
            assert_eq!((url.hostname(), url.port()), (host, port), "{input}");
            let text = input.trim().replace("HTTPS", "https");
            assert_eq!(url.as_str(), text, "{input}");
        }
        assert_eq!(Url::parse("unixs://a").expect("parses").scheme(), Scheme::Unixs);
    }

    /// The texts are those of Go's `URL.String`.
    #[test]
    fn what_is_escaped_stays_escaped_in_the_text() {
        let cases = [
            ("unix:///a b", "unix:///a%20b"),
            ("unix:///a%01b", "unix:///a%01b"),
            ("unix:///a%2fb", "unix:///a%2fb"),
            ("unix:///a%2Fb c", "unix:///a/b%20c"),
            ("unix://ä/ö", "unix://%C3%A4/%C3%B6"),
            ("http://ä:1", "http://%C3%A4:1"),
            ("http://m%2fe:s%40@a:1?b#c d", "http://m%2Fe:s%40@a:1?b#c%20d"),
            ("http://a@b@c:1", "http://a%40b@c:1"),
            ("unix:///x?", "unix:///x?"),
            ("unix:///x#", "unix:///x"),
            ("unix:///x#a%20b", "unix:///x#a%20b"),
            ("unix:/x y", "unix:/x%20y"),
            ("unix://", "unix:"),
            ("unix:///a[b]", "unix:///a[b]"),
            ("unix:///%41!", "unix:///%41!"),
            ("unix:///a:b@c?d e", "unix:///a:b@c?d e"),
            ("unix:a b?#c", "unix:a b?#c"),
            ("unix:////a", "unix:////a"),
            ("http://:%73@a:1", "http://:s@a:1"),
            ("http://@a:1", "http://@a:1"),
            ("http://u:@a:1", "http://u:@a:1"),
            ("http://[fe80::1%25eth0]:1", "http://[fe80::1%25eth0]:1"),
            ("unix:#/x", "unix:#/x"),
            ("unixs://ua=thtp://anuunixs:%01劑", "unixs://ua=thtp://anuunixs:%01%E5%8A%91"),
        ];
        for (input, text) in cases {
            let url = Url::parse(input).expect(input);
            assert_eq!(url.as_str(), text, "{input}");
            assert_eq!(Url::parse(text).expect(text).as_str(), text, "{input}");
        }
        let bad = "parse \"unix:///x#%zz\": invalid URL escape \"%zz\"";
        assert_eq!(error("unix:///x#%zz"), bad);
        assert_eq!(error("unix://u<@/a"), "parse \"unix://u<@/a\": net/url: invalid userinfo");
    }

    #[test]
    fn lists_are_sorted_by_text_and_keep_duplicates() {
        let urls = parse_urls("http://b:2, http://a:1,http://b:2").expect("parses");
        let texts: Vec<_> = urls.iter().map(Url::as_str).collect();
        assert_eq!(texts, ["http://a:1", "http://b:2", "http://b:2"]);
        assert!(parse_urls("").is_err());
    }

    #[test]
    fn another_host_keeps_the_scheme() {
        let url = Url::parse("http://localhost:2379").expect("parses");
        let v4 = url.with_host_port("10.0.0.7", "2379").expect("parses");
        assert_eq!(v4.as_str(), "http://10.0.0.7:2379");
        let v6 = url.with_host_port("fd00::7", "2379").expect("parses");
        assert_eq!(v6.as_str(), "http://[fd00::7]:2379");
    }
}
