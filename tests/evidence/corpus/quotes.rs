//! Quotes that are rightly signed and say, or are said to say, something else.

use super::case::{Case, MESSAGE, NONCE, PCRS, PUBLIC, SIGNATURE};
use super::parents::{self, Made, NONCE_VALUE, json};
use super::statement::{Body, Quoted, Statement, mask};
use attest_evidence::tpm::{PcrBanks, PcrIndex, TpmName, algorithm};
use attest_evidence::{Digest, HashAlgorithm};
use std::collections::BTreeMap;

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;
/// `TPM_ALG_SM3_256`.
const SM3_256: u16 = 0x0012;
/// `TPM_ALG_SHA3_256`.
const SHA3_256: u16 = 0x0027;

pub(crate) fn pcr(index: u8) -> PcrIndex {
    PcrIndex::new(index).unwrap()
}

pub(crate) fn cases() -> Vec<Case> {
    let made = parents::made_p256();
    [values(&made), selections(&made), qualifying_data(&made), statements(&made), lengths(&made), real()].concat()
}

/// Changes the values of the one bank that is quoted.
fn in_bank(pcrs: &mut PcrBanks, change: impl FnOnce(&mut BTreeMap<PcrIndex, Digest>)) {
    let mut values = pcrs.bank(SHA256).unwrap().clone();
    change(&mut values);
    pcrs.insert(SHA256, values);
}

fn values(made: &Made) -> Vec<Case> {
    let hashed = |hash: HashAlgorithm| {
        let values = made.pcrs.bank(SHA256).unwrap().values();
        hash.hash_parts(values.map(Digest::as_bytes)).as_bytes().to_vec()
    };
    let reversed = SHA256.hash_parts(made.pcrs.bank(SHA256).unwrap().values().rev().map(Digest::as_bytes));
    let doubled = SHA256.hash(&hashed(SHA256));
    vec![
        made.valued("value-relabelled", "AR-E214", "the value of PCR 7 is said to be that of PCR 9", |pcrs| {
            in_bank(pcrs, |values| {
                let value = values.remove(&pcr(7)).unwrap();
                values.insert(pcr(9), value);
            });
        }),
        made.valued("values-swapped", "AR-E208", "the values of PCRs 4 and 7 change places", |pcrs| {
            in_bank(pcrs, |values| {
                let (four, seven) = (values[&pcr(4)], values[&pcr(7)]);
                values.extend([(pcr(4), seven), (pcr(7), four)]);
            });
        }),
        made.valued("value-changed", "AR-E208", "PCR 0 is said to be zeros", |pcrs| {
            in_bank(pcrs, |values| {
                values.insert(pcr(0), Digest::zero(SHA256));
            });
        }),
        made.valued("value-missing", "AR-E214", "PCR 4 has no value", |pcrs| {
            in_bank(pcrs, |values| {
                values.remove(&pcr(4));
            });
        }),
        made.valued("values-missing", "AR-E214", "no PCR has a value", |pcrs| *pcrs = PcrBanks::default()),
        made.valued("value-extra", "AR-E215", "a value of PCR 14, which is not quoted", |pcrs| {
            in_bank(pcrs, |values| {
                values.insert(pcr(14), Digest::zero(SHA256));
            });
        }),
        made.valued("bank-extra", "AR-E215", "values of the SHA-384 bank, which is not quoted", |pcrs| {
            let bank = HashAlgorithm::Sha384;
            pcrs.insert(bank, BTreeMap::from([(pcr(0), Digest::zero(bank))]));
        }),
        made.valued(
            "bank-renamed",
            "AR-E214",
            "the values are said to be those of the SHA-384 bank, cut off",
            |pcrs| {
                let bank = HashAlgorithm::Sha384;
                let longer = |value: &Digest| {
                    let bytes = [value.as_bytes(), &[0; 16]].concat();
                    Digest::from_bytes(bank, &bytes).unwrap()
                };
                let values = pcrs.bank(SHA256).unwrap().iter().map(|(pcr, value)| (*pcr, longer(value))).collect();
                *pcrs = PcrBanks::default();
                pcrs.insert(bank, values);
            },
        ),
        made.resigned("digest-by-sha1", "AR-E208", "pcrDigest is by SHA-1, the signature by SHA-256", |statement| {
            statement.quoted().digest = hashed(HashAlgorithm::Sha1);
        }),
        made.resigned(
            "digest-by-sha384",
            "AR-E208",
            "pcrDigest is by SHA-384, the signature by SHA-256",
            |statement| {
                statement.quoted().digest = hashed(HashAlgorithm::Sha384);
            },
        ),
        made.resigned("digest-reversed", "AR-E208", "pcrDigest is over the values from PCR 8 to 0", |statement| {
            statement.quoted().digest = reversed.as_bytes().to_vec();
        })
        .clause("TPM 2.0 Part 1 §17.5"),
        made.resigned("digest-hashed-twice", "AR-E208", "pcrDigest is the digest of what it should be", |statement| {
            statement.quoted().digest = doubled.as_bytes().to_vec();
        }),
        made.resigned("digest-cut", "AR-E208", "pcrDigest is cut to 16 bytes", |statement| {
            statement.quoted().digest.truncate(16);
        }),
        made.resigned("digest-empty", "AR-E208", "pcrDigest is empty", |statement| statement.quoted().digest.clear()),
        spliced_values(made),
    ]
}

