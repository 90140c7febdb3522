//! `EFI_SIGNATURE_LIST`: what `PK`, `KEK`, `db` and `dbx` hold (UEFI 2.10 §32.4.1).

use super::guid::Guid;
use crate::bytes::{Malformed, Problem, Reader};
use crate::hash::{Digest, HashAlgorithm};

/// Most signatures in one variable, over all its lists. The fullest `dbx` in use holds some hundreds. A
/// signature of 17 bytes becomes more than a hundred here, so that this many take two megabytes.
const MOST_SIGNATURES: usize = 16_384;
/// `SignatureType`, `SignatureListSize`, `SignatureHeaderSize`, `SignatureSize`.
const LIST_HEADER: u32 = 28;
/// `SignatureOwner`.
const OWNER: u32 = 16;

/// One entry of a signature database (`EFI_SIGNATURE_DATA`, UEFI 2.10 §32.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature<'a> {
    /// `SignatureOwner`: who entered it, by their own word.
    pub owner: Guid,
    /// `SignatureData`, by the type of its list.
    pub kind: SignatureKind<'a>,
}

/// What a database entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind<'a> {
    /// `EFI_CERT_X509_GUID`: a certificate, DER. Nothing has looked into it yet.
    X509(&'a [u8]),
    /// `EFI_CERT_SHA256_GUID` and its siblings: the Authenticode hash of an image.
    Hash(Digest),
    /// `EFI_CERT_X509_SHA256_GUID` and its siblings: a certificate by the hash of its to-be-signed part.
    X509Hash {
        /// The hash.
        digest: Digest,
        /// `TimeOfRevocation`, an `EFI_TIME` (UEFI 2.10 §8.3): zero when the certificate was never good.
        revoked: [u8; 16],
    },
    /// Any other type.
    Other {
        /// `SignatureType`.
        kind: Guid,
        /// The data.
        data: &'a [u8],
    },
}

/// The database entry that let an image start: the data of the variable `db` in `EV_EFI_VARIABLE_AUTHORITY`
/// (PFP §10.4.1), which say no type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// `SignatureOwner`. Shim measures none.
    pub owner: Option<Guid>,
    /// The entry, by its shape.
    pub kind: AuthorityKind<'a>,
}

/// What let an image start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityKind<'a> {
    /// A certificate, DER. Nothing has looked into it yet.
    X509(&'a [u8]),
    /// The Authenticode hash of an image.
    Hash(Digest),
    /// A certificate by the hash of its to-be-signed part, as in [`SignatureKind::X509Hash`].
    X509Hash(Digest),
}

impl<'a> Signature<'a> {
    /// Reads all lists of a variable: `PK`, `KEK`, `db`, `dbx`, `MokList`, `MokListX`. An empty variable has none.
    ///
    /// # Errors
    /// Refuses lists whose sizes disagree, signatures whose size is wrong for their type, more than 16384 signatures,
    /// and bytes that are missing or left over.
    pub fn parse_lists(bytes: &'a [u8]) -> Result<Vec<Self>, Malformed> {
        let mut reader = Reader::new("EFI_SIGNATURE_LIST", bytes);
        let mut signatures = Vec::new();
        while !reader.is_empty() {
            read_list(&mut reader, &mut signatures)?;
        }
        Ok(signatures)
    }
}

impl<'a> Authority<'a> {
    /// Reads the `VariableData` of an authority event for `db`, or of shim's for `Shim`, `vendor_db` and `MokList`.
    /// Not for shim's other variables: `SbatLevel` is text, `MokListTrusted` a flag.
    ///
    /// Firmware measures an `EFI_SIGNATURE_DATA`, an owner and then the entry. Shim measures a bare certificate. The
    /// data are a bare certificate if they are one DER SEQUENCE from the first to the last byte. Only an owner chosen
    /// for it could make an entry look so, and whoever chooses owners decides what the database holds anyway.
    ///
    /// A hash of 48 bytes may be one of SHA-384, or one of SHA-256 and a time behind it (`EFI_CERT_X509_SHA256`); likewise
    /// 64. It is the latter where the last 16 bytes are a moment: no digest looks like one but for one in 2^70.
    ///
    /// # Errors
    /// Refuses what is neither a certificate nor a hash.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if is_one_sequence(bytes) {
            return Ok(Self { owner: None, kind: AuthorityKind::X509(bytes) });
        }
        let mut reader = Reader::new("EFI_SIGNATURE_DATA", bytes);
        let owner = Some(Guid::read(&mut reader)?);
        let entry = reader.rest();
        if is_one_sequence(entry) {
            return Ok(Self { owner, kind: AuthorityKind::X509(entry) });
        }
        let digest = |bytes: &[u8]| HashAlgorithm::ALL.into_iter().find_map(|hash| Digest::from_bytes(hash, bytes));
        let by_hash = entry.split_last_chunk().filter(|(_, time)| is_moment(time)).and_then(|(hash, _)| digest(hash));
        let kind = by_hash.map(AuthorityKind::X509Hash).or_else(|| digest(entry).map(AuthorityKind::Hash));
        let kind =
            kind.ok_or_else(|| reader.malformed(Problem::Text("SignatureData is neither a certificate nor a hash")))?;
        Ok(Self { owner, kind })
    }
}

