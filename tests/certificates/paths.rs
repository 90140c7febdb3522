//! Paths that lead to a root and must not be taken, and how long the search for one takes.

use super::maker::{AK, Authority, EK, critical, plain, roots, unknown_critical, verify};
use super::{NOW, code};
use attest_appraisal::{TpmClass, VerifiedEndorsement};
use attest_evidence::time::UnixSeconds;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, SanType,
};
use std::time::{Duration, Instant};
use time::OffsetDateTime;

fn name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::OrganizationName, name);
    distinguished
}

fn in_2026(month: time::Month) -> OffsetDateTime {
    time::Date::from_calendar_date(2026, month, 1).unwrap().midnight().assume_utc()
}

#[test]
fn the_control_a_tpm_under_an_authority_under_a_root() {
    let root = Authority::root("root", plain);
    let between = root.authority("between", |params| params.not_after = in_2026(time::Month::December));
    let verified = verify(&between.tpm(plain), &roots(&root, &[&between])).unwrap();
    assert_eq!(verified.class(), TpmClass::Discrete);
    assert_eq!(verified.chain(), ["CN=a TPM", "CN=between", "CN=root"]);
    assert_eq!(verified.valid_until(), UnixSeconds(1_796_083_200), "as long as all of the chain is");
    assert_eq!(verified.key().to_string(), "P-256");
    assert!(verify(&root.tpm(plain), &roots(&root, &[])).is_ok());
    assert_eq!(code(verify(&between.tpm(plain), &roots(&root, &[]))), "AR-E403");
}

#[test]
fn an_authority_outside_of_its_dates_is_refused_and_a_root_has_none() {
    let past = |params: &mut CertificateParams| params.not_after = in_2026(time::Month::November);
    let root = Authority::root("root", past);
    assert!(verify(&root.tpm(plain), &roots(&root, &[])).is_ok(), "RFC 5280 §6.1.1 (d)");
    let between = root.authority("between", past);
    assert_eq!(code(verify(&between.tpm(plain), &roots(&root, &[&between]))), "AR-E402");
    let future = root.authority("future", |params| params.not_before = in_2026(time::Month::December));
    assert_eq!(code(verify(&future.tpm(plain), &roots(&root, &[&future]))), "AR-E402");
}

#[test]
fn who_is_no_authority_vouches_for_nobody() {
    for change in [
        |params: &mut CertificateParams| params.is_ca = IsCa::ExplicitNoCa,
        |params: &mut CertificateParams| params.is_ca = IsCa::NoCa,
        |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::CrlSign],
    ] {
        let root = Authority::root("root", plain);
        let between = root.authority("between", change);
        assert_eq!(code(verify(&between.tpm(plain), &roots(&root, &[&between]))), "AR-E412");
        let root = Authority::root("root", change);
        assert_eq!(code(verify(&root.tpm(plain), &roots(&root, &[]))), "AR-E412");
    }
}

#[test]
fn a_path_longer_than_an_authority_allows_is_refused() {
    let most =
        |most| move |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(most));
    let root = Authority::root("root", most(1));
    let one = root.authority("one", plain);
    assert!(verify(&one.tpm(plain), &roots(&root, &[&one])).is_ok());
    let two = one.authority("two", plain);
    let refused = verify(&two.tpm(plain), &roots(&root, &[&one, &two])).unwrap_err();
    assert_eq!(refused.to_string(), "`CN=root` allows 1 authorities under it, and there are 2");
    assert_eq!(code(Err(refused)), "AR-E413");
    // What an authority has issued to itself, to renew its key, is not counted (RFC 5280 §6.1.4 (l)).
    let renewed = one.authority("one", plain);
    assert!(verify(&renewed.tpm(plain), &roots(&root, &[&one, &renewed])).is_ok());
}

#[test]
fn a_path_has_an_end() {
    let root = Authority::root("root", plain);
    let mut authorities = vec![root.authority("1", plain)];
    for number in 2..=6 {
        authorities.push(authorities.last().unwrap().authority(&number.to_string(), plain));
    }
    let all: Vec<&Authority> = authorities.iter().collect();
    assert!(verify(&all[4].tpm(plain), &roots(&root, &all)).is_ok());
    assert_eq!(code(verify(&all[5].tpm(plain), &roots(&root, &all))), "AR-E418");
}

/// A maker whose authority may vouch for what `constraints` say, and a TPM of it.
fn constrained(
    permitted: Vec<GeneralSubtree>,
    excluded: Vec<GeneralSubtree>,
    tpm: impl FnOnce(&mut CertificateParams),
) -> super::Verified {
    let root = Authority::root("root", plain);
    let between = root.authority("between", |params| {
        params.name_constraints = Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded });
    });
    verify(&between.tpm(tpm), &roots(&root, &[&between]))
}

