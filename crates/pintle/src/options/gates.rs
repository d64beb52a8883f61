//! Feature gates: switches that etcd gives a stage and a default each.

use std::collections::BTreeMap;
use std::fmt;

use super::number::parse_bool;

/// How far a feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Off unless asked for.
    Alpha,
    /// On unless asked not to.
    Beta,
}

impl Stage {
    /// The stage as the metric and the help spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
        }
    }
}

/// One gate.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) name: &'static str,
    pub(crate) stage: Stage,
    pub(crate) default: bool,
}

const fn alpha(name: &'static str) -> Gate {
    Gate { name, stage: Stage::Alpha, default: false }
}

const fn beta(name: &'static str) -> Gate {
    Gate { name, stage: Stage::Beta, default: true }
}

/// All gates of 3.7.1, by name.
pub(crate) const GATES: &[Gate] = &[
    alpha("AllAlpha"),
    Gate { name: "AllBeta", stage: Stage::Beta, default: false },
    alpha("CompactHashCheck"),
    beta("FastLeaseKeepAlive"),
    alpha("InitialCorruptCheck"),
    alpha("LeaseCheckpoint"),
    alpha("LeaseCheckpointPersist"),
    alpha("PriorityRequest"),
    alpha("SetMemberLocalAddr"),
    alpha("StopGRPCServiceOnDefrag"),
    beta("TxnModeWriteWithSharedBuffer"),
];

/// The gates that somebody set; all others have their default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FeatureGates {
    set: BTreeMap<&'static str, bool>,
}

/// Why a list of gates is refused, in etcd's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadGates {
    #[error("missing bool value for {0}")]
    MissingValue(String),
    #[error("invalid value of {0}={1}, err: strconv.ParseBool: parsing {1:?}: invalid syntax")]
    BadValue(String, String),
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
}

impl FeatureGates {
    /// Reads `Name=true,Other=false` on top of what is set already.
    pub(crate) fn with(&self, text: &str) -> Result<FeatureGates, BadGates> {
        let mut asked = Vec::new();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name.trim(), value.trim()),
                None => return Err(BadGates::MissingValue(item.trim().to_owned())),
            };
            let on = parse_bool(value)
                .ok_or_else(|| BadGates::BadValue(name.to_owned(), value.to_owned()))?;
            asked.push((name, on));
        }
        let mut gates = self.clone();
        let mut groups = Vec::new();
        for (name, on) in asked {
            let gate = GATES
                .iter()
                .find(|gate| gate.name == name)
                .ok_or_else(|| BadGates::Unknown(name.to_owned()))?;
            gates.set.insert(gate.name, on);
            match gate.name {
                "AllAlpha" => groups.push((Stage::Alpha, on)),
                "AllBeta" => groups.push((Stage::Beta, on)),
                _ => {}
            }
        }
        // A group sets what nobody named, wherever in the list it stands.
        for (stage, on) in groups {
            for gate in GATES.iter().filter(|gate| gate.stage == stage) {
                gates.set.entry(gate.name).or_insert(on);
            }
        }
        Ok(gates)
    }

    /// All gates: name, stage, and whether it is on.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        GATES.iter().map(|gate| (gate.name, gate.stage.as_str(), self.enabled(gate.name)))
    }

    /// Whether a feature is on.
    pub(crate) fn enabled(&self, name: &str) -> bool {
        let default = || GATES.iter().any(|gate| gate.name == name && gate.default);
        self.set.get(name).copied().unwrap_or_else(default)
    }
}

/// The gates that were set, as `Name=bool` sorted by name.
impl fmt::Display for FeatureGates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.set.iter().map(|(name, on)| format!("{name}={on}")).collect();
        f.write_str(&pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::FeatureGates;

    fn gates(text: &str) -> FeatureGates {
        FeatureGates::default().with(text).expect(text)
    }

    #[test]
    fn defaults_hold_until_a_gate_is_set() {
        let none = gates("");
        assert!(none.enabled("FastLeaseKeepAlive") && !none.enabled("LeaseCheckpoint"));
        assert_eq!(none.to_string(), "");
        let some = gates(" LeaseCheckpoint = true ,,FastLeaseKeepAlive=0");
        assert!(!some.enabled("FastLeaseKeepAlive") && some.enabled("LeaseCheckpoint"));
        assert_eq!(some.to_string(), "FastLeaseKeepAlive=false,LeaseCheckpoint=true");
    }

    #[test]
    fn a_group_sets_what_nobody_named() {
        let some = gates("AllAlpha=true,PriorityRequest=false");
        assert!(some.enabled("CompactHashCheck") && !some.enabled("PriorityRequest"));
        let beta = gates("AllBeta=false,FastLeaseKeepAlive=true");
        assert!(beta.enabled("FastLeaseKeepAlive"));
        assert!(!beta.enabled("TxnModeWriteWithSharedBuffer"));
    }

    #[test]
    fn mistakes_have_etcds_texts() {
        let cases = [
            ("X=true", "unrecognized feature gate: X"),
            ("LeaseCheckpoint", "missing bool value for LeaseCheckpoint"),
            (
                "LeaseCheckpoint=maybe",
                "invalid value of LeaseCheckpoint=maybe, err: strconv.ParseBool: parsing \
                 \"maybe\": invalid syntax",
            ),
        ];
        for (text, error) in cases {
            let found = FeatureGates::default().with(text).expect_err(text);
            assert_eq!(found.to_string(), error);
        }
    }
}