/// Whether this is an `EFI_TIME` (UEFI 2.10 §8.3), or zeros.
fn is_moment(time: &[u8; 16]) -> bool {
    const UNSPECIFIED_TIMEZONE: i16 = 0x07ff;
    let [y0, y1, month, day, hour, minute, second, pad, n0, n1, n2, n3, zone0, zone1, daylight, pad2] = *time;
    let zone = i16::from_le_bytes([zone0, zone1]);
    let date =
        (1900..=9999).contains(&u16::from_le_bytes([y0, y1])) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let clock = hour < 24 && minute < 60 && second < 60 && u32::from_le_bytes([n0, n1, n2, n3]) < 1_000_000_000;
    let place = ((-1440..=1440).contains(&zone) || zone == UNSPECIFIED_TIMEZONE) && daylight & !3 == 0;
    *time == [0; 16] || (date && clock && place && pad == 0 && pad2 == 0)
}

/// The signature lists of an authenticated variable's new value, behind its `EFI_VARIABLE_AUTHENTICATION_2`
/// (UEFI 2.10 §8.2), as the files hold them that update `dbx`. Bytes without such a header are returned as they are.
///
/// The signature in the header is not verified.
///
/// # Errors
/// Refuses a header whose length doesn't fit.
pub fn skip_authentication(bytes: &[u8]) -> Result<&[u8], Malformed> {
    /// `dwLength`, `wRevision`, `wCertificateType`, `CertType`.
    const CERTIFICATE_HEADER: u32 = 24;
    const REVISION: u16 = 0x0200;
    const WIN_CERT_TYPE_EFI_GUID: u16 = 0x0ef1;

    let mut reader = Reader::new("EFI_VARIABLE_AUTHENTICATION_2", bytes);
    let mut header = || {
        reader.take(16)?; // TimeStamp
        let at_length = reader.clone();
        let length = reader.u32_le()?;
        let is_authentication = reader.u16_le()? == REVISION
            && reader.u16_le()? == WIN_CERT_TYPE_EFI_GUID
            && Guid::read(&mut reader)? == Guid::CERT_TYPE_PKCS7;
        Ok::<_, Malformed>(is_authentication.then_some((length, at_length)))
    };
    // Too short for a header is without one. In a signature list, zeros stand where the revision would be.
    let Ok(Some((length, at_length))) = header() else { return Ok(bytes) };
    let signature = length.checked_sub(CERTIFICATE_HEADER).and_then(|length| usize::try_from(length).ok());
    let signature = signature.ok_or_else(|| {
        at_length.malformed(Problem::Value {
            field: "dwLength",
            value: length.into(),
            wanted: "at least the 24 bytes of its own header are wanted",
        })
    })?;
    reader.take(signature)?;
    Ok(reader.rest())
}

