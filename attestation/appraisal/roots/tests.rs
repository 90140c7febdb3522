//! The shipped certificates keep what their manifest says.

use super::shipped::{SHIPPED, Shipped};
use super::{Anchor, Authority, Roots};
use crate::certificate::{TpmClass, leads_to, signed_by_itself};
use attest_evidence::Sha256Digest;
use attest_evidence::report::Explain as _;
use attest_evidence::time::UnixSeconds;

/// 24 November 2026.
const NOW: UnixSeconds = UnixSeconds(1_795_478_400);

/// Roots that are not signed by themselves, or not so that it counts. It need not count: they are trusted because they
/// are here, and the manifest has their digest.
const NOT_SELF_SIGNED: [&str; 6] = [
    // By `AMD Root CA R4`, which AMD has not published.
    "amd/amd-pluton-global-factory-ica.der",
    // With SHA-1.
    "nuvoton/ntc-tpm-ek-root-ca-01.der",
    "nuvoton/ntc-tpm-ek-root-ca-02.der",
    "nuvoton/tpm-root-ca-1014.der",
    "nuvoton/tpm-root-ca-2010.der",
    "nuvoton/tpm-root-ca-2012.der",
];

/// File, role, class and SHA-256.
fn manifest() -> Vec<[&'static str; 4]> {
    let lines = include_str!("manifest.tsv").lines().skip(1);
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [file, role, class, _maker, _origin, _licence, digest] = columns[..] else { panic!("{line}") };
            [file, role, class, digest]
        })
        .collect()
}

#[test]
fn the_table_is_the_manifest() {
    let table: Vec<[String; 4]> = SHIPPED
        .iter()
        .zip(manifest())
        .map(|(shipped, line)| {
            let role = if shipped.anchor.is_some() { "root" } else { "intermediate" };
            let class = shipped.anchor.map_or(line[2], |anchor| anchor.class().as_str());
            [shipped.file, role, class, &Sha256Digest::of(shipped.der).to_string()].map(str::to_owned)
        })
        .collect();
    let manifest = manifest();
    assert_eq!(SHIPPED.len(), manifest.len());
    assert_eq!(table, manifest);
    let digests: std::collections::BTreeSet<_> = manifest.iter().map(|line| line[3]).collect();
    assert_eq!(digests.len(), manifest.len(), "a certificate is there twice");
}

#[test]
fn every_intermediate_leads_to_a_root_of_its_class_and_may_sign() {
    let roots = Roots::built_in();
    for (Shipped { file, der, anchor, .. }, line) in SHIPPED.iter().zip(manifest()) {
        if anchor.is_none() {
            let class = leads_to(der, &roots, NOW).unwrap_or_else(|refused| panic!("{file}: {refused}"));
            assert_eq!(class.as_str(), line[2], "{file}");
        }
    }
}

#[test]
fn every_root_is_signed_by_itself_but_those_that_are_listed() {
    let roots = SHIPPED.iter().filter(|shipped| shipped.anchor.is_some());
    let others: Vec<&str> = roots.filter(|root| !signed_by_itself(root.der)).map(|root| root.file).collect();
    assert_eq!(others, NOT_SELF_SIGNED);
}

/// Whom a root may vouch for is asked of the authority right under it.
#[test]
fn a_root_for_one_maker_vouches_for_no_other() {
    let shipped = |name: &str| SHIPPED.iter().find(|shipped| shipped.file == name).unwrap();
    let (root, under) = (shipped("st/globalsign-root-ca.der"), shipped("st/stm-tpm-ek-root-ca.der"));
    assert_eq!(leads_to(under.der, &Roots::built_in(), NOW), Ok(TpmClass::Discrete));
    let mut roots = Roots::default();
    roots.add(root.der.into(), Some(Anchor::only_for(TpmClass::Discrete, "Another Maker"))).unwrap();
    let refused = leads_to(under.der, &roots, NOW).unwrap_err();
    assert_eq!(refused.report().code.as_str(), "AR-E417");
}

#[test]
fn all_are_in_the_index() {
    let roots = Roots::built_in();
    let indexed: Vec<&Authority> = roots.by_name.values().flatten().collect();
    assert_eq!(indexed.len(), SHIPPED.len());
    assert_eq!(format!("{roots:?}"), "Roots(36 roots, 198 intermediates)");
}
