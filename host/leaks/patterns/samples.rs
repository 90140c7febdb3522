//! What each pattern finds, and what it does not though it looks much alike. Put together here: texts that look like live tokens
//! don't belong into a repository, and other scanners would find them.

use super::checks::sum;
use super::{Patterns, formats::FORMATS};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use std::collections::BTreeSet;

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const HEX: &str = "0123456789abcdef";
const CAPITALS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE62: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const URL: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// Characters that look random, the same in each run.
pub(super) fn random(alphabet: &str, count: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let place = usize::try_from(state >> 33).unwrap() % alphabet.len();
        char::from(alphabet.as_bytes()[place])
    };
    (0..count).map(next).collect()
}

fn summed(prefix: &str, seed: u64) -> String {
    let body = random(BASE62, 30, seed);
    format!("{prefix}{body}{}", sum(body.as_bytes()))
}

fn pem(kind: &str, headers: &str, newline: &str) -> String {
    let text = BASE64.encode(random(URL, 900, 5).as_bytes());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let (begin, end) = ("-----BEGIN", "-----END");
    format!("{begin} {kind}-----{newline}{headers}{}{newline}{end} {kind}-----", lines.join(newline))
}

fn jwt(header: &str, claims: &str) -> String {
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    format!("{}.{}.{}", part(header), part(claims), random(URL, 43, 7))
}

fn docker(user: &str) -> String {
    format!("{{\"auths\": {{\"registry\": {{\"auth\": \"{}\"}}}}}}", BASE64.encode(user.as_bytes()))
}

/// Texts with one secret each, by the pattern that finds it.
pub(super) fn positives() -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for kind in ["RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        all.push(("private-key", pem(kind, "", "\n")));
        all.push(("private-key", format!("key = \"{}\"", pem(kind, "", "\\n"))));
        all.push(("private-key", pem(kind, "", "\r\n    ")));
        all.push(("private-key", pem(kind, "", "\n/// ")));
        all.push(("private-key", pem(kind, "", "\n+# ")));
        all.push(("private-key", pem(kind, "", "\\n\" +\n    \"")));
    }
    all.push(("private-key", pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0011\n\n", "\n")));
    all.push(("private-key", pem("PGP PRIVATE KEY BLOCK", "Version: GnuPG v2\n\n", "\n")));
    let account = format!("{{\"type\": \"service_account\", \"private_key\": \"{}\"}}", pem("PRIVATE KEY", "", "\\n"));
    all.push(("gcp-service-account", account));
    let (id, secret) = (random(CAPITALS, 16, 1), random(BASE62, 38, 2));
    all.push(("aws-secret-access-key", format!("AWS_ACCESS_KEY_ID=AKIA{id}\nAWS_SECRET_ACCESS_KEY={secret}/+\n")));
    all.push(("aws-secret-access-key", format!("{{\"SecretAccessKey\": \"{secret}/+\"}}")));
    all.push(("aws-secret-access-key", format!("Access key ID,Secret access key\nASIA{id},{secret}/+")));
    all.push(("aws-secret-access-key", format!("{secret}/+ is of AKIA{id}")));
    for prefix in ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"] {
        all.push(("github-token", summed(prefix, 3)));
    }
    all.push(("github-token", format!("ghr_{}", random(BASE62, 76, 4))));
    let app = jwt("{\"alg\":\"RS256\"}", "{\"iss\":\"github\"}");
    all.push(("github-app-token", format!("ghs_12345_{app}")));
    all.push(("github-fine-grained-token", format!("github_pat_{}_{}", random(BASE62, 22, 5), random(BASE62, 59, 6))));
    for prefix in ["glpat-", "glrt-", "gldt-", "glptt-", "glcbt-64_", "gloas-", "glft-", "glagent-", "SIE-glpat-"] {
        all.push(("gitlab-token", format!("{prefix}{}", random(URL, 20, 7))));
    }
    all.push(("gitlab-token", format!("glpat-{}.01.{}", random(URL, 40, 8), random(LOWER, 7, 8))));
    all.push(("npm-token", summed("npm_", 9)));
    all.push(("pypi-token", format!("pypi-AgEIcHlwaS5vcmc{}", random(URL, 140, 10))));
    all.push(("crates-io-token", format!("cio{}", random(BASE62, 32, 11))));
    all.push(("slack-token", format!("xoxb-{}-{}", 482_910_375_610_u64, random(BASE62, 24, 12))));
    all.push(("slack-token", format!("xapp-1-A0{}-{}", random(CAPITALS, 9, 13), random(HEX, 64, 13))));
    let place = format!("hooks.slack.com/services/T{}/B{}", random(CAPITALS, 9, 14), random(CAPITALS, 10, 14));
    all.push(("slack-webhook", format!("https://{place}/{}", random(BASE62, 24, 14))));
    all.push(("stripe-key", format!("sk_live_{}", random(BASE62, 24, 15))));
    all.push(("stripe-key", format!("rk_live_{}", random(BASE62, 99, 15))));
    all.push(("google-api-key", format!("AIza{}", random(URL, 35, 17))));
    let account = format!("AccountName=a;AccountKey={}==;EndpointSuffix=x", random(BASE62, 86, 18));
    all.push(("azure-storage-key", account));
    all.push(("jwt", jwt("{\"alg\":\"ES256\",\"typ\":\"JWT\"}", "{\"sub\":\"me\"}")));
    all.push(("docker-auth", docker("me:hunter-2-hunter")));
    all.push(("docker-auth", docker("me:hunter-2-hunter").replace('"', "\\\"")));
    all.push(("hugging-face-token", format!("hf_{}", random(BASE62, 34, 19))));
    let marked =
        |prefix: &str, side| format!("sk-{prefix}{}T3BlbkFJ{}", random(BASE62, side, 20), random(BASE62, side, 21));
    all.push(("openai-key", marked("", 20)));
    all.push(("openai-key", marked("proj-", 74)));
    all.push(("anthropic-key", format!("sk-ant-api03-{}AA", random(URL, 93, 22))));
    all.push(("sendgrid-key", format!("SG.{}.{}", random(URL, 22, 23), random(URL, 43, 24))));
    all.push(("twilio-key", format!("SK{}", random(HEX, 32, 25))));
    all.push(("vault-token", format!("hvs.{}", random(BASE62, 90, 26))));
    all.push(("telegram-bot-token", format!("https://api.telegram.org/bot123456789:AA{}", random(URL, 33, 27))));
    all
}

