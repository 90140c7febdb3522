//! Tokens: minted for one lease, put into requests, believed by whoever has the issuer's keys, and seen by nobody else.

use super::{Scene, http};
use crate::support::{Output, RelyingParty, Server, reply, run, token_header};
use attest_evidence::Sha256Digest;
use std::path::Path;

const ISSUER: &str = "https://tokens.example/attest";
const AUDIENCE: &str = "https://sts.example";

/// A broker that is an issuer.
fn scene() -> Scene {
    Scene::with(&["--token-issuer", ISSUER])
}

/// Registers `AUDIENCE` under a name, with this server for its tokens.
fn register(scene: &Scene, stage: &str, server: &Server) {
    let to = server.origin();
    let set = ["audience", "set", "token", "--stage", stage, "--audience", AUDIENCE, "--to", &to, "--private"];
    scene.broker.admin(&set).ok();
}

/// Runs the step, which declares a token for `audience` where it has declared a secret, and sends it.
fn send(scene: &Scene, audience: &str, servers: &[&Server], options: &[&str], url: &str) -> Output {
    let step = scene.step(&http(servers));
    let manifest = step.with_file_name("step.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let declared = text.replace("[secrets.token]\n", &format!("[tokens.token]\naudience = \"{audience}\"\n"));
    assert_ne!(declared, text);
    std::fs::write(&manifest, declared).unwrap();
    run(&mut scene.command_of(&step, options, &["with", "POST", url, "header:authorization", "Bearer "]))
}

/// The token that a server was sent last.
fn received(server: &Server) -> String {
    server.received().pop().unwrap().header("authorization").strip_prefix("Bearer ").unwrap().to_owned()
}

/// Files below a folder that hold these bytes.
fn holding(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(holding(&path, needle));
        } else if metadata.is_file() && std::fs::read(&path).unwrap().windows(needle.len()).any(|part| part == needle) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn a_token_of_the_lease_is_believed_by_whoever_has_the_issuers_keys() {
    let scene = scene();
    let server = Server::plain();
    register(&scene, "dev", &server);
    let out = send(&scene, AUDIENCE, &[&server], &[], &server.origin()).ok();
    let token = received(&server);

    let party = RelyingParty(&scene.broker);
    let claims = party.verify(&token).unwrap();
    assert_eq!((&claims["iss"], &claims["aud"]), (&ISSUER.into(), &AUDIENCE.into()));
    assert_eq!(claims["sub"], "runner/builder/step/dev/token");
    let seconds = |name: &str| claims[name].as_u64().unwrap();
    assert_eq!((seconds("exp") - seconds("iat"), seconds("iat") - seconds("nbf")), (600, 60));
    let attest = &claims["attest"];
    let component = std::fs::read(scene.runner.path("steps/requester/requester.wasm")).unwrap();
    assert_eq!(attest["component"], Sha256Digest::of(&component).to_string());
    for (name, value) in [("runner", "builder"), ("class", "software"), ("isolation", "agent"), ("stage", "dev")] {
        assert_eq!(attest[name], value, "{name}");
    }
    // The step's own name, and its reasons, are claims: they are in no token.
    assert!(!claims.to_string().contains("requester") && attest.get("job").is_none(), "{claims}");
    let lease = attest["lease"].as_str().unwrap();
    assert_eq!(claims["jti"], format!("{lease}/token"));
    // One changed letter, and nobody believes it.
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    assert!(party.verify(&format!("{signed}.{other}{}", &signature[1..])).is_none());

    // What relying parties find, and for how long they may keep it.
    let metadata = party.fetch("/.well-known/openid-configuration");
    let keys = party.fetch("/.well-known/jwks.json");
    for document in [&metadata, &keys] {
        assert_eq!(document.status, 200);
        assert!(document.head.contains("cache-control: public, max-age=300"), "{}", document.head);
        assert!(document.head.contains("content-type: application/json"), "{}", document.head);
    }
    assert_eq!(metadata.json()["issuer"], ISSUER);
    assert_eq!(metadata.json()["jwks_uri"], format!("{ISSUER}/.well-known/jwks.json"));
    assert_eq!(metadata.json()["id_token_signing_alg_values_supported"], serde_json::json!(["ES256"]));

    // What is written down of it: all but the token.
    let audit = scene.broker.audit().await;
    let (_, granted) = audit.iter().rev().find(|(kind, _)| kind == "granted").unwrap();
    let minted = &granted["tokens"][0];
    assert_eq!((&minted["audience"], &minted["jti"]), (&claims["aud"], &claims["jti"]));
    assert_eq!((&minted["subject"], &minted["expires"]), (&claims["sub"], &claims["exp"]));
    assert_eq!(minted["kid"], token_header(&token)["kid"]);
    let ended = scene.told().await;
    let used = &ended["ledger"]["tokens"][0];
    assert_eq!((&used["name"], &used["audience"], &used["used"]), (&"token".into(), &AUDIENCE.into(), &1.into()));
    assert_eq!(ended["ledger"]["requests"][0]["secrets"][0]["name"], "token");
    assert!(out.stderr.contains(&format!("send a token for {AUDIENCE} (dev/token)")), "{}", out.stderr);
    let leases = scene.broker.admin(&["lease", "list", "--all"]).ok().stdout;
    assert!(leases.contains("token dev/token"), "{leases}");

    // It is on no disk, in no log, and in nothing that the job was told.
    let signature = signature.as_bytes();
    let broker = scene.broker.state().parent().unwrap();
    let folders = ["state", "run", "home", "work"].map(|name| scene.runner.path(name));
    for folder in folders.iter().map(|folder| folder.as_path()).chain([broker]) {
        assert_eq!(holding(folder, signature), Vec::<String>::new());
    }
    for text in [&out.stdout, &out.stderr, &scene.runner.log(), &scene.broker.log()] {
        assert!(!text.as_bytes().windows(signature.len()).any(|part| part == signature));
    }
    // The control: the search finds what is there.
    assert!(!holding(broker, lease.as_bytes()).is_empty());
}

