//! `--initial-cluster`: names of members and their peer URLs.

use std::collections::BTreeMap;
use std::fmt;

use crate::url::{BadUrl, Url};

/// Members by name, each with its peer URLs: `name=url,name=url`, a name as often as it has URLs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitialCluster {
    members: BTreeMap<String, Vec<Url>>,
}

impl InitialCluster {
    /// Reads `name=url,name=url`; empty items do not count.
    pub fn parse(text: &str) -> Result<InitialCluster, BadUrl> {
        let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (name, url) = item.split_once('=').unwrap_or((item, ""));
            members.entry(name.to_owned()).or_default().push(Url::parse(url)?);
        }
        for urls in members.values_mut() {
            urls.sort();
        }
        Ok(InitialCluster { members })
    }

    /// Each member's name and its peer URLs, sorted.
    pub fn members(&self) -> &BTreeMap<String, Vec<Url>> {
        &self.members
    }

    /// The peer URLs of one member.
    pub fn urls_of(&self, name: &str) -> Option<&[Url]> {
        self.members.get(name).map(Vec::as_slice)
    }
}

/// `name=url` pairs, sorted as texts.
impl fmt::Display for InitialCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs: Vec<String> = self
            .members
            .iter()
            .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")))
            .collect();
        pairs.sort();
        f.write_str(&pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::InitialCluster;

    #[test]
    fn members_gather_their_urls() {
        let text = "b=http://b:2380,a=http://a:2,a=http://a:1,";
        let cluster = InitialCluster::parse(text).expect("parses");
        assert_eq!(cluster.members().len(), 2);
        assert_eq!(cluster.urls_of("a").expect("is there").len(), 2);
        assert_eq!(cluster.urls_of("c"), None);
        assert_eq!(cluster.to_string(), "a=http://a:1,a=http://a:2,b=http://b:2380");
    }

    #[test]
    fn a_member_without_a_url_is_refused() {
        let error = InitialCluster::parse("a").expect_err("has no URL").to_string();
        assert_eq!(error, "URL scheme must be http, https, unix, or unixs: ");
    }

    #[test]
    fn nothing_is_an_empty_cluster() {
        assert!(InitialCluster::parse("").expect("parses").members().is_empty());
    }
}