fn negatives() -> Vec<String> {
    let mut all = vec![
        // Nothing of a key is there.
        "-----BEGIN PRIVATE KEY-----\nMIIE...\n-----END PRIVATE KEY-----".to_owned(),
        "a key begins with -----BEGIN PRIVATE KEY----- and goes on with its text in base64 and it ends likewise"
            .to_owned(),
        pem("PUBLIC KEY", "", "\n"),
        pem("CERTIFICATE", "", "\n"),
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", "A".repeat(64)),
        // The maker's examples.
        "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
            .to_owned(),
        jwt("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", "{\"sub\":\"1234567890\",\"name\":\"John Doe\"}"),
        // An id alone, and with a commit nearby.
        format!("AKIA{}", random(CAPITALS, 16, 1)),
        format!("AKIA{} {}", random(CAPITALS, 16, 1), random(HEX, 40, 2)),
        // One character too few, one too many.
        format!("AKIA{} {}", random(CAPITALS, 16, 1), random(BASE62, 39, 2)),
        format!("AKIA{} {}", random(CAPITALS, 16, 1), random(BASE62, 41, 2)),
        format!("cio{}", random(BASE62, 31, 11)),
        format!("cio{}", random(BASE62, 33, 11)),
        format!("SK{}", random(HEX, 31, 25)),
        format!("SK{}", random(HEX, 33, 25)),
        format!("AIza{}", random(BASE62, 36, 17)),
        format!("SG.{}.{}", random(BASE62, 22, 23), random(BASE62, 44, 24)),
        format!("12345678901:AA{}", random(URL, 33, 27)),
        format!("x123456789:AA{}", random(URL, 33, 27)),
        format!("glpat-{}", random(URL, 19, 7)),
        // A part of a longer word.
        format!("x{}", summed("ghp_", 3)),
        format!("{}x", summed("ghp_", 3)),
        format!("task-{}", random(BASE62, 40, 20)),
        format!("sk_test_{}", random(BASE62, 24, 15)),
        // A wrong sum, and what people write for a token.
        format!("ghp_{}", random(BASE62, 36, 3)),
        format!("npm_{}", random(BASE62, 36, 9)),
        format!("ghp_{}", "x".repeat(36)),
        format!("sk_live_{}", "0123456789abcdefghijklmn"),
        format!("hf_{}", "your_token_here_0123456789_0123456789"),
        format!("hf_{}", random(LOWER, 34, 19)),
        format!("xoxb-{}-{}", "0".repeat(12), "x".repeat(24)),
        // No JSON; no algorithm; not signed.
        format!("eyJ{}.eyJ{}.{}", random(URL, 20, 1), random(URL, 20, 2), random(URL, 20, 3)),
        jwt("{\"typ\":\"JWT\"}", "{\"sub\":\"me\"}"),
        jwt("{\"alg\":\"none\"}", "{\"sub\":\"me\"}"),
        // No password in it.
        docker("somebody-without-a-password"),
        docker("me:password"),
        "\"auth\": \"authenticated\"".to_owned(),
    ];
    all.push(format!("cio{}", "nstructorWithAVeryLongNameIndeed"));
    all
}

