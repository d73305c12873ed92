//! The `[identity]` of a file: our certificate and key, and whom we trust.

use std::path::{Path, PathBuf};

use adit_core::pki::{Anchors, AuthorityInfo, Certified, Expected, Name, Office, TrustDomain, pem};
use adit_core::time::UnixTime;
use serde::Deserialize;

use super::toml_file::Text;
use crate::exit::{Exit, Failure};
use crate::{files, when};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct IdentityToml {
    certificate: PathBuf,
    key: PathBuf,
    trust_anchor: Vec<PathBuf>,
}

/// What the file says about the two names that certificates must agree with; where it says nothing, our own
/// certificate does.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) organisation: Option<Text<Name>>,
    pub(super) trust_domain: Option<Text<TrustDomain>>,
}

/// Who we are and whom we believe.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) own: Certified,
    pub(crate) anchors: Anchors,
    pub(crate) expected: Expected,
    /// What was noticed that is no mistake yet.
    pub(super) warnings: Vec<String>,
    /// The authorities that we trust, with the files that they came from.
    pub(super) trusted: Vec<Trusted>,
}

/// A file and what the authority in it says, unless it is of unknown make.
pub(super) type Trusted = (PathBuf, Option<AuthorityInfo>);

impl Identity {
    /// Logs what was noticed that is no mistake yet.
    pub(crate) fn log_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

impl IdentityToml {
    /// Reads the files, whose paths are relative to `base`, for a machine whose certificate an authority of
    /// `office` issues.
    pub(super) fn load(&self, base: &Path, names: Names, office: Office) -> Result<Identity, Failure> {
        let own = self.own(base)?;
        check_role(&own, office)?;
        let expected = expected(&own, names)?;
        let (anchors, trusted) = self.trusted(base)?;
        let mut warnings: Vec<_> = files::exposed(&base.join(&self.key), "the key").into_iter().collect();
        check_dates(&own, when::now(), &mut warnings)?;
        check_trusted(&trusted, office, &expected, when::now())?;
        Ok(Identity { own, anchors, expected, warnings, trusted })
    }

    fn own(&self, base: &Path) -> Result<Certified, Failure> {
        let certificate = files::read(&base.join(&self.certificate), "the certificate")?;
        let key = files::read(&base.join(&self.key), "the key")?;
        Certified::from_pem(&certificate, &key).map_err(|error| {
            let (certificate, key) = (self.certificate.display(), self.key.display());
            Failure::new(Exit::Certificate, format!("{certificate} and {key} can't be used: {error}"))
                .next("issue a certificate with `adit ca issue`, and copy its .pem and .key together")
        })
    }

    fn trusted(&self, base: &Path) -> Result<(Anchors, Vec<Trusted>), Failure> {
        if self.trust_anchor.is_empty() {
            return Err(Failure::config("trust-anchor is empty, so nobody would be believed")
                .next("a gateway names connector-ca.pem there, a connector gateway-ca.pem"));
        }
        let (mut all, mut trusted) = (Vec::new(), Vec::new());
        for name in &self.trust_anchor {
            let bytes = files::read(&base.join(name), "the trust anchor")?;
            let certificates = pem::certificates(&bytes)
                .map_err(|error| Failure::config(format!("the trust anchor {}: {error}", name.display())))?;
            let read = |certificate| (name.clone(), AuthorityInfo::read(certificate).ok());
            trusted.extend(certificates.iter().map(read));
            all.extend(certificates);
        }
        let anchors = Anchors::new(&all)
            .map_err(|_| Failure::config("a trust anchor is no certificate that can be used"))?;
        Ok((anchors, trusted))
    }
}

fn check_role(own: &Certified, office: Office) -> Result<(), Failure> {
    let connects = own.identity().role.connects();
    if connects == (office == Office::Connector) {
        return Ok(());
    }
    let (is, should) = if connects { ("connector", "gateway") } else { ("gateway", "connector") };
    let what =
        format!("the certificate is a {is}'s ({}), and this is the file of a {should}", own.identity());
    Err(Failure::new(Exit::Certificate, what)
        .next(format!("issue one with: adit ca issue DIR {should} NAME")))
}

fn expected(own: &Certified, names: Names) -> Result<Expected, Failure> {
    let identity = own.identity();
    let differs = |what: &str, file: &str, certificate: &str| {
        Failure::new(
            Exit::Certificate,
            format!("the file says {what} `{file}`, but the certificate says `{certificate}`"),
        )
        .next("correct the file, or issue the certificate from that organisation's authorities")
    };
    if let Some(Text(organisation)) = names.organisation
        && organisation != identity.organisation
    {
        return Err(differs("organisation", organisation.as_str(), identity.organisation.as_str()));
    }
    if let Some(Text(domain)) = names.trust_domain
        && domain != identity.trust_domain
    {
        return Err(differs("trust-domain", domain.as_str(), identity.trust_domain.as_str()));
    }
    Ok(Expected { organisation: identity.organisation.clone(), trust_domain: identity.trust_domain.clone() })
}

fn check_dates(own: &Certified, now: UnixTime, warnings: &mut Vec<String>) -> Result<(), Failure> {
    let info = own.info();
    if now > info.not_after {
        let what = format!(
            "the certificate has expired on {} ({})",
            when::date(info.not_after),
            when::distance(now, info.not_after)
        );
        return Err(Failure::new(Exit::Certificate, what).next("issue a new one with `adit ca issue`"));
    }
    if now < info.not_before {
        let what = format!("the certificate is not valid before {}", when::date(info.not_before));
        return Err(Failure::new(Exit::Certificate, what).next("is this machine's clock right?"));
    }
    let left = info.not_after.0 - now.0;
    if left * 10 < info.not_after.0 - info.not_before.0 {
        warnings.push(format!("the certificate expires {}", when::distance(now, info.not_after)));
    }
    Ok(())
}

/// At least one anchor must be able to vouch for the other side.
fn check_trusted(
    trusted: &[Trusted],
    own: Office,
    expected: &Expected,
    now: UnixTime,
) -> Result<(), Failure> {
    let mut last = None;
    for (path, info) in trusted {
        match info.as_ref().map_or(Ok(()), |info| can_vouch(info, own, expected, now)) {
            Ok(()) => return Ok(()),
            Err(why) => last = Some(format!("trust-anchor {} {why}", path.display())),
        }
    }
    let (this, file) = match own {
        Office::Gateway => ("a gateway", "connector-ca.pem"),
        _ => ("a connector", "gateway-ca.pem"),
    };
    let what = last.unwrap_or_else(|| "there is no trust-anchor".into());
    Err(Failure::new(Exit::Certificate, what)
        .next(format!("{this} of {} trusts that organisation's {file}", expected.organisation)))
}

fn can_vouch(info: &AuthorityInfo, own: Office, expected: &Expected, now: UnixTime) -> Result<(), String> {
    if info.office == own {
        let kind = if own == Office::Gateway { "gateways" } else { "connectors" };
        return Err(format!("is the authority of {kind}, which can't vouch for the other side"));
    }
    if info.organisation != expected.organisation || info.trust_domain != expected.trust_domain {
        return Err(format!("belongs to `{}` of {}", info.organisation, info.trust_domain));
    }
    if now > info.not_after {
        return Err(format!("has expired on {}", when::date(info.not_after)));
    }
    Ok(())
}
