//! The search for a path from a certificate to a trusted root (RFC 5280 §6.1).
//!
//! Authorities of one name may be many: a maker renews a key, one authority signs another across, somebody makes up a
//! thousand. So every known authority of the issuer's name is tried, those first whose key identifier is the wanted
//! one, and depth first. What bounds the work is [`MOST_CANDIDATES`], over the whole search: a search that tries every
//! path of authorities who vouch for each other in circles would not end in this century.

use super::extensions::{check_authority, check_extensions};
use super::key::IssuerKey;
use super::name::{Name, show};
use super::signature::Scheme;
use super::{CertificateRefused, TpmClass, check_dates, constraints, shown};
use crate::roots::{Anchor, Authority, Roots};
use attest_evidence::time::UnixSeconds;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

/// The most authorities between a TPM's certificate and a root. Makers have three at most.
pub(super) const LONGEST_PATH: usize = 5;
/// The most authorities that one search looks at, and so the most signatures that it checks. Makers have three of one
/// name at most, and a P-521 signature costs half a millisecond.
pub(super) const MOST_CANDIDATES: u32 = 64;

/// From the certificate to the root.
#[derive(Debug)]
pub(super) struct Path<'a> {
    pub(super) class: TpmClass,
    pub(super) certificates: Vec<X509Certificate<'a>>,
}

/// Looks for a path from `leaf` to a root.
pub(super) fn find<'a>(
    leaf: X509Certificate<'a>,
    roots: &'a Roots,
    now: UnixSeconds,
) -> Result<Path<'a>, CertificateRefused> {
    let mut search = Search { roots, now, left: MOST_CANDIDATES, path: vec![leaf] };
    let class = search.climb()?;
    Ok(Path { class, certificates: search.path })
}

struct Search<'a> {
    roots: &'a Roots,
    now: UnixSeconds,
    left: u32,
    /// From the certificate upwards, all of it proven so far.
    path: Vec<X509Certificate<'a>>,
}

impl<'a> Search<'a> {
    /// The class of a root above the last certificate of the path; the path then ends with that root.
    fn climb(&mut self) -> Result<TpmClass, CertificateRefused> {
        let Some(last) = self.path.last() else { return Err(unknown("")) };
        let scheme = Scheme::of(last)?;
        let name = Name::of(last.issuer());
        let mut reason = unknown(&show(last.issuer()));
        if name.is_empty() {
            return Err(reason);
        }
        let mut weight = 0;
        for authority in self.candidates(&name)? {
            match self.step(scheme, authority) {
                Ok(class) => return Ok(class),
                Err(refused @ CertificateRefused::ManyCandidates { .. }) => return Err(refused),
                Err(refused) if telling(&refused) > weight => {
                    weight = telling(&refused);
                    reason = refused;
                }
                Err(_) => {}
            }
        }
        Err(reason)
    }

    /// The authorities of that name, likely ones first: whose key identifier is the one that the certificate names,
    /// and of those the roots.
    fn candidates(&self, name: &Name) -> Result<Vec<&'a Authority>, CertificateRefused> {
        let wanted = self.path.last().and_then(|certificate| {
            certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(identifier) => Some(identifier.key_identifier.as_ref()?.0),
                _ => None,
            })
        });
        let mut candidates: Vec<&'a Authority> = self.roots.named(name).collect();
        candidates.sort_by_cached_key(|authority| {
            (wanted.is_none() || authority.key_identifier() != wanted, authority.anchor().is_none())
        });
        Ok(candidates)
    }

    fn step(&mut self, scheme: Scheme, authority: &'a Authority) -> Result<TpmClass, CertificateRefused> {
        self.left = self.left.checked_sub(1).ok_or(CertificateRefused::ManyCandidates { most: MOST_CANDIDATES })?;
        let (_, issuer) = super::read(authority.der())?;
        let Some(last) = self.path.last() else { return Err(unknown("")) };
        let key = IssuerKey::of(issuer.public_key()).ok_or_else(|| CertificateRefused::NotAuthority {
            subject: shown(&issuer),
            lack: "its key is too short, or of a kind that is not understood",
        })?;
        if !scheme.verify(&key, last) {
            return Err(CertificateRefused::Signature { subject: shown(last), issuer: shown(&issuer) });
        }
        // RFC 5280 §6.1: no certificate is on a path twice. One key under one name is one authority, however many
        // certificates it has.
        let again = self.path.iter().any(|other| {
            other.subject().as_raw() == issuer.subject().as_raw() && other.public_key().raw == issuer.public_key().raw
        });
        if again {
            return Err(unknown(&show(last.issuer())));
        }
        let between = self.path.iter().skip(1).filter(|other| !self_issued(other)).count();
        check_extensions(&issuer)?;
        check_authority(&issuer, between)?;
        let leaf_only = |(place, other): &(usize, &X509Certificate<'_>)| *place == 0 || !self_issued(other);
        constraints::check(&issuer, self.path.iter().enumerate().filter(leaf_only).map(|(_, other)| other))?;
        match authority.anchor() {
            // A root is trusted because somebody put it on the list, until they take it off. Its dates say when it
            // meant to be replaced; RFC 5280 §6.1.1 (d) has no use for them.
            Some(anchor) => {
                check_maker(anchor, &issuer, last)?;
                self.path.push(issuer);
                Ok(anchor.class())
            }
            None if self.path.len() > LONGEST_PATH => Err(CertificateRefused::LongPath { most: LONGEST_PATH }),
            None => {
                check_dates(&issuer, self.now)?;
                self.path.push(issuer);
                let found = self.climb();
                if found.is_err() {
                    self.path.pop();
                }
                found
            }
        }
    }
}

/// Some roots are trusted for one maker alone: the certificate under such a root has to be the maker's.
fn check_maker(
    anchor: &Anchor,
    root: &X509Certificate<'_>,
    under: &X509Certificate<'_>,
) -> Result<(), CertificateRefused> {
    let Some(organization) = anchor.organization() else { return Ok(()) };
    let mut theirs = under.subject().iter_organization().filter_map(super::name::text);
    if theirs.any(|name| name == organization) {
        return Ok(());
    }
    let (root, subject) = (shown(root), shown(under));
    Err(CertificateRefused::OtherMaker { root, organization: organization.to_owned(), subject })
}

fn self_issued(certificate: &X509Certificate<'_>) -> bool {
    Name::of(certificate.subject()) == Name::of(certificate.issuer())
}

fn unknown(issuer: &str) -> CertificateRefused {
    CertificateRefused::UnknownIssuer { issuer: issuer.to_owned() }
}

/// Of several candidates that were refused, the one that got furthest says the most.
const fn telling(refused: &CertificateRefused) -> u8 {
    match refused {
        CertificateRefused::Signature { .. } => 1,
        CertificateRefused::UnknownIssuer { .. } => 2,
        _ => 3,
    }
}