/// Appends the signatures of one list.
fn read_list<'a>(reader: &mut Reader<'a>, signatures: &mut Vec<Signature<'a>>) -> Result<(), Malformed> {
    let kind = Guid::read(reader)?;
    let at_sizes = reader.clone();
    let list_size = reader.u32_le()?;
    let header_size = reader.u32_le()?;
    let signature_size = reader.u32_le()?;
    let wrong = |field, value: u32, wanted| at_sizes.malformed(Problem::Value { field, value: value.into(), wanted });

    if header_size != 0 {
        return Err(wrong("SignatureHeaderSize", header_size, "0 is wanted: no type has a header"));
    }
    let body = list_size
        .checked_sub(LIST_HEADER)
        .ok_or_else(|| wrong("SignatureListSize", list_size, "at least the 28 bytes of its own header are wanted"))?;
    let data_size = signature_size
        .checked_sub(OWNER)
        .filter(|size| *size > 0)
        .ok_or_else(|| wrong("SignatureSize", signature_size, "more than the 16 bytes of an owner are wanted"))?;
    if body % signature_size != 0 {
        return Err(wrong("SignatureListSize", list_size, "a whole number of signatures is wanted"));
    }
    if Shape::of(kind).size().is_some_and(|size| size != data_size) {
        return Err(wrong("SignatureSize", signature_size, "16 and the size that the type has are wanted"));
    }
    let fits = |size: u32| usize::try_from(size).map_err(|_| wrong("SignatureSize", size, "less is wanted"));
    let (body, data_size) = (fits(body)?, fits(data_size)?);
    let mut list = Reader::new("EFI_SIGNATURE_DATA", reader.take(body)?);
    while !list.is_empty() {
        if signatures.len() >= MOST_SIGNATURES {
            let (value, most) = (signatures.len().saturating_add(1) as u64, MOST_SIGNATURES as u64);
            return Err(at_sizes.malformed(Problem::TooMany { field: "signatures", value, most }));
        }
        let owner = Guid::read(&mut list)?;
        let mut data = Reader::new("SignatureData", list.take(data_size)?);
        signatures.push(Signature { owner, kind: Shape::of(kind).read(&mut data)? });
    }
    Ok(())
}

/// How the data of a signature are laid out, by the type of their list.
#[derive(Clone, Copy)]
enum Shape {
    X509,
    Hash(HashAlgorithm),
    X509Hash(HashAlgorithm),
    Other(Guid),
}

impl Shape {
    const fn of(kind: Guid) -> Self {
        match kind {
            Guid::CERT_X509 => Self::X509,
            Guid::CERT_SHA1 => Self::Hash(HashAlgorithm::Sha1),
            Guid::CERT_SHA256 => Self::Hash(HashAlgorithm::Sha256),
            Guid::CERT_SHA384 => Self::Hash(HashAlgorithm::Sha384),
            Guid::CERT_SHA512 => Self::Hash(HashAlgorithm::Sha512),
            Guid::CERT_X509_SHA256 => Self::X509Hash(HashAlgorithm::Sha256),
            Guid::CERT_X509_SHA384 => Self::X509Hash(HashAlgorithm::Sha384),
            Guid::CERT_X509_SHA512 => Self::X509Hash(HashAlgorithm::Sha512),
            other => Self::Other(other),
        }
    }

    /// Bytes of data behind the owner, where the type fixes them.
    fn size(self) -> Option<u32> {
        let hash = |algorithm: HashAlgorithm| u32::try_from(algorithm.size()).ok();
        match self {
            Self::Hash(algorithm) => hash(algorithm),
            Self::X509Hash(algorithm) => hash(algorithm)?.checked_add(16),
            Self::X509 | Self::Other(_) => None,
        }
    }

    fn read<'a>(self, data: &mut Reader<'a>) -> Result<SignatureKind<'a>, Malformed> {
        let digest = |data: &mut Reader<'a>, algorithm: HashAlgorithm| {
            let bytes = data.take(algorithm.size())?;
            Digest::from_bytes(algorithm, bytes)
                .ok_or_else(|| data.malformed(Problem::Truncated { wanted: algorithm.size(), left: bytes.len() }))
        };
        Ok(match self {
            Self::X509 => SignatureKind::X509(data.rest()),
            Self::Hash(algorithm) => SignatureKind::Hash(digest(data, algorithm)?),
            Self::X509Hash(algorithm) => {
                SignatureKind::X509Hash { digest: digest(data, algorithm)?, revoked: data.array()? }
            }
            Self::Other(kind) => SignatureKind::Other { kind, data: data.rest() },
        })
    }
}