/// The quote of one state with the values of another, both by the same key and for the same nonce.
fn spliced_values(made: &Made) -> Case {
    let mut other = made.pcrs.clone();
    in_bank(&mut other, |values| {
        values.insert(pcr(8), Digest::zero(SHA256));
    });
    let message = Statement::quote(NONCE_VALUE, &other).bytes();
    made.case
        .refuse("values-of-another-quote", "AR-E208", "an honest quote of another state, beside the values of this one")
        .signed(&made.key, &message)
}

fn selections(made: &Made) -> Vec<Case> {
    let selected = |selection: Vec<(u16, Vec<u8>)>| {
        move |statement: &mut Statement| {
            statement.quoted().selection = selection;
        }
    };
    let first = || mask((0..9).map(pcr));
    let bank = |id: u16| vec![(id, first())];
    let clause = "TPM 2.0 Part 2 §10.6.2";
    let without_seven = mask([0, 1, 2, 3, 4, 5, 6, 8, 9].map(pcr));
    let sha1 = bank(algorithm::SHA1);
    let half = vec![(algorithm::SHA256, mask((0..4).map(pcr))), (algorithm::SHA256, mask((4..9).map(pcr)))];
    let twice = vec![(algorithm::SHA256, first()), (algorithm::SHA256, first())];
    let many = vec![(algorithm::SHA256, first()); 17];
    let counted = |count: u32| move |statement: &mut Statement| statement.quoted().count = Some(count);
    let big = |what: &str, name: &str, count| made.resigned(name, "AR-E201", what, counted(count)).clause(clause);
    vec![
        made.resigned(
            "mask-relabelled",
            "AR-E214",
            "the quote selects PCR 9 in place of PCR 7; digest and values are those of the honest one",
            selected(vec![(algorithm::SHA256, without_seven)]),
        )
        .clause(clause),
        made.resigned("bank-sha384", "AR-E214", "the quote is of the SHA-384 bank", selected(bank(algorithm::SHA384))),
        made.resigned("bank-sha1", "AR-E209", "the quote is of the SHA-1 bank", selected(sha1)),
        made.resigned("bank-sm3", "AR-E211", "the quote is of the SM3 bank", selected(bank(SM3_256))),
        made.resigned("bank-sha3", "AR-E211", "the quote is of the SHA3-256 bank", selected(bank(SHA3_256))),
        made.resigned("bank-null", "AR-E211", "the quote is of TPM_ALG_NULL", selected(bank(algorithm::NULL))),
        made.resigned("bank-twice", "AR-E212", "the same bank and PCRs twice", selected(twice)),
        made.resigned("bank-in-halves", "AR-E212", "one bank in two entries, PCRs 0 to 3 and 4 to 8", selected(half)),
        made.resigned("selection-empty", "AR-E213", "no bank is selected: an empty list", |statement| {
            statement.body = Body::Quote(nothing(Vec::new()));
        }),
        made.resigned("selection-of-nothing", "AR-E213", "a bank is selected, and no PCR of it", |statement| {
            statement.body = Body::Quote(nothing(vec![(algorithm::SHA256, vec![0; 3])]));
        })
        .with(PCRS, json(&PcrBanks::default())),
        made.resigned("selection-of-no-size", "AR-E213", "a bank is selected with no bits at all", |statement| {
            statement.body = Body::Quote(nothing(vec![(algorithm::SHA256, Vec::new())]));
        })
        .with(PCRS, json(&PcrBanks::default())),
        made.resigned(
            "pcr-24",
            "AR-E201",
            "PCR 24 is selected, in a fourth byte",
            selected(vec![(algorithm::SHA256, vec![0xff, 1, 0, 1])]),
        )
        .clause("PC Client Platform TPM Profile §4.6"),
        made.resigned(
            "mask-too-long",
            "AR-E201",
            "the mask is said to have 255 bytes",
            selected(vec![(algorithm::SHA256, [first(), vec![0; 252]].concat())]),
        ),
        made.resigned("banks-too-many", "AR-E201", "17 banks are selected", selected(many)),
        big("the count of banks is 2, and one is there", "count-2", 2),
        big("the count of banks is 0, and one is there", "count-0", 0),
        big("the count of banks is 2^31", "count-2-31", 1 << 31),
        big("the count of banks is 2^32 - 1", "count-2-32", u32::MAX),
    ]
}