#[test]
fn each_pattern_finds_its_secrets_whatever_stands_around_them() {
    let patterns = Patterns::new();
    let samples = positives();
    for (name, text) in &samples {
        for (before, after) in [("", ""), ("x = '", "'\n"), ("{\"log\": \"line\\n", "\\nmore\"}"), ("\u{e9} ", "\r\n")]
        {
            let whole = format!("{before}{text}{after}");
            let found = patterns.find(whole.as_bytes());
            let names: Vec<_> = found.iter().map(|finding| finding.pattern.name).collect();
            assert_eq!(names, [*name], "{whole}");
            let finding = &found[0];
            let begin = usize::try_from(finding.offset).unwrap();
            let secret = &whole[begin..begin + finding.length];
            assert!(text.contains(secret) && secret.len() >= 16, "{secret}");
            assert_eq!(whole[..begin].matches('\n').count() as u64 + 1, finding.start.line);
            let line = whole[..begin].rfind('\n').map_or(0, |at| at + 1);
            assert_eq!(whole[line..begin].chars().count() as u64 + 1, finding.start.column);
            assert!(finding.end > finding.start);
            assert!(!format!("{finding:?}").contains(secret), "a finding does not hold what it is about");
        }
    }
    let found: BTreeSet<_> = samples.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, FORMATS.iter().map(|pattern| pattern.name).collect(), "each has a sample");
    assert_eq!(found.len(), Patterns::all().count());
}

#[test]
fn the_expressions_of_every_pattern_compile() {
    for ready in &Patterns::new().ready {
        assert_eq!(ready.expressions.nearby.is_some(), ready.pattern.nearby.is_some());
    }
}

#[test]
fn what_only_looks_like_a_secret_is_left_out() {
    let patterns = Patterns::new();
    for text in negatives() {
        let found = patterns.find(text.as_bytes());
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn the_checksum_is_that_of_a_token_that_its_maker_published() {
    // <https://github.blog/engineering/behind-githubs-new-authentication-token-formats/>, revoked long ago.
    let body = ["zQWBuTSOoRi4A9", "spHcVY5ncnsDkxkJ"].concat();
    assert_eq!(sum(body.as_bytes()), "0mLq17");
}

#[test]
fn a_fingerprint_is_of_the_secret_and_not_of_its_place() {
    let patterns = Patterns::new();
    let token = summed("ghp_", 3);
    let of = |text: String| patterns.find(text.as_bytes())[0].fingerprint;
    let one = of(token.clone());
    assert_eq!(one, of(format!("elsewhere: {token}")));
    assert_ne!(one, of(summed("ghp_", 4)));
    assert_eq!(one.to_string().parse(), Ok(one));
    assert!(one.to_string()[1..].parse::<super::Fingerprint>().is_err());
}

/// They have to be found wherever they begin.
#[test]
fn no_anchor_begins_with_another() {
    let anchors: BTreeSet<_> = FORMATS.iter().flat_map(|pattern| pattern.anchors).collect();
    for one in &anchors {
        assert!(anchors.iter().all(|other| one == other || !other.starts_with(**one)), "{one}");
    }
}
