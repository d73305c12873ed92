//! Names of the parts, as they stand in certificates: one form and one parser for all of them.
//!
//! `spiffe://<trust domain>/org/<organisation>/` followed by one of `gateway/<gateway>/<instance>`,
//! `platform/<instance>`, `person/<identity>`, `connector/<id>`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest [`Name`], in bytes; also the bound of a common name (RFC 5280, appendix A.1).
pub const MAX_NAME: usize = 64;

/// The longest [`TrustDomain`], in bytes.
pub const MAX_TRUST_DOMAIN: usize = 255;

/// Who the holder of a certificate is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The installation that the name belongs to.
    pub trust_domain: TrustDomain,
    /// The organisation within it.
    pub organisation: Name,
    /// What the holder is there.
    pub role: Role,
}

/// What a certificate's holder is within its organisation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// One running instance of a gateway.
    Gateway {
        /// The gateway that it is an instance of.
        gateway: Name,
        /// The instance; `0` without a platform.
        instance: Name,
    },
    /// One instance of the platform, which dials gateways for every project.
    Platform {
        /// The instance.
        instance: Name,
    },
    /// A person with a certificate that names the targets.
    Person {
        /// The person's identity.
        identity: Name,
    },
    /// A connector without a platform.
    Connector {
        /// The connector.
        id: Name,
    },
}

impl Role {
    /// Whether the holder dials gateways, rather than being one.
    pub fn connects(&self) -> bool {
        !matches!(self, Self::Gateway { .. })
    }

    /// The name by which people know the holder: that of the gateway, instance, person or connector.
    pub fn name(&self) -> &Name {
        match self {
            Self::Gateway { gateway: name, .. }
            | Self::Platform { instance: name }
            | Self::Person { identity: name }
            | Self::Connector { id: name } => name,
        }
    }
}

impl FromStr for Identity {
    type Err = BadIdentity;

    fn from_str(uri: &str) -> Result<Self, BadIdentity> {
        let rest = uri.strip_prefix("spiffe://").ok_or(BadIdentity::Scheme)?;
        let (domain, path) = rest.split_once('/').ok_or(BadIdentity::Path)?;
        let trust_domain = domain.parse()?;
        let segments: Vec<&str> = path.split('/').take(6).collect();
        let ["org", organisation, role @ ..] = segments.as_slice() else { return Err(BadIdentity::Path) };
        let role = match *role {
            ["gateway", gateway, instance] => {
                Role::Gateway { gateway: gateway.parse()?, instance: instance.parse()? }
            }
            ["platform", instance] => Role::Platform { instance: instance.parse()? },
            ["person", identity] => Role::Person { identity: identity.parse()? },
            ["connector", id] => Role::Connector { id: id.parse()? },
            _ => return Err(BadIdentity::Path),
        };
        Ok(Self { trust_domain, organisation: organisation.parse()?, role })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/org/{}/{}", self.trust_domain, self.organisation, self.role)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway { gateway, instance } => write!(f, "gateway/{gateway}/{instance}"),
            Self::Platform { instance } => write!(f, "platform/{instance}"),
            Self::Person { identity } => write!(f, "person/{identity}"),
            Self::Connector { id } => write!(f, "connector/{id}"),
        }
    }
}

/// Why a text is not an [`Identity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadIdentity {
    /// It does not begin with `spiffe://`.
    #[error("an identity begins with spiffe://")]
    Scheme,
    /// What follows the trust domain is none of the known forms.
    #[error("an identity's path is /org/<organisation>/ and a gateway, platform, person or connector")]
    Path,
    /// One of the names is none.
    #[error(transparent)]
    Name(#[from] BadName),
}