/// An honest quote of no PCR: the digest of nothing.
fn nothing(selection: Vec<(u16, Vec<u8>)>) -> Quoted {
    Quoted { count: None, selection, digest: SHA256.hash(b"").as_bytes().to_vec() }
}

fn qualifying_data(made: &Made) -> Vec<Case> {
    let noncing =
        |name, what, nonce: Vec<u8>| made.resigned(name, "AR-E210", what, |statement| statement.nonce = nonce);
    vec![
        noncing("nonce-of-another", "an honest quote for another nonce", vec![0xa5; 32]),
        noncing("nonce-cut", "the nonce without its last byte", NONCE_VALUE[..31].to_vec()),
        noncing("nonce-longer", "the nonce, and a zero behind it", [NONCE_VALUE.as_slice(), &[0]].concat()),
        noncing("nonce-empty", "no nonce", Vec::new()),
        noncing("nonce-hashed", "the digest of the nonce", SHA256.hash(NONCE_VALUE).as_bytes().to_vec()),
        made.resigned("nonce-too-long", "AR-E201", "qualifying data of 67 bytes, more than TPM2B_DATA", |statement| {
            statement.nonce = vec![0; 67];
        })
        .clause("TPM 2.0 Part 2 §10.4.3"),
        made.case.refuse("nonce-not-asked-for", "AR-E210", "another nonce is asked for").with(NONCE, b"another"),
    ]
}

/// What a restricted key signs and is no quote, and what it would never sign.
fn statements(made: &Made) -> Vec<Case> {
    let name = TpmName::of(made.case.file(PUBLIC));
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let names = [sized(name.as_bytes()), sized(&[&[0x00, 0x0b], [7; 32].as_slice()].concat())].concat();
    let time = [[0; 7].as_slice(), &[9], &[0; 7], &[9], &[0, 0, 0, 12], &[0, 0, 0, 3], &[1], &[1; 8]].concat();
    let other = |name: &str, code: &str, what: &str, kind, body: &[u8]| {
        made.resigned(name, code, what, |statement| {
            statement.kind = kind;
            statement.body = Body::Other(body.to_vec());
        })
        .clause("TPM 2.0 Part 2 §10.12.11")
    };
    let digest = sized(&[3; 32]);
    let magic = |name, what, magic| {
        made.resigned(name, "AR-E201", what, |statement| statement.magic = magic).clause("TPM 2.0 Part 2 §6.2")
    };
    let safe = |name, value: u8| {
        let what = format!("safe is {value}, neither YES nor NO");
        made.resigned(name, "AR-E201", &what, |statement| statement.safe = value).clause("TPM 2.0 Part 2 §9.2")
    };
    let mut unsafe_clock = made.statement.clone();
    unsafe_clock.safe = 0;
    let unsafe_clock = made
        .case
        .accept("clock-not-safe", "safe is NO: the quote is right, and its clock may have been given out before")
        .signed(&made.key, &unsafe_clock.bytes());
    vec![
        other("certify", "AR-E202", "the output of TPM2_Certify, of the key itself", 0x8017, &names),
        other("time", "AR-E202", "the output of TPM2_GetTime", 0x8019, &time),
        other("nv", "AR-E201", "the output of TPM2_NV_Certify", 0x8014, &[names.as_slice(), &[0, 0, 0, 0]].concat()),
        other("command-audit", "AR-E201", "the output of TPM2_GetCommandAuditDigest", 0x8015, &{
            [[0; 8].as_slice(), &[0, 0x0b], &digest, &digest].concat()
        }),
        other("session-audit", "AR-E201", "the output of TPM2_GetSessionAuditDigest", 0x8016, &{
            [[1].as_slice(), &digest].concat()
        }),
        other(
            "creation",
            "AR-E201",
            "the output of TPM2_CertifyCreation",
            0x801a,
            &[names.as_slice(), &digest].concat(),
        ),
        made.resigned("quote-as-certify", "AR-E201", "a quote, of the type of a certification", |statement| {
            statement.kind = 0x8017;
        }),
        other("certify-as-quote", "AR-E201", "a certification, of the type of a quote", 0x8018, &names),
        made.resigned("type-0", "AR-E201", "of type 0", |statement| statement.kind = 0),
        magic("magic-of-one-bit", "TPM_GENERATED_VALUE with its last bit changed", 0xff54_4346),
        magic("magic-reversed", "TPM_GENERATED_VALUE, little-endian", 0x4743_54ff),
        magic("magic-0", "no TPM_GENERATED_VALUE: what an unrestricted key signs for a program", 0),
        safe("safe-2", 2),
        safe("safe-255", 255),
        unsafe_clock,
        made.resigned("signer-too-long", "AR-E201", "a qualified Name of 67 bytes", |statement| {
            statement.signer = vec![0; 67];
        }),
    ]
}

