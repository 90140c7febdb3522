//! The formats: of each, its anchors, its expression, and what is checked beyond that.
//!
//! A format is here if it can be told from other text. `password = "…"` can't: whoever gets a hundred false findings a day reads
//! none of them.
//!
//! Expressions that go on for as long as they can (`+`, `{20,}`) end with the pattern's reach. Where many anchors could stand in
//! one such run, [`Edges`] allow only its first: so the time stays linear.

use super::{Edges, Pattern, checks};

/// Most bytes of a key in PEM, or a JWT, that are taken together: RSA of 16384 bits has 12,700.
const LONG: usize = 16 * 1024;

/// What most formats have.
const PLAIN: Pattern = Pattern {
    name: "",
    what: "",
    anchors: &[],
    edges: Edges::Word,
    preceded: None,
    expression: "",
    nearby: None,
    reach: 320,
    check: checks::varied,
};

/// A key in PEM (RFC 7468 and what preceded it), as it is, within a string, where its lines end with `\n` in letters, or in a
/// comment or patch, where something stands before each line. Between its first line and its text may stand headers:
/// `Proc-Type: 4,ENCRYPTED`.
const PEM: &str = concat!(
    r"-----BEGIN (?:(?:RSA|DSA|EC|OPENSSH|ENCRYPTED|ANY) PRIVATE KEY|PRIVATE KEY|PGP PRIVATE KEY BLOCK)-----",
    r#"(?:[\s"',+/!#*>|]|\\+[nr])+(?:[A-Za-z-]{3,40}: [^\r\n\\]{0,160}(?:[\s/!#*>|]|\\+[nr])+){0,4}"#,
    r#"[A-Za-z0-9+/=]{40,}[A-Za-z0-9+/=\s\\"',!#*>|]*(?:-----END [A-Z ]{0,40}-----)?"#
);
const JWT: &str = r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}";

