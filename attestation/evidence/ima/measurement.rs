//! What an entry says: the fields of its template (`security/integrity/ima/ima_template_lib.c`).

use super::list::{IMA_DIGEST, IMA_NAME};
use super::{Entry, ImaRefused, LONGEST_DATA, Template};
use crate::bytes::{Malformed, Problem, Reader};
use crate::hash::{Digest, HashAlgorithm};
use std::borrow::Cow;

/// What an entry says was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement<'a> {
    /// The digest of the file or of the buffer.
    pub digest: FileDigest<'a>,
    /// The path of the file, or the name of the event (`boot_aggregate`, `kexec-cmdline`, …).
    pub name: FileName<'a>,
    /// What the template has beyond these.
    pub attached: Attached<'a>,
}

/// The fields of a template behind digest and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached<'a> {
    /// None.
    Nothing,
    /// The value of `security.ima`, empty for a file that isn't signed.
    Signature(&'a [u8]),
    /// The buffer that was measured, empty for a file.
    ///
    /// Nothing vouches for the template's name, and a signature stands in the same place: a buffer is what was measured
    /// only if the digest is the digest of it, as [`FileDigest::is_of`] says.
    Buffer(&'a [u8]),
    /// The signature appended to a file, such as a kernel module.
    Appended {
        /// The value of `security.ima`, empty for a file that has none.
        signature: &'a [u8],
        /// The digest of the file without the appended signature.
        digest: Option<FileDigest<'a>>,
        /// The appended signature, PKCS #7, empty for a file that has none.
        appended: &'a [u8],
    },
    /// What an EVM signature covers.
    Evm(EvmAttributes<'a>),
}

/// The fields of `evm-sig`. Those of events that have no file are empty or `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvmAttributes<'a> {
    /// The value of `security.evm`.
    pub signature: &'a [u8],
    /// Names of the extended attributes, with `|` between them and NUL at the end.
    pub names: &'a [u8],
    /// Their lengths, 32 bits each.
    pub lengths: &'a [u8],
    /// Their values, with nothing between them.
    pub values: &'a [u8],
    /// Owner of the inode.
    pub user: Option<u32>,
    /// Group of the inode.
    pub group: Option<u32>,
    /// Type and permissions of the inode.
    pub mode: Option<u16>,
}

/// A digest with the name of its algorithm. In a violation it is zeros, and of any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileDigest<'a> {
    /// What was hashed.
    pub of: DigestOf,
    /// The kernel's name of the algorithm (`hash_algo_name`), in printable ASCII.
    pub algorithm: &'a str,
    /// The digest.
    pub bytes: &'a [u8],
}

/// What a [`FileDigest`] is the digest of. Templates before v2 don't tell, and mean the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestOf {
    /// The file's content.
    Content,
    /// The file's fs-verity descriptor, and so its Merkle tree.
    Verity,
}

/// The name of a file. It may hold every byte but NUL; the kernel has replaced spaces by underscores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName<'a>(&'a [u8]);

impl<'a> Entry<'a> {
    /// Reads the fields. Those of a [violation](Entry::is_violation) are what somebody says, no more.
    ///
    /// # Errors
    /// Refuses data that are not exactly those fields, and a template of which none are known.
    pub fn measurement(&self) -> Result<Measurement<'a>, ImaRefused> {
        if let Template::Other(name) = self.template {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(ImaRefused::UnknownTemplate { entry: self.number, name });
        }
        Measurement::read(self.template, self.data).map_err(|mut malformed| {
            malformed.offset += self.data_offset;
            ImaRefused::Malformed { entry: self.number, malformed }
        })
    }
}

impl<'a> Measurement<'a> {
    fn read(template: Template<'_>, data: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("IMA template data", data);
        let fields = &mut reader;
        let (digest, name) = match template {
            Template::Ima => {
                let digest = FileDigest { of: DigestOf::Content, algorithm: "sha1", bytes: fields.take(IMA_DIGEST)? };
                (digest, FileName(fields.sized_u32_le("file name", IMA_NAME)?))
            }
            Template::ImaNgV2 | Template::ImaSigV2 => (FileDigest::read_v2(fields)?, FileName::read(fields)?),
            _ => (FileDigest::read(fields)?, FileName::read(fields)?),
        };
        let attached = match template {
            Template::Ima | Template::ImaNg | Template::ImaNgV2 | Template::Other(_) => Attached::Nothing,
            Template::ImaSig | Template::ImaSigV2 => Attached::Signature(field(fields, "signature")?),
            Template::ImaBuf => Attached::Buffer(field(fields, "buffer")?),
            Template::ImaModsig => {
                let signature = field(fields, "signature")?;
                let digest = FileDigest::read_optional(fields)?;
                Attached::Appended { signature, digest, appended: field(fields, "appended signature")? }
            }
            Template::EvmSig => Attached::Evm(EvmAttributes::read(fields)?),
        };
        reader.end()?;
        Ok(Self { digest, name, attached })
    }
}