#[test]
fn names_outside_of_an_authority_s_constraints_are_refused() {
    let called = |organization: &'static str| {
        move |params: &mut CertificateParams| params.distinguished_name = name(organization)
    };
    let directory = |organization| vec![GeneralSubtree::DirectoryName(name(organization))];
    assert!(constrained(directory("Maker"), vec![], called("Maker")).is_ok());
    assert!(constrained(directory("MAKER "), vec![], called("maker")).is_ok(), "RFC 5280 §7.1");
    assert_eq!(code(constrained(directory("Maker"), vec![], called("Other"))), "AR-E414");
    assert_eq!(code(constrained(vec![], directory("Maker"), called("Maker"))), "AR-E414");
    assert!(constrained(vec![], directory("Maker"), called("Other")).is_ok());

    let at = |host: &'static str| {
        move |params: &mut CertificateParams| {
            params.subject_alt_names = vec![SanType::DnsName(host.try_into().unwrap())];
        }
    };
    let dns = |host: &str| vec![GeneralSubtree::DnsName(host.to_owned())];
    assert!(constrained(dns("maker.example"), vec![], at("tpm.maker.example")).is_ok());
    assert!(constrained(dns("maker.example"), vec![], at("MAKER.example")).is_ok());
    assert_eq!(code(constrained(dns("maker.example"), vec![], at("notmaker.example"))), "AR-E414");
    assert_eq!(code(constrained(vec![], dns("maker.example"), at("tpm.maker.example"))), "AR-E414");
    assert!(constrained(dns("maker.example"), vec![], plain).is_ok(), "no DNS name, nothing to permit");
}

#[test]
fn a_constraint_holds_for_all_that_is_below_it() {
    let root = Authority::root("root", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![],
            excluded_subtrees: vec![GeneralSubtree::DirectoryName(name("Other"))],
        });
    });
    let between = root.authority("between", plain);
    let tpm = between.tpm(|params| params.distinguished_name = name("Other"));
    assert_eq!(code(verify(&tpm, &roots(&root, &[&between]))), "AR-E414");
    let other = root.authority("x", |params| params.distinguished_name = name("Other"));
    assert_eq!(code(verify(&other.tpm(plain), &roots(&root, &[&other]))), "AR-E414");
}

#[test]
fn a_constraint_that_can_t_be_evaluated_is_refused() {
    let mail = vec![GeneralSubtree::Rfc822Name("maker.example".to_owned())];
    assert_eq!(code(constrained(mail, vec![], plain)), "AR-E415");
    for (oid, content) in [
        (&[2, 5, 29, 30][..], vec![0x30, 0x00]), // nameConstraints of nothing
        (&[2, 5, 29, 30], vec![0x04, 0x00]),     // not even a sequence
        (&[2, 5, 29, 30], b"\x30\x0a\xa0\x08\x30\x06\x82\x01a\x80\x01\x01".to_vec()), // minimum 1
        (&[2, 5, 29, 36], vec![0x30, 0x03, 0x80, 0x01, 0x00]), // policyConstraints
    ] {
        let root = Authority::root("root", plain);
        let between =
            root.authority("between", |params| params.custom_extensions = vec![critical(oid, content.clone())]);
        assert_eq!(code(verify(&between.tpm(plain), &roots(&root, &[&between]))), "AR-E415", "{content:x?}");
    }
}

#[test]
fn certificates_and_authorities_for_other_things_are_refused() {
    let root = Authority::root("root", plain);
    let trusted = roots(&root, &[]);
    let usages = |usages: &[ExtendedKeyUsagePurpose]| {
        let usages = usages.to_vec();
        move |params: &mut CertificateParams| params.extended_key_usages = usages
    };
    let tls = [ExtendedKeyUsagePurpose::ServerAuth];
    let ek = [ExtendedKeyUsagePurpose::Other(EK.to_vec())];
    let ak = [ExtendedKeyUsagePurpose::Other(AK.to_vec())];
    let any = [ExtendedKeyUsagePurpose::Any];
    assert_eq!(code(verify(&root.tpm(usages(&tls)), &trusted)), "AR-E405");
    assert_eq!(code(verify(&root.tpm(usages(&ak)), &trusted)), "AR-E405");
    assert_eq!(code(verify(&root.tpm(usages(&any)), &trusted)), "AR-E405", "it has to be said");
    let silent = |params: &mut CertificateParams| {
        params.key_usages.clear();
        params.extended_key_usages.clear();
    };
    assert_eq!(code(verify(&root.tpm(silent), &trusted)), "AR-E405");
    assert_eq!(
        code(verify(&root.tpm(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), &trusted)),
        "AR-E405"
    );

    for (allowed, wanted) in [(&tls, None), (&ek, Some(())), (&ak, Some(())), (&any, Some(()))] {
        let between = root.authority("between", usages(allowed));
        let verified = verify(&between.tpm(plain), &roots(&root, &[&between]));
        match wanted {
            Some(()) => assert!(verified.is_ok()),
            None => assert_eq!(code(verified), "AR-E416"),
        }
    }

    let signs = |params: &mut CertificateParams| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(AK.to_vec())];
    };
    assert!(VerifiedEndorsement::verify_ak(&root.tpm(signs), &trusted, NOW).is_ok());
    assert_eq!(code(verify(&root.tpm(signs), &trusted)), "AR-E405");
    assert_eq!(code(VerifiedEndorsement::verify_ak(&root.tpm(plain), &trusted, NOW)), "AR-E405");
}

