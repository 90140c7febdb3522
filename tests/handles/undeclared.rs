//! What looks like a secret that nobody declared.

use super::{Scene, policy};

/// Not verbatim: scanners would find it here.
fn token() -> String {
    ["SG.", "q7Lw2ZxT0bRk9VnE4mHs5A", ".", "Yp3Jd8Uf1Gc6Xo0Ni2Bt7Ql4Ws9Ke5Mz8Ra3Vh6Cy1D"].concat()
}

#[tokio::test]
async fn what_looks_like_a_secret_is_told_or_blocked_as_policy_says() {
    let scene = Scene::new();
    let token = token();
    let found = "warning: what looks like a secret (sendgrid-key) stands in ";
    let out = scene.run(&[], &["log", "in front", &format!("key {token}")]).ok();
    assert!(out.stderr.contains(&format!("{found}log, line 2")), "{}", out.stderr);
    let out = scene.run(&[], &["write", "notes", &format!("first\n{token}\n")]).ok();
    assert!(out.stderr.contains(&format!("{found}dirs.work notes:2")), "{}", out.stderr);
    let end = scene.told().await;
    assert_eq!(end["ledger"]["undeclared"][0]["pattern"], "sendgrid-key");

    // Where policy says so, the step fails.
    let blocking = policy().replace("@id(\"dev-secrets\")", "@id(\"dev-secrets\") @undeclared(\"block\")");
    scene.broker.apply_policy(&blocking);
    let out = scene.run(&[], &["write", "notes", &token]).refused(126, "AR-S606");
    assert!(out.stderr.contains("(sendgrid-key) stands in dirs.work notes:1"), "{}", out.stderr);
    scene.run(&[], &["write", "notes", "nothing"]).ok();
}