/// All of them. Of those that have an anchor in common, the first that finds something is told.
pub(super) static FORMATS: &[Pattern] = &[
    Pattern {
        name: "gcp-service-account",
        what: "a private key of a Google Cloud service account",
        anchors: &["-----BEGIN "],
        edges: Edges::Any,
        preceded: Some(r#"private_key\\?"\s{0,4}:\s{0,4}\\?""#),
        expression: PEM,
        reach: LONG,
        check: checks::private_key,
        ..PLAIN
    },
    Pattern {
        name: "private-key",
        what: "a private key",
        anchors: &["-----BEGIN "],
        edges: Edges::Any,
        expression: PEM,
        reach: LONG,
        check: checks::private_key,
        ..PLAIN
    },
    Pattern {
        name: "aws-secret-access-key",
        what: "a secret access key of AWS",
        anchors: &[
            "aws_secret_access_key",
            "AWS_SECRET_ACCESS_KEY",
            "secret_access_key",
            "SECRET_ACCESS_KEY",
            "SecretAccessKey",
            "secretAccessKey",
        ],
        edges: Edges::Any,
        expression: r#"[A-Za-z_]{15,21}(?:\\?["'])?\s{0,8}(?:=>|[=:,])\s{0,8}(?:\\?["'])?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|\z)"#,
        reach: 96,
        check: checks::aws_secret,
        ..PLAIN
    },
    Pattern {
        // The same without its name: near the id of the key.
        name: "aws-secret-access-key",
        what: "a secret access key of AWS",
        anchors: &["AKIA", "ASIA"],
        expression: "A[KS]IA[A-Z2-7]{16}",
        nearby: Some("[A-Za-z0-9/+]{40,}"),
        check: checks::aws_secret,
        ..PLAIN
    },
    Pattern {
        name: "github-token",
        what: "a token of GitHub",
        anchors: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        expression: r"gh[pousr]_(?:[A-Za-z0-9]{76}|[A-Za-z0-9]{36})",
        check: checks::checksum,
        ..PLAIN
    },
    Pattern {
        name: "github-app-token",
        what: "a token of a GitHub App's installation",
        anchors: &["ghs_"],
        edges: Edges::Dashed,
        expression: r"ghs_[0-9]{1,12}_eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}",
        reach: 4096,
        check: checks::jwt,
        ..PLAIN
    },
    Pattern {
        name: "github-fine-grained-token",
        what: "a fine-grained token of GitHub",
        anchors: &["github_pat_"],
        expression: r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
        ..PLAIN
    },
    Pattern {
        name: "gitlab-token",
        what: "a token of GitLab",
        anchors: &[
            "glpat-", "glrt-", "glrtr-", "gldt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-",
            "glsoat-", "glffct-",
        ],
        expression: r"gl[a-z]{2,5}-[A-Za-z0-9_-]{20,200}(?:\.[0-9a-z]{2}\.[0-9a-z]{7,9})?",
        ..PLAIN
    },
    Pattern {
        name: "npm-token",
        what: "a token of npm",
        anchors: &["npm_"],
        expression: r"npm_[A-Za-z0-9]{36}",
        check: checks::checksum,
        ..PLAIN
    },
    Pattern {
        name: "pypi-token",
        what: "a token of PyPI",
        // Macaroons of `pypi.org` and of `test.pypi.org`.
        anchors: &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZ"],
        edges: Edges::Dashed,
        expression: r"pypi-[A-Za-z0-9_-]{80,}",
        reach: 1024,
        ..PLAIN
    },
    Pattern {
        name: "crates-io-token",
        what: "a token of crates.io",
        anchors: &["cio"],
        expression: r"cio[A-Za-z0-9]{32}",
        check: checks::mixed,
        ..PLAIN
    },
    Pattern {
        name: "slack-token",
        what: "a token of Slack",
        anchors: &["xoxa", "xoxb", "xoxe", "xoxo", "xoxp", "xoxr", "xoxs", "xapp-"],
        expression: r"(?:xox[abeoprs](?:\.xox[bp])?|xapp)-[0-9]+-[A-Za-z0-9-]{18,240}",
        ..PLAIN
    },
    Pattern {
        name: "slack-webhook",
        what: "an address of a Slack webhook",
        anchors: &["hooks.slack.com/"],
        expression: r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Z0-9]{8,12}/[A-Z0-9]{8,20}/([A-Za-z0-9]{24,48})",
        ..PLAIN
    },
    Pattern {
        name: "stripe-key",
        what: "a live key of Stripe",
        anchors: &["sk_live_", "rk_live_"],
        expression: r"[sr]k_live_[A-Za-z0-9]{24,247}",
        ..PLAIN
    },
    Pattern {
        name: "google-api-key",
        what: "an API key of Google",
        anchors: &["AIza"],
        expression: r"AIza[A-Za-z0-9_-]{35}",
        check: checks::mixed,
        ..PLAIN
    },
    Pattern {
        name: "azure-storage-key",
        what: "a key of an Azure storage account",
        anchors: &["AccountKey="],
        edges: Edges::Any,
        expression: r"AccountKey=([A-Za-z0-9+/]{86}==)",
        check: checks::azure_storage,
        ..PLAIN
    },
    Pattern {
        name: "jwt",
        what: "a JSON web token",
        anchors: &["eyJ"],
        edges: Edges::Dashed,
        expression: JWT,
        reach: LONG,
        check: checks::jwt,
        ..PLAIN
    },
    Pattern {
        name: "docker-auth",
        what: "a password for a registry in Docker's configuration",
        anchors: &["\"auth\"", "\"auth\\\""],
        edges: Edges::Any,
        expression: r#""auth\\?"\s{0,8}:\s{0,8}\\?"([A-Za-z0-9+/]{12,}={0,2})\\?""#,
        reach: 4096,
        check: checks::docker_auth,
        ..PLAIN
    },
    Pattern {
        name: "hugging-face-token",
        what: "a token of Hugging Face",
        anchors: &["hf_"],
        expression: r"hf_[A-Za-z0-9]{34}",
        check: checks::both_cases,
        ..PLAIN
    },
    Pattern {
        name: "openai-key",
        what: "an API key of OpenAI",
        anchors: &["sk-"],
        // Within each, "OpenAI" in base64.
        expression: r"sk-(?:(?:proj|svcacct|admin)-)?[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,}",
        ..PLAIN
    },
    Pattern {
        name: "anthropic-key",
        what: "an API key of Anthropic",
        anchors: &["sk-"],
        expression: r"sk-ant-[a-z]{3,8}[0-9]{2}-[A-Za-z0-9_-]{80,}",
        ..PLAIN
    },
    Pattern {
        name: "sendgrid-key",
        what: "an API key of SendGrid",
        anchors: &["SG."],
        expression: r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
        ..PLAIN
    },
    Pattern {
        name: "twilio-key",
        what: "an API key of Twilio",
        // All that can follow: two letters are in too many texts.
        anchors: &[
            "SK0", "SK1", "SK2", "SK3", "SK4", "SK5", "SK6", "SK7", "SK8", "SK9", "SKa", "SKb", "SKc", "SKd", "SKe",
            "SKf",
        ],
        expression: "SK[0-9a-f]{32}",
        check: checks::hex,
        ..PLAIN
    },
    Pattern {
        name: "vault-token",
        what: "a token of HashiCorp Vault",
        anchors: &["hvs.", "hvb.", "hvr."],
        expression: r"hv[sbr]\.[A-Za-z0-9_-]{24,300}",
        check: checks::mixed,
        ..PLAIN
    },
    Pattern {
        name: "telegram-bot-token",
        what: "a token of a Telegram bot",
        anchors: &[":AA"],
        edges: Edges::Any,
        preceded: Some("(?:bot|[^0-9A-Za-z]|\\A)[0-9]{8,10}"),
        expression: r":(AA[A-Za-z0-9_-]{33})(?:[^A-Za-z0-9_-]|\z)",
        check: checks::mixed,
        ..PLAIN
    },
];