#[test]
fn a_critical_extension_that_nobody_knows_is_refused_anywhere() {
    let strange = |params: &mut CertificateParams| params.custom_extensions = vec![unknown_critical()];
    let root = Authority::root("root", plain);
    assert_eq!(code(verify(&root.tpm(strange), &roots(&root, &[]))), "AR-E404");
    let between = root.authority("between", strange);
    assert_eq!(code(verify(&between.tpm(plain), &roots(&root, &[&between]))), "AR-E404");
    let root = Authority::root("root", strange);
    assert_eq!(code(verify(&root.tpm(plain), &roots(&root, &[]))), "AR-E404");
    // Not critical, it is nobody's concern; twice, it is malformed.
    let known = |params: &mut CertificateParams| {
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0])];
    };
    let root = Authority::root("root", plain);
    assert!(verify(&root.tpm(known), &roots(&root, &[])).is_ok());
    let twice = root.tpm(|params| {
        let extension = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
        params.custom_extensions = vec![extension.clone(), extension];
    });
    assert_eq!(code(verify(&twice, &roots(&root, &[]))), "AR-E401");
}

#[test]
fn an_extension_that_can_t_be_read_is_not_one_that_is_not_there() {
    for oid in [&[2, 5, 29, 15][..], &[2, 5, 29, 37], &[2, 5, 29, 17]] {
        let unreadable = |params: &mut CertificateParams| {
            params.key_usages.clear();
            params.extended_key_usages.clear();
            params.custom_extensions = vec![CustomExtension::from_oid_content(oid, vec![0x01])];
        };
        let root = Authority::root("root", plain);
        let between = root.authority("between", unreadable);
        assert_eq!(code(verify(&between.tpm(plain), &roots(&root, &[&between]))), "AR-E401", "{oid:?}");
        assert_eq!(code(verify(&root.tpm(unreadable), &roots(&root, &[]))), "AR-E401", "{oid:?}");
    }
}

#[test]
fn authorities_that_vouch_for_each_other_vouch_for_nobody() {
    let stranger = Authority::root("stranger", plain);
    let (one, two) = (stranger.authority("one", plain), stranger.authority("two", plain));
    let root = Authority::root("root", plain);
    let mut known = roots(&root, &[]);
    known.add_intermediate(one.vouch_for(&two)).unwrap();
    known.add_intermediate(two.vouch_for(&one)).unwrap();
    assert_eq!(code(verify(&one.tpm(plain), &known)), "AR-E403");
    // A way out of the circle is found.
    known.add_intermediate(root.vouch_for(&two)).unwrap();
    assert_eq!(verify(&one.tpm(plain), &known).unwrap().chain(), ["CN=a TPM", "CN=one", "CN=two", "CN=root"]);
}

#[test]
fn a_mesh_of_authorities_who_all_vouch_for_all_costs_a_bounded_time() {
    let stranger = Authority::root("stranger", plain);
    let mesh: Vec<Authority> = (0..12).map(|number| stranger.authority(&number.to_string(), plain)).collect();
    let root = Authority::root("root", plain);
    let mut known = roots(&root, &[]);
    for one in &mesh {
        for other in &mesh {
            known.add_intermediate(one.vouch_for(other)).unwrap();
        }
    }
    let tpm = mesh[0].tpm(plain);
    let started = Instant::now();
    assert_eq!(code(verify(&tpm, &known)), "AR-E419");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn a_thousand_authorities_of_one_name_cost_a_bounded_time_and_hide_nobody() {
    let root = Authority::root("root", plain);
    let mut known = roots(&root, &[]);
    for _ in 0..1000 {
        known.add_intermediate(Authority::root("between", plain).certificate).unwrap();
    }
    let genuine = root.authority("between", plain);
    let tpm = genuine.tpm(plain);
    let started = Instant::now();
    assert_eq!(code(verify(&tpm, &known)), "AR-E419");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    // The key identifier leads to the right one among them all.
    known.add_intermediate(genuine.certificate.clone()).unwrap();
    assert!(verify(&tpm, &known).is_ok());
}

#[test]
fn one_name_with_several_keys_is_tried_with_each() {
    let root = Authority::root("root", plain);
    let (old, new) = (root.authority("between", plain), root.authority("between", plain));
    let known = roots(&root, &[&old, &new]);
    // Without a key identifier that would tell which.
    let bare = |params: &mut CertificateParams| params.use_authority_key_identifier_extension = false;
    assert!(verify(&old.tpm(bare), &known).is_ok());
    assert!(verify(&new.tpm(bare), &known).is_ok());
    let other = Authority::root("between", plain);
    let refused = verify(&other.tpm(bare), &known).unwrap_err();
    assert_eq!(refused.to_string(), "the certificate of `CN=a TPM` is not signed by `CN=between`, as it says");
    assert_eq!(code(Err(refused)), "AR-E409");
}
