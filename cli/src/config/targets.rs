//! `gateway.toml` of a gateway whose platform says everything but the targets.

use std::path::Path;

use adit_core::gateway::TargetRule;
use serde::Deserialize;

use super::toml_file::{self, Text};
use crate::exit::Failure;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetsToml {
    targets: Allow,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    allow: Vec<Text<TargetRule>>,
}

/// What such a file says.
#[derive(Debug)]
pub(crate) struct TargetsFile {
    /// The only targets that connectors may open.
    pub(crate) rules: Vec<TargetRule>,
}

impl TargetsFile {
    /// Reads `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        Self::parse(path, &toml_file::read(path)?)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let table: toml::Table = toml_file::parse(path, text)?;
        // A file from before the platform, say.
        if let Some(key) = table.keys().find(|key| *key != "targets") {
            let what =
                format!("{}: with a platform the file holds [targets] only, not `{key}`", path.display());
            return Err(Failure::config(what).next(
                "the platform says which relays, certificates and peers: leave the rest of the file out",
            ));
        }
        let file: TargetsToml = toml_file::parse(path, text)?;
        Ok(Self { rules: file.targets.allow.into_iter().map(|Text(rule)| rule).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TargetsFile, Failure> {
        TargetsFile::parse(Path::new("gateway.toml"), text)
    }

    #[test]
    fn it_holds_targets_and_nothing_else() {
        let file = parse("[targets]\nallow = ['tcp://db.internal:5432', 'tcp://10.0.0.0/8:*']").unwrap();
        assert_eq!(file.rules[1].to_string(), "tcp://10.0.0.0/8:*");
        let failure = parse("relays = []\n[targets]\nallow = []").unwrap_err();
        assert!(failure.what.contains("not `relays`"), "{failure}");
        assert!(parse("[targets]\nalow = []").unwrap_err().next.contains("`allow`"));
    }
}