/// Bytes in front of and behind what is whole.
fn lengths(made: &Made) -> Vec<Case> {
    let (message, signature, public) = (made.case.file(MESSAGE), made.case.file(SIGNATURE), made.case.file(PUBLIC));
    let behind = |bytes: &[u8]| [bytes, &[0]].concat();
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let resigned = |name, what, message: Vec<u8>| made.case.refuse(name, "AR-E201", what).signed(&made.key, &message);
    let refuse = |name, code, what, file, bytes: Vec<u8>| made.case.refuse(name, code, what).with(file, bytes);
    vec![
        resigned("message-and-a-byte", "a signed zero behind TPMS_ATTEST", behind(message)),
        resigned("message-sized", "TPM2B_ATTEST, signed: a length in front of TPMS_ATTEST", sized(message)),
        resigned("message-empty", "nothing, signed", Vec::new()),
        refuse("message-and-a-byte-unsigned", "AR-E201", "a zero behind TPMS_ATTEST", MESSAGE, behind(message)),
        refuse("signature-and-a-byte", "AR-E201", "a zero behind TPMT_SIGNATURE", SIGNATURE, behind(signature)),
        refuse("signature-sized", "AR-E201", "a length in front of TPMT_SIGNATURE", SIGNATURE, sized(signature)),
        refuse("signature-empty", "AR-E201", "no signature", SIGNATURE, Vec::new()),
        refuse("key-and-a-byte", "AR-E101", "a zero behind TPMT_PUBLIC", PUBLIC, behind(public)),
        refuse("key-sized", "AR-E101", "TPM2B_PUBLIC: a length in front of TPMT_PUBLIC", PUBLIC, sized(public)),
    ]
}

/// What can be done to the quotes of real machines, whose keys nobody has: to put parts of them together.
fn real() -> Vec<Case> {
    let (gce, gce_sha384, azure) = (parents::real_gce(), parents::real_gce_sha384(), parents::real_azure());
    let laptop = parents::real_laptop("real-laptop", "issue926-x1carbon-before");
    let earlier = parents::real_laptop("real-laptop-earlier", "issue926-x1carbon-ancient");
    let take = |case: Case, from: &Case, files: &[&'static str]| {
        files.iter().fold(case, |case, file| case.with(file, from.file(file)))
    };
    vec![
        take(
            laptop.refuse(
                "real-signature-of-an-earlier-quote",
                "AR-E205",
                "the signature of an earlier quote of the same boot",
            ),
            &earlier,
            &[SIGNATURE],
        ),
        take(
            gce.refuse("real-signature-of-another-bank", "AR-E205", "the signature of the other bank's quote"),
            &gce_sha384,
            &[SIGNATURE],
        ),
        take(
            gce.refuse("real-values-of-another-bank", "AR-E214", "the values of the SHA-384 bank"),
            &gce_sha384,
            &[PCRS],
        ),
        take(
            gce.refuse("real-quote-of-another-machine", "AR-E205", "the quote of another cloud's machine"),
            &azure,
            &[MESSAGE, SIGNATURE, PCRS],
        ),
        take(
            azure.refuse("real-values-of-another-machine", "AR-E208", "the values of another cloud's machine"),
            &gce,
            &[PCRS],
        ),
        azure.refuse("real-nonce", "AR-E210", "another nonce is asked for").with(NONCE, b"challengf"),
        azure
            .refuse("real-nonce-cut", "AR-E210", "a nonce is asked for that the quote's begins with")
            .with(NONCE, b"challeng"),
    ]
}
