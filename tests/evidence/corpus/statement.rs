//! `TPMS_ATTEST`, in parts that can be spoilt one by one.

use attest_evidence::HashAlgorithm;
use attest_evidence::bytes::put_sized_u16;
use attest_evidence::tpm::{Attest, Attested, ClockInfo, PcrBanks, PcrIndex};

/// `TPM_GENERATED_VALUE`.
pub(crate) const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
pub(crate) const QUOTE: u16 = 0x8018;

/// A statement that a restricted key may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    pub(crate) signer: Vec<u8>,
    pub(crate) nonce: Vec<u8>,
    pub(crate) clock: u64,
    pub(crate) reset_count: u32,
    pub(crate) restart_count: u32,
    pub(crate) safe: u8,
    pub(crate) firmware: u64,
    pub(crate) body: Body,
}

/// `TPMU_ATTEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Quote(Quoted),
    /// Any other, as bytes.
    Other(Vec<u8>),
}

/// `TPMS_QUOTE_INFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quoted {
    /// `TPML_PCR_SELECTION.count`, where it is not the number of entries.
    pub(crate) count: Option<u32>,
    /// Bank and `pcrSelect`.
    pub(crate) selection: Vec<(u16, Vec<u8>)>,
    pub(crate) digest: Vec<u8>,
}

impl Statement {
    /// An honest quote of all `pcrs`, as a signer by SHA-256 makes it.
    pub(crate) fn quote(nonce: &[u8], pcrs: &PcrBanks) -> Self {
        let selection = pcrs.iter().map(|(bank, values)| (bank.id(), mask(values.keys().copied()))).collect();
        let values = pcrs.iter().flat_map(|(_, values)| values.values());
        let digest = HashAlgorithm::Sha256.hash_parts(values.map(|value| value.as_bytes()));
        Self {
            magic: GENERATED,
            kind: QUOTE,
            signer: [&[0x00, 0x0b], [0x51; 32].as_slice()].concat(),
            nonce: nonce.to_vec(),
            clock: 86_400_000,
            reset_count: 12,
            restart_count: 3,
            safe: 1,
            firmware: 0x0001_0002_0003_0004,
            body: Body::Quote(Quoted { count: None, selection, digest: digest.as_bytes().to_vec() }),
        }
    }

    /// The parts of what was parsed.
    pub(crate) fn of(attest: &Attest<'_>) -> Self {
        let ClockInfo { clock, reset_count, restart_count, safe } = attest.clock;
        let (kind, body) = match &attest.attested {
            Attested::Quote(quote) => {
                let mut bytes = quote.selection.get(4..).unwrap();
                let mut selection = Vec::new();
                while let [high, low, size, rest @ ..] = bytes {
                    let (select, rest) = rest.split_at((*size).into());
                    selection.push((u16::from_be_bytes([*high, *low]), select.to_vec()));
                    bytes = rest;
                }
                (QUOTE, Body::Quote(Quoted { count: None, selection, digest: quote.pcr_digest.to_vec() }))
            }
            Attested::Certify(certified) => {
                let mut body = Vec::new();
                put_sized_u16(&mut body, certified.name).unwrap();
                put_sized_u16(&mut body, certified.qualified_name).unwrap();
                (0x8017, Body::Other(body))
            }
            Attested::Time(info) => {
                let mut body = info.time.to_be_bytes().to_vec();
                put_clock(&mut body, info.clock);
                body.extend(info.firmware_version.to_be_bytes());
                (0x8019, Body::Other(body))
            }
        };
        Self {
            magic: GENERATED,
            kind,
            signer: attest.qualified_signer.to_vec(),
            nonce: attest.extra_data.to_vec(),
            clock,
            reset_count,
            restart_count,
            safe: safe.into(),
            firmware: attest.firmware_version,
            body,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_be_bytes().to_vec();
        out.extend(self.kind.to_be_bytes());
        put_sized_u16(&mut out, &self.signer).unwrap();
        put_sized_u16(&mut out, &self.nonce).unwrap();
        out.extend(self.clock.to_be_bytes());
        out.extend(self.reset_count.to_be_bytes());
        out.extend(self.restart_count.to_be_bytes());
        out.push(self.safe);
        out.extend(self.firmware.to_be_bytes());
        match &self.body {
            Body::Other(bytes) => out.extend(bytes),
            Body::Quote(Quoted { count, selection, digest }) => {
                out.extend(count.unwrap_or(u32::try_from(selection.len()).unwrap()).to_be_bytes());
                for (bank, select) in selection {
                    out.extend(bank.to_be_bytes());
                    out.push(u8::try_from(select.len()).unwrap());
                    out.extend(select);
                }
                put_sized_u16(&mut out, digest).unwrap();
            }
        }
        out
    }

    /// What it quotes.
    pub(crate) fn quoted(&mut self) -> &mut Quoted {
        match &mut self.body {
            Body::Quote(quoted) => quoted,
            Body::Other(_) => panic!("not a quote"),
        }
    }
}

fn put_clock(out: &mut Vec<u8>, clock: ClockInfo) {
    out.extend(clock.clock.to_be_bytes());
    out.extend(clock.reset_count.to_be_bytes());
    out.extend(clock.restart_count.to_be_bytes());
    out.push(clock.safe.into());
}

/// `TPMS_PCR_SELECT` of three octets.
pub(crate) fn mask(pcrs: impl IntoIterator<Item = PcrIndex>) -> Vec<u8> {
    attest_evidence::tpm::PcrSelection::of(pcrs).bits().to_vec()
}
