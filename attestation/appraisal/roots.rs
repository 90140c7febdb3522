//! The authorities that are trusted to vouch for TPMs, and those between them and TPMs.

mod shipped;
#[cfg(test)]
mod tests;

use crate::certificate::name::Name;
use crate::certificate::{CertificateRefused, TpmClass};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;
use x509_parser::extensions::ParsedExtension;

/// The authorities that are trusted to vouch for TPMs, by name, so that a verification looks only at those that may
/// have issued something.
#[derive(Clone, Default)]
pub struct Roots {
    by_name: BTreeMap<Name, Vec<Authority>>,
}

/// A root, or somebody between a root and TPMs.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    der: Cow<'static, [u8]>,
    key_identifier: Option<Vec<u8>>,
    anchor: Option<Anchor>,
}

/// What a root stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    class: TpmClass,
    organization: Option<&'static str>,
}

impl Roots {
    /// The makers and clouds whose certificates ship with the program: `roots/manifest.tsv` lists them.
    pub fn built_in() -> Self {
        static BUILT_IN: LazyLock<Roots> = LazyLock::new(|| {
            let mut roots = Roots::default();
            for shipped in shipped::SHIPPED {
                // All of them can be read: a test reads each.
                let _ = roots.add(shipped.der.into(), shipped.anchor);
            }
            roots
        });
        BUILT_IN.clone()
    }

    /// Trusts a root, DER, to vouch for TPMs of `class`. If it is there already, it vouches for that class from now
    /// on and no other.
    ///
    /// # Errors
    /// It can't be read.
    pub fn add_root(&mut self, class: TpmClass, der: Vec<u8>) -> Result<(), CertificateRefused> {
        self.add(der.into(), Some(Anchor::of(class)))
    }

    /// Makes a certificate known that lies between roots and TPMs. It is trusted only as far as a root
    /// vouches for it: it may come from anybody.
    ///
    /// # Errors
    /// It can't be read.
    pub fn add_intermediate(&mut self, der: Vec<u8>) -> Result<(), CertificateRefused> {
        self.add(der.into(), None)
    }

    fn add(&mut self, der: Cow<'static, [u8]>, anchor: Option<Anchor>) -> Result<(), CertificateRefused> {
        let (_, certificate) = crate::certificate::read(&der)?;
        let key_identifier = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
            _ => None,
        });
        let same_name = self.by_name.entry(Name::of(certificate.subject())).or_default();
        match same_name.iter_mut().find(|authority| authority.der == der) {
            Some(known) => known.anchor = anchor.or(known.anchor),
            None => same_name.push(Authority { der, key_identifier, anchor }),
        }
        Ok(())
    }

    pub(crate) fn named(&self, name: &Name) -> impl Iterator<Item = &Authority> {
        self.by_name.get(name).into_iter().flatten()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || self.by_name.values().flatten();
        let roots = all().filter(|authority| authority.anchor.is_some()).count();
        write!(out, "Roots({roots} roots, {} intermediates)", all().count() - roots)
    }
}

impl Authority {
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn key_identifier(&self) -> Option<&[u8]> {
        self.key_identifier.as_deref()
    }

    pub(crate) const fn anchor(&self) -> Option<&Anchor> {
        self.anchor.as_ref()
    }
}

impl Anchor {
    const fn of(class: TpmClass) -> Self {
        Self { class, organization: None }
    }

    /// A root that signs for others too: its word counts where the authority right under it is of this organization.
    const fn only_for(class: TpmClass, organization: &'static str) -> Self {
        Self { class, organization: Some(organization) }
    }

    pub(crate) const fn class(&self) -> TpmClass {
        self.class
    }

    pub(crate) const fn organization(&self) -> Option<&'static str> {
        self.organization
    }
}