/// A name: 1 to [`MAX_NAME`] of `A–Z a–z 0–9 . _ -`, but neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// The name of the only instance of a gateway that runs without a platform.
    pub fn zero() -> Self {
        Self("0".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        check(text, MAX_NAME, |byte| byte.is_ascii_alphanumeric())?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A trust domain, which names an installation: 1 to [`MAX_TRUST_DOMAIN`] of `a–z 0–9 . _ -` (upper case is
/// no part of it, so that one domain has one spelling).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    /// `adit.local`: where there is only one installation, its name distinguishes it from nothing.
    fn default() -> Self {
        Self("adit.local".into())
    }
}

impl FromStr for TrustDomain {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        check(text, MAX_TRUST_DOMAIN, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a [`Name`] or a [`TrustDomain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadName {
    /// It has no or too many characters.
    #[error("a name has 1 to {max} characters")]
    Length {
        /// The most that there may be.
        max: usize,
    },
    /// A character that is not allowed, or a relative path segment.
    #[error("a name consists of letters, digits, `.`, `_` and `-` (a trust domain's letters are lower case)")]
    Character,
}

fn check(text: &str, max: usize, alphanumeric: impl Fn(u8) -> bool) -> Result<(), BadName> {
    if text.is_empty() || text.len() > max {
        return Err(BadName::Length { max });
    }
    let legal = text.bytes().all(|byte| alphanumeric(byte) || b"._-".contains(&byte));
    // "." and ".." are path operators; no SPIFFE path has them.
    if !legal || matches!(text, "." | "..") {
        return Err(BadName::Character);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_reads_back_as_it_was_written() {
        for path in ["gateway/gw-1/0", "platform/a", "person/ada.l_1", "connector/laptop"] {
            let uri = format!("spiffe://adit.local/org/Acme/{path}");
            assert_eq!(uri.parse::<Identity>().unwrap().to_string(), uri);
        }
    }

    #[test]
    fn a_role_knows_its_name() {
        let identity: Identity = "spiffe://d/org/o/gateway/gw/7".parse().unwrap();
        assert_eq!(identity.role.name().as_str(), "gw");
        assert!(!identity.role.connects());
    }

    #[test]
    fn other_forms_are_refused() {
        for (uri, error) in [
            ("", BadIdentity::Scheme),
            ("https://d/org/o/person/p", BadIdentity::Scheme),
            ("SPIFFE://d/org/o/person/p", BadIdentity::Scheme),
            ("spiffe://d", BadIdentity::Path),
            ("spiffe://d/", BadIdentity::Path),
            ("spiffe://d/org/o", BadIdentity::Path),
            ("spiffe://d/org/o/gateway/g", BadIdentity::Path),
            ("spiffe://d/org/o/gateway/g/0/", BadIdentity::Path),
            ("spiffe://d/org/o/person/p/q", BadIdentity::Path),
            ("spiffe://d/org/o/admin/p", BadIdentity::Path),
            ("spiffe://d//org/o/person/p", BadIdentity::Path),
            ("spiffe://d/org/o/person/", BadName::Length { max: MAX_NAME }.into()),
            ("spiffe:///org/o/person/p", BadName::Length { max: MAX_TRUST_DOMAIN }.into()),
            ("spiffe://D/org/o/person/p", BadName::Character.into()),
            ("spiffe://d:1/org/o/person/p", BadName::Character.into()),
            ("spiffe://d/org/../person/p", BadName::Character.into()),
            ("spiffe://d/org/o/person/p?q", BadName::Character.into()),
            ("spiffe://d/org/o/person/%41", BadName::Character.into()),
            ("spiffe://d/org/o/person/p\0", BadName::Character.into()),
        ] {
            assert_eq!(uri.parse::<Identity>(), Err(error), "{uri:?}");
        }
    }

    #[test]
    fn names_have_an_end() {
        assert!("a".repeat(MAX_NAME).parse::<Name>().is_ok());
        assert_eq!("a".repeat(MAX_NAME + 1).parse::<Name>(), Err(BadName::Length { max: MAX_NAME }));
    }

    #[test]
    fn without_an_installation_of_its_own_a_domain_is_the_local_one() {
        assert_eq!(TrustDomain::default().as_str(), "adit.local");
    }

    fn name() -> impl Strategy<Value = Name> {
        "[A-Za-z0-9._-]{1,64}".prop_filter_map("a path operator is no name", |text| text.parse().ok())
    }

    fn identity() -> impl Strategy<Value = Identity> {
        let role = (0..4u8, name(), name()).prop_map(|(kind, name, instance)| match kind {
            0 => Role::Gateway { gateway: name, instance },
            1 => Role::Platform { instance },
            2 => Role::Person { identity: name },
            _ => Role::Connector { id: name },
        });
        let domain = "[a-z0-9][a-z0-9._-]{0,60}".prop_map(|text| text.parse().unwrap());
        (domain, name(), role).prop_map(|(trust_domain, organisation, role)| Identity {
            trust_domain,
            organisation,
            role,
        })
    }

    proptest! {
        #[test]
        fn an_identity_reads_as_it_writes(identity in identity()) {
            prop_assert_eq!(identity.to_string().parse(), Ok(identity));
        }

        /// One name has one spelling: what is read is what was written.
        #[test]
        fn what_is_read_would_be_written_so(text in "spiffe://[a-zA-Z./_-]{0,8}/org/[a-z./%?-]{0,40}|.{0,60}") {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), text);
            }
        }

        #[test]
        fn two_identities_have_two_spellings(one in identity(), other in identity()) {
            prop_assert_eq!(one == other, one.to_string() == other.to_string());
        }
    }
}