#[tokio::test]
async fn what_is_not_registered_or_not_allowed_is_not_minted() {
    let scene = scene();
    let (server, other) = (Server::plain(), Server::plain());
    let both = [&server, &other];
    let url = server.origin();
    // Not at all, and then for another stage.
    send(&scene, AUDIENCE, &both, &[], &url).refused(126, "AR-P422");
    register(&scene, "staging", &server);
    let out = send(&scene, AUDIENCE, &both, &[], &url).refused(126, "AR-P422");
    assert!(out.stderr.contains("there is no audience `dev/token`"), "{}", out.stderr);
    register(&scene, "dev", &server);
    // The control.
    send(&scene, AUDIENCE, &both, &[], &url).ok();
    let before = server.received().len();
    let out = send(&scene, "https://other.example", &both, &[], &url).refused(126, "AR-P423");
    assert!(out.stderr.contains(AUDIENCE) && out.stderr.contains("https://other.example"), "{}", out.stderr);
    // What policy allows for `dev` it does not for `staging`, where there is the same audience.
    send(&scene, AUDIENCE, &both, &["--stage", "staging"], &url).refused(126, "AR-P402");

    // To where tokens for the audience may go, and nowhere else.
    let out = send(&scene, AUDIENCE, &both, &[], &other.origin());
    assert_eq!(out.status, 1, "{}", out.stderr);
    let why = format!("secret `token` may not go to `{}`", other.origin());
    assert!(out.stderr.contains(&why) && other.received().is_empty(), "{}", out.stderr);

    let forbidden =
        "@id(\"none\") forbid (principal, action == Action::\"mint\", resource == Audience::\"dev/token\");";
    scene.broker.apply_policy(&format!("{}{forbidden}", super::policy()));
    let out = send(&scene, AUDIENCE, &both, &[], &url).refused(126, "AR-P402");
    let audit = &out.stderr[out.stderr.find("aud_").unwrap()..][..30];
    let explained = scene.broker.admin(&["policy", "explain", audit]).ok().stdout;
    assert!(explained.contains("mint audience dev/token: denied"), "{explained}");
    assert!(explained.contains("none (line") && explained.contains("dev-tokens (line"), "{explained}");
    let (kind, body) = scene.broker.audit().await.pop().unwrap();
    assert_eq!((kind.as_str(), &body["questions"]["asked"][1]["ask"]), ("refused", &"mint audience dev/token".into()));
    scene.broker.apply_policy(&super::policy());

    // Deleted, it is not minted any more; and of all that was refused nothing arrived.
    scene.broker.admin(&["audience", "delete", "token", "--stage", "dev"]).ok();
    scene.broker.admin(&["audience", "delete", "token", "--stage", "dev"]).refused(1, "AR-B305");
    send(&scene, AUDIENCE, &both, &[], &url).refused(126, "AR-P422");
    assert_eq!(server.received().len(), before);

    // A broker that is no issuer mints nothing, and shows no keys.
    let plain = Scene::new();
    register(&plain, "dev", &server);
    send(&plain, AUDIENCE, &both, &[], &url).refused(126, "AR-P421");
    for path in ["/.well-known/openid-configuration", "/.well-known/jwks.json"] {
        assert_eq!(RelyingParty(&plain.broker).fetch(path).status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_token_that_comes_back_ends_the_step_and_is_told_of() {
    let scene = scene();
    let server = Server::start(|request, stream| reply(stream, 200, &[], request.header("authorization").as_bytes()));
    register(&scene, "dev", &server);
    let out = send(&scene, AUDIENCE, &[&server], &[], &server.origin()).refused(126, "AR-S603");
    let token = received(&server);
    assert!(!out.stderr.contains(&token[token.len() - 40..]), "{}", out.stderr);
    let ended = scene.told().await;
    let exposed = ended["ledger"]["tokens"][0]["exposed"].as_str().unwrap();
    assert!(exposed.starts_with("an answer from"), "{exposed}");
    let alarms = scene.broker.admin(&["alarm", "list", "--json"]).ok().stdout;
    assert!(alarms.contains("secret-exposed") && alarms.contains("\"tokens\":[[\"token\""), "{alarms}");
}

#[tokio::test]
async fn keys_rotate_while_tokens_of_the_old_one_live_and_nobody_slips_one_in() {
    let scene = scene();
    let server = Server::plain();
    register(&scene, "dev", &server);
    let party = RelyingParty(&scene.broker);
    let mint = || {
        send(&scene, AUDIENCE, &[&server], &[], &server.origin()).ok();
        received(&server)
    };
    let first = mint();
    let kid = |token: &str| token_header(token)["kid"].as_str().unwrap().to_owned();
    assert_eq!(party.key_ids(), [kid(&first)]);
    // A new key is shown at once; whoever keeps the old set for a while still believes what is minted.
    let rotate = |options: &[&str]| {
        let out = scene.broker.admin(&[&["audience", "rotate-key", "--json"], options].concat()).ok();
        let printed: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
        printed["key"].as_str().unwrap().to_owned()
    };
    let second = rotate(&[]);
    assert_eq!(party.key_ids(), [kid(&first), second]);
    assert_eq!(kid(&mint()), kid(&first));
    // In the wrong hands, it is gone at once.
    let third = rotate(&["--at-once"]);
    assert_eq!(party.key_ids(), std::slice::from_ref(&third));
    let token = mint();
    assert_eq!(kid(&token), third);
    assert!(party.verify(&token).is_some() && party.verify(&first).is_none());

    // Whoever may write to the database alone is no issuer, and sends tokens nowhere else.
    scene.broker.execute(sqlx::query("INSERT INTO token_keys SELECT 'mine', 0, sealed FROM token_keys")).await;
    assert_eq!(party.fetch("/.well-known/jwks.json").status, 503);
    scene.broker.execute(sqlx::query("DELETE FROM token_keys WHERE id = 'mine'")).await;
    assert_eq!(party.key_ids(), [third]);
    scene.broker.execute(sqlx::query("UPDATE audiences SET audience = 'https://evil.example'")).await;
    let sent = server.received().len();
    let out = send(&scene, "https://evil.example", &[&server], &[], &server.origin());
    assert!(out.stderr.contains("error[AR-B402]"), "{}", out.stderr);
    assert_eq!(server.received().len(), sent);
}

#[test]
fn an_audience_has_a_name_an_audience_and_a_destination() {
    let scene = scene();
    let set = |more: &[&str]| scene.broker.admin(&[&["audience", "set", "token", "--stage", "dev"], more].concat());
    set(&["--audience", AUDIENCE]).refused(2, "AR-P503");
    for bad in ["", "a b", "a\nb", "\u{202e}"] {
        assert_eq!(set(&["--audience", bad, "--to", "https://sts.example"]).status, 2, "{bad:?}");
    }
    let to: Vec<String> = (0..33).flat_map(|at| ["--to".to_owned(), format!("https://sts.example/{at}")]).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    set(&[&["--audience", AUDIENCE], to.as_slice()].concat()).refused(2, "AR-P502");
    let list = || scene.broker.admin(&["audience", "list"]).ok().stdout;
    assert_eq!(list(), "");
    set(&["--audience", AUDIENCE, "--to", "https://sts.example/v1", "--method", "POST", "--in", "form:token"]).ok();
    assert_eq!(list(), "dev  token  aud https://sts.example\n    to https://sts.example/v1 POST in form:token\n");
    // Registered anew, it is what it was registered as last.
    set(&["--audience", "sts", "--to", "https://sts.example"]).ok();
    assert!(list().starts_with("dev  token  aud sts\n"), "{}", list());
    for issuer in ["http://tokens.example", "https://tokens.example/", "tokens.example"] {
        let out = scene.broker.admin(&["serve", "--listen", "127.0.0.1:0", "--token-issuer", issuer]);
        assert_eq!(out.status, 2, "{issuer}: {}", out.stderr);
    }
}