impl<'a> EvmAttributes<'a> {
    fn read(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            signature: field(fields, "EVM signature")?,
            names: field(fields, "names of attributes")?,
            lengths: field(fields, "lengths of attributes")?,
            values: field(fields, "values of attributes")?,
            user: number(fields, "user")?.map(u32::from_le_bytes),
            group: number(fields, "group")?.map(u32::from_le_bytes),
            mode: number(fields, "mode")?.map(u16::from_le_bytes),
        })
    }
}

impl<'a> FileDigest<'a> {
    /// `d-ng`: `ALGORITHM ‖ ":" ‖ NUL ‖ digest`.
    fn read(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let before = fields.clone();
        let digest = prefix_and_bytes(field(fields, "digest")?)
            .and_then(|(algorithm, bytes)| Some(Self { of: DigestOf::Content, algorithm: plain(algorithm)?, bytes }));
        digest.ok_or_else(|| before.malformed(Problem::Text("`ALGORITHM:`, NUL and a digest are wanted")))
    }

    /// `d-ngv2`: as `d-ng`, with `ima:` or `verity:` in front.
    fn read_v2(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let before = fields.clone();
        let digest = prefix_and_bytes(field(fields, "digest")?).and_then(|(prefix, bytes)| {
            let (of, algorithm) = match prefix.split_once(':')? {
                ("ima", algorithm) => (DigestOf::Content, algorithm),
                ("verity", algorithm) => (DigestOf::Verity, algorithm),
                _ => return None,
            };
            Some(Self { of, algorithm: plain(algorithm)?, bytes })
        });
        digest.ok_or_else(|| {
            before.malformed(Problem::Text("`ima:ALGORITHM:` or `verity:ALGORITHM:`, NUL and a digest are wanted"))
        })
    }

    /// `d-modsig`: as `d-ng`, or nothing at all.
    fn read_optional(fields: &mut Reader<'a>) -> Result<Option<Self>, Malformed> {
        let mut look = fields.clone();
        if field(&mut look, "digest")?.is_empty() {
            *fields = look;
            return Ok(None);
        }
        Self::read(fields).map(Some)
    }

    /// The digest, if this project knows the algorithm and the length is right.
    pub fn known(&self) -> Option<Digest> {
        Digest::from_bytes(self.algorithm.parse().ok()?, self.bytes)
    }

    /// Whether it is the digest of these bytes, by an algorithm that this project knows.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        let algorithm: Option<HashAlgorithm> = self.algorithm.parse().ok();
        algorithm.is_some_and(|algorithm| algorithm.hash(bytes).as_bytes() == self.bytes)
    }
}

impl<'a> FileName<'a> {
    fn read(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        let before = fields.clone();
        match field(fields, "file name")?.split_last() {
            Some((0, name)) if !name.contains(&0) => Ok(Self(name)),
            _ => Err(before.malformed(Problem::Text("a file name with one NUL, at its end, is wanted"))),
        }
    }

    /// The bytes, without the NUL.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// As text, with U+FFFD for what isn't UTF-8. Two names can have one text: compare bytes.
    ///
    /// Whoever can create files chooses it, line feeds and escape sequences included:
    /// [`Escaped`](crate::report::Escaped) is how it gets to a terminal or a log.
    pub fn to_text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }
}

impl std::fmt::Debug for FileName<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "\"{}\"", self.0.escape_ascii())
    }
}

/// The text in front of the first `:` NUL, and what follows.
fn prefix_and_bytes(field: &[u8]) -> Option<(&str, &[u8])> {
    let end = field.iter().position(|byte| *byte == 0)?;
    let (prefix, bytes) = field.split_at_checked(end)?;
    let prefix = std::str::from_utf8(prefix).ok()?.strip_suffix(':')?;
    Some((prefix, bytes.split_first()?.1))
}

/// The name of an algorithm, if it could be one.
fn plain(algorithm: &str) -> Option<&str> {
    let plain = !algorithm.is_empty() && algorithm.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    plain.then_some(algorithm)
}

fn field<'a>(fields: &mut Reader<'a>, name: &'static str) -> Result<&'a [u8], Malformed> {
    fields.sized_u32_le(name, LONGEST_DATA)
}

/// A field that holds a number, or nothing.
fn number<const N: usize>(fields: &mut Reader<'_>, name: &'static str) -> Result<Option<[u8; N]>, Malformed> {
    let before = fields.clone();
    let bytes = field(fields, name)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.try_into().map(Some).map_err(|_| before.malformed(Problem::Text("a number of another size is wanted")))
}
