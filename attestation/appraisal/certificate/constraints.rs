//! Name constraints (RFC 5280 §4.2.1.10): for whom an authority may vouch.
//!
//! Directory names and DNS names are evaluated. A constraint on anything else can't be, so that nothing under it is
//! believed.

use super::der::{self, CONTEXT_0, CONTEXT_1, SEQUENCE};
use super::name::{Name, show};
use super::{CertificateRefused, shown};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::{Oid, oid};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// `id-ce-nameConstraints`.
pub(super) const NAME_CONSTRAINTS: Oid<'static> = oid!(2.5.29.30);

#[derive(Debug, Default)]
struct Subtrees {
    permitted: Vec<Subject>,
    excluded: Vec<Subject>,
}

/// A name, or the base of a subtree of names.
#[derive(Debug)]
enum Subject {
    Directory(Name, String),
    Dns(String),
}

/// Checks the names in `below` against what `authority` may vouch for.
pub(super) fn check<'a>(
    authority: &X509Certificate<'_>,
    below: impl Iterator<Item = &'a X509Certificate<'a>>,
) -> Result<(), CertificateRefused> {
    let cannot = |constraint: &str| CertificateRefused::Constraint {
        authority: shown(authority),
        constraint: format!("nameConstraints, {constraint}"),
    };
    let Some(extension) = authority.get_extension_unique(&NAME_CONSTRAINTS).map_err(|_| cannot("twice"))? else {
        return Ok(());
    };
    let subtrees = Subtrees::read(extension.value).map_err(cannot)?;
    for certificate in below {
        for name in names(certificate).map_err(cannot)? {
            if !subtrees.allow(&name) {
                let (Subject::Directory(_, name) | Subject::Dns(name)) = name;
                return Err(CertificateRefused::NameConstraint { authority: shown(authority), name });
            }
        }
    }
    Ok(())
}

impl Subtrees {
    /// `SEQUENCE { permitted [0], excluded [1] }`, each of `SEQUENCE { base GeneralName }`: `minimum` and `maximum`
    /// must not be there, as RFC 5280 has no use for them.
    fn read(value: &[u8]) -> Result<Self, &'static str> {
        const MALFORMED: &str = "which is malformed";
        let mut subtrees = Self::default();
        for list in der::elements(der::only(SEQUENCE, value).ok_or(MALFORMED)?) {
            let list = list.ok_or(MALFORMED)?;
            let into = match list.tag {
                CONTEXT_0 => &mut subtrees.permitted,
                CONTEXT_1 => &mut subtrees.excluded,
                _ => return Err(MALFORMED),
            };
            for subtree in der::elements(list.content) {
                let subtree = subtree.filter(|subtree| subtree.tag == SEQUENCE).ok_or(MALFORMED)?;
                let mut parts = der::elements(subtree.content);
                let (Some(Some(base)), None) = (parts.next(), parts.next()) else {
                    return Err("with bounds on a subtree");
                };
                let (_, base) = GeneralName::from_der(base.whole).map_err(|_| MALFORMED)?;
                into.push(Subject::of(&base).ok_or("of names that are neither directory nor DNS names")?);
            }
        }
        if subtrees.permitted.is_empty() && subtrees.excluded.is_empty() { Err("which is empty") } else { Ok(subtrees) }
    }

    fn allow(&self, name: &Subject) -> bool {
        let mut of_its_kind = self.permitted.iter().filter(|base| base.is_of_the_kind_of(name)).peekable();
        let permitted = of_its_kind.peek().is_none() || of_its_kind.any(|base| name.is_under(base));
        permitted && !self.excluded.iter().any(|base| name.is_under(base))
    }
}

impl Subject {
    fn of(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DirectoryName(name) => Some(Self::Directory(Name::of(name), show(name))),
            GeneralName::DNSName(name) => Some(Self::Dns(name.to_ascii_lowercase())),
            _ => None,
        }
    }

    const fn is_of_the_kind_of(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Directory(..), Self::Directory(..)) | (Self::Dns(_), Self::Dns(_)))
    }

    fn is_under(&self, base: &Self) -> bool {
        match (self, base) {
            (Self::Directory(name, _), Self::Directory(base, _)) => name.is_under(base),
            (Self::Dns(name), Self::Dns(base)) => {
                let labels = base.strip_prefix('.').unwrap_or(base);
                labels.is_empty() || name == base || name.strip_suffix(labels).is_some_and(|rest| rest.ends_with('.'))
            }
            _ => false,
        }
    }
}

/// The names that a certificate vouches for, of the kinds that constraints are evaluated for.
fn names(certificate: &X509Certificate<'_>) -> Result<Vec<Subject>, &'static str> {
    let mut names = Vec::new();
    let subject = Name::of(certificate.subject());
    if !subject.is_empty() {
        names.push(Subject::Directory(subject, show(certificate.subject())));
    }
    let alternative = certificate.subject_alternative_name().map_err(|_| "over names that can't be read")?;
    for name in alternative.iter().flat_map(|alternative| &alternative.value.general_names) {
        if matches!(name, GeneralName::Invalid(..)) {
            return Err("over names that can't be read");
        }
        names.extend(Subject::of(name));
    }
    Ok(names)
}