/// Whether `bytes` are one DER SEQUENCE and nothing else (X.690 §8.1, §10.1), by the outer tag and length.
fn is_one_sequence(bytes: &[u8]) -> bool {
    const SEQUENCE: u8 = 0x30;
    let (content, length) = match bytes {
        [SEQUENCE, length @ 0..=0x7f, content @ ..] => (content, usize::from(*length)),
        [SEQUENCE, 0x81, a @ 0x80..=0xff, content @ ..] => (content, usize::from(*a)),
        [SEQUENCE, 0x82, a @ 1..=0xff, b, content @ ..] => (content, usize::from(u16::from_be_bytes([*a, *b]))),
        _ => return false,
    };
    content.len() == length
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn length(value: usize) -> [u8; 4] {
        u32::try_from(value).unwrap().to_le_bytes()
    }

    fn list(kind: Guid, data: &[&[u8]]) -> Vec<u8> {
        let size = data.first().map_or(17, |data| 16 + data.len());
        let mut out = kind.as_bytes().to_vec();
        out.extend(length(28 + size * data.len()));
        out.extend(0u32.to_le_bytes());
        out.extend(length(size));
        for data in data {
            out.extend(Guid::MICROSOFT.as_bytes());
            out.extend(*data);
        }
        out
    }

    fn problem(bytes: &[u8]) -> Problem {
        Signature::parse_lists(bytes).unwrap_err().problem
    }

    /// A certificate of `length` bytes of content, as far as its outermost shape goes.
    fn certificate(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [vec![0x30, 0x82, high, low], vec![7; length.into()]].concat()
    }

    #[test]
    fn lists_of_several_types_follow_each_other() {
        let revoked = [[3; 32].as_slice(), &[4; 16]].concat();
        let bytes = [
            list(Guid::CERT_X509, &[b"a certificate"]),
            list(Guid::CERT_SHA256, &[&[1; 32], &[2; 32]]),
            list(Guid::CERT_X509, &[]),
            list(Guid::CERT_X509_SHA256, &[&revoked]),
            list(Guid::ZERO, &[b"?"]),
        ]
        .concat();
        let signatures = Signature::parse_lists(&bytes).unwrap();
        let digest = |byte| Digest::from_bytes(HashAlgorithm::Sha256, &[byte; 32]).unwrap();
        let kinds: Vec<_> = signatures.iter().map(|signature| signature.kind).collect();
        let wanted = [
            SignatureKind::X509(b"a certificate"),
            SignatureKind::Hash(digest(1)),
            SignatureKind::Hash(digest(2)),
            SignatureKind::X509Hash { digest: digest(3), revoked: [4; 16] },
            SignatureKind::Other { kind: Guid::ZERO, data: b"?" },
        ];
        assert_eq!(kinds, wanted);
        assert!(signatures.iter().all(|signature| signature.owner == Guid::MICROSOFT));
        assert_eq!(Signature::parse_lists(&[]), Ok(vec![]));
    }

    #[test]
    fn a_truncated_list_is_refused_at_every_byte() {
        let bytes = list(Guid::CERT_SHA256, &[&[1; 32], &[2; 32]]);
        for length in 1..bytes.len() {
            assert!(matches!(problem(&bytes[..length]), Problem::Truncated { .. }), "{length}");
        }
    }

    #[test]
    fn sizes_that_disagree_are_refused() {
        let good = list(Guid::CERT_SHA256, &[&[1; 32]]);
        let refused = |offset: usize, value: u32| {
            let mut bytes = good.clone();
            bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
            problem(&bytes)
        };
        for (offset, values) in [
            (16, vec![0, 27, 29, 28 + 49, 1 << 31, u32::MAX]),
            (20, vec![1, 1 << 31, u32::MAX]),
            (24, vec![0, 1, 16, 17, 24, 47, 49, 1 << 31, u32::MAX]),
        ] {
            for value in values {
                let problem = refused(offset, value);
                assert!(matches!(problem, Problem::Value { .. } | Problem::Truncated { .. }), "{value}: {problem}");
            }
        }
        // A list that claims one signature more than there is.
        assert_eq!(refused(16, 28 + 96), Problem::Truncated { wanted: 96, left: 48 });
    }

    #[test]
    fn signatures_are_counted_over_all_lists() {
        let hashes = vec![[0u8; 1].as_slice(); MOST_SIGNATURES];
        let full = list(Guid::ZERO, &hashes);
        assert_eq!(Signature::parse_lists(&full).unwrap().len(), MOST_SIGNATURES);
        let over = [full, list(Guid::ZERO, &[&[0]])].concat();
        let most = MOST_SIGNATURES as u64;
        assert_eq!(problem(&over), Problem::TooMany { field: "signatures", value: most + 1, most });
    }

    #[test]
    fn an_authority_is_told_by_its_shape() {
        let bare = certificate(300);
        let authority = Authority::parse(&bare).unwrap();
        assert_eq!(authority, Authority { owner: None, kind: AuthorityKind::X509(&bare) });

        let owned = [Guid::MICROSOFT.as_bytes().as_slice(), &bare].concat();
        let authority = Authority::parse(&owned).unwrap();
        assert_eq!(authority, Authority { owner: Some(Guid::MICROSOFT), kind: AuthorityKind::X509(&bare) });

        let hash = [Guid::MICROSOFT.as_bytes().as_slice(), &[9; 32]].concat();
        let digest = Digest::from_bytes(HashAlgorithm::Sha256, &[9; 32]).unwrap();
        assert_eq!(Authority::parse(&hash).unwrap().kind, AuthorityKind::Hash(digest));

        // A hash with a time behind it is of a certificate, and not a longer hash.
        let time = [0xea, 0x07, 11, 24, 19, 30, 0, 0, 0, 0, 0, 0, 0xff, 0x07, 0, 0];
        for size in [32, 48, 64] {
            let digest =
                HashAlgorithm::ALL.into_iter().find_map(|hash| Digest::from_bytes(hash, &vec![9; size])).unwrap();
            for time in [time, [0; 16]] {
                let entry = [Guid::MICROSOFT.as_bytes().as_slice(), &vec![9; size], &time].concat();
                assert_eq!(Authority::parse(&entry).unwrap().kind, AuthorityKind::X509Hash(digest), "{size}");
            }
        }
        // Not in the 13th month, nor with anything where nothing is.
        for (at, value) in [(2, 13), (3, 0), (4, 24), (7, 1), (13, 0x7f), (14, 4), (15, 1)] {
            let mut wrong = time;
            wrong[at] = value;
            let entry = [Guid::MICROSOFT.as_bytes().as_slice(), &[9; 32], &wrong].concat();
            let kind = Authority::parse(&entry).unwrap().kind;
            assert!(matches!(kind, AuthorityKind::Hash(digest) if digest.algorithm() == HashAlgorithm::Sha384), "{at}");
        }

        for length in 0..owned.len() {
            // 20, 32, 48 or 64 bytes of anything could be a hash.
            if !matches!(length, 36 | 48 | 64 | 80) {
                assert!(Authority::parse(&owned[..length]).is_err(), "{length}");
            }
        }
        assert!(Authority::parse(b"sbat,1,2021030218\n").is_err());
    }

    #[test]
    fn an_authentication_header_is_skipped_where_there_is_one() {
        let lists = list(Guid::CERT_SHA256, &[&[1; 32]]);
        assert_eq!(skip_authentication(&lists), Ok(&lists[..]));
        assert_eq!(skip_authentication(&[]), Ok(&[][..]));

        let mut file = vec![0; 16];
        file.extend(27u32.to_le_bytes());
        file.extend([0x00, 0x02, 0xf1, 0x0e]);
        file.extend(Guid::CERT_TYPE_PKCS7.as_bytes());
        file.extend([5; 3]);
        file.extend(&lists);
        assert_eq!(skip_authentication(&file), Ok(&lists[..]));
        for length in [0u32, 23, 1 << 31, u32::MAX] {
            file[16..20].copy_from_slice(&length.to_le_bytes());
            assert!(skip_authentication(&file).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics(bytes: Vec<u8>, kind in 0usize..10, list_size in 0u32..300, signature_size in 0u32..80) {
            let _ = Signature::parse_lists(&bytes);
            let _ = Authority::parse(&bytes);
            let _ = skip_authentication(&bytes);
            let kinds = [Guid::CERT_X509, Guid::CERT_SHA256, Guid::CERT_X509_SHA512, Guid::ZERO];
            let mut framed = kinds[kind % kinds.len()].as_bytes().to_vec();
            framed.extend(list_size.to_le_bytes());
            framed.extend([0; 4]);
            framed.extend(signature_size.to_le_bytes());
            framed.extend(&bytes);
            let _ = Signature::parse_lists(&framed);
        }
    }
}
