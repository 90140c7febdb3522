use super::conforms::conforms;
use super::*;

const GOOD: &str = r#"
[step]
name = "release-sign"

[keys.release]
use = "sign"
formats = ["raw"]
why = "signs the release"

[keys.cache]
use = "derive"
why = "opens the cache"

[dirs.dist]
mode = "write"
why = "holds the release"

[dirs.source]
mode = "read"
at = "."
why = "is what is built"

[secrets."release/npm-token"]
to = ["https://registry.npmjs.org/widget"]
why = "publishes"

[secrets.pin]
use = "reveal"
why = "opens the token"

[secrets.legacy]
use = "env"
variable = "NPM_TOKEN"
why = "is what the old program wants"

[tokens.sts]
audience = "https://sts.example.org"
to = ["https://registry.npmjs.org/sts"]
why = "asks for the release role"

[http]
allow = ["https://registry.npmjs.org", "https://*.example.org", "http://127.0.0.1:8080"]
private = ["https://registry.internal:5000"]
why = "publishes"

[outputs.version]
why = "tells what was published"

[summary]
why = "tells people"

[annotations]
why = "tells reviewers"
"#;

#[track_caller]
fn refused(from: &str, to: &str) -> BadManifest {
    assert!(GOOD.contains(from), "{from}");
    Manifest::parse(GOOD.replacen(from, to, 1).as_bytes()).unwrap_err()
}

/// The line of what is wrong in the form, what is said of it, and what may have been meant.
#[track_caller]
fn form(from: &str, to: &str) -> (usize, String, Option<String>) {
    match refused(from, to) {
        BadManifest::Toml(error) => (error.line, error.what, error.meant),
        other => panic!("{other:?}"),
    }
}

fn line(text: &str) -> usize {
    GOOD[..GOOD.find(text).unwrap()].matches('\n').count() + 1
}

#[test]
fn a_manifest_is_read_and_known_by_its_bytes() {
    let manifest = Manifest::parse(GOOD.as_bytes()).unwrap();
    assert_eq!(manifest.step.name.as_str(), "release-sign");
    assert_eq!(manifest.limits, Limits { memory_mib: 256, seconds: 600, output_mib: 16 });
    assert_eq!(manifest.digest(), Sha256Digest::of(GOOD.as_bytes()));
    let secret = |name: &str| &manifest.secrets[&name.parse::<SecretName>().unwrap()];
    let uses = ["release/npm-token", "pin", "legacy"].map(|name| secret(name).usage);
    assert_eq!(uses, [SecretUse::Http, SecretUse::Reveal, SecretUse::Env]);
    assert_eq!(secret("release/npm-token").to[0].path.as_str(), "/widget");
    let token = &manifest.tokens[&"sts".parse::<SecretName>().unwrap()];
    assert_eq!((token.audience.as_str(), token.to.len()), ("https://sts.example.org", 1));
    assert_eq!(manifest.narrowed_to(&"sts".parse().unwrap()), token.to);
    assert_eq!(secret("legacy").variable.as_deref(), Some("NPM_TOKEN"));
    let places = manifest.dirs.iter().map(|(name, directory)| directory.place(name).to_string());
    assert_eq!(places.collect::<Vec<_>>(), ["/dist", "."]);
    assert_eq!(manifest.http.origins().filter(|(_, private)| *private).count(), 1);
    let least = Manifest::parse(b"[step]\nname = \"s\"\n").unwrap();
    assert!(least.http.is_empty() && least.summary.is_none() && least.annotations.is_none());
}

#[test]
fn what_is_wrong_in_its_form_is_refused_with_its_line_and_the_nearest_name() {
    let meant = |from: &str, to: &str| {
        let (at, _, meant) = form(from, to);
        (at, meant.unwrap_or_default())
    };
    assert_eq!(meant("[dirs.dist]", "[dir.dist]"), (line("[dirs.dist]"), "dirs".into()));
    assert_eq!(meant("mode = \"write\"", "mode = \"wirte\""), (line("mode = \"write\""), "write".into()));
    assert_eq!(meant("variable =", "varable ="), (line("variable ="), "variable".into()));
    assert_eq!(meant("formats =", "format ="), (line("formats ="), "formats".into()));
    assert_eq!(meant("[tokens.sts]", "[token.sts]"), (line("[tokens.sts]"), "tokens".into()));
    assert_eq!(meant("audience =", "audienc ="), (line("audience ="), "audience".into()));
    assert_eq!(meant("private =", "privat ="), (line("private ="), "private".into()));
    assert_eq!(meant("at =", "ta ="), (line("at ="), "at".into()));
    assert_eq!(meant("[summary]\nwhy", "[summary]\nwhat"), (line("[summary]") + 1, "why".into()));
    assert_eq!(meant("[step]", "[limits]\nsecond = 1\n[step]"), (3, "seconds".into()));
    assert_eq!(meant("name = \"release-sign\"", "name = \"s\"\ndescripton = \"\""), (4, "description".into()));
    assert_eq!(meant("use = \"derive\"", "use = \"drive\""), (line("use = \"derive\""), "derive".into()));
    // Types, and values of the right type.
    for (from, to) in [
        ("name = \"release-sign\"", "name = 3"),
        ("formats = [\"raw\"]", "formats = \"raw\""),
        ("why = \"publishes\"", "why = [\"publishes\"]"),
        ("mode = \"write\"", "mode = true"),
        ("at = \".\"", "at = \"..\""),
        ("at = \".\"", "at = \"/a/../b\""),
        ("at = \".\"", "at = \"src\""),
        ("at = \".\"", "at = \"/a\\u0000\""),
        ("https://*.example.org", "https://*.com"),
        ("https://*.example.org", "https://*.co.uk"),
        ("https://*.example.org", "https://*"),
        ("https://*.example.org", "https://example.org/"),
        ("https://*.example.org", "https://example.org:443"),
        ("https://*.example.org", "https://Example.org"),
        ("https://*.example.org", "http://example.org"),
        ("https://*.example.org", "https://user@example.org"),
        ("https://registry.npmjs.org/widget", "https://registry.npmjs.org/a/../b"),
        ("https://registry.npmjs.org/widget", "registry.npmjs.org"),
        ("audience = \"https://sts.example.org\"", "audience = \"\""),
        ("audience = \"https://sts.example.org\"", "audience = \"a b\""),
        ("audience = \"https://sts.example.org\"", "audience = \"a\\u001b\""),
        ("audience = \"https://sts.example.org\"", "audience = [\"a\"]"),
        ("[dirs.dist]", "[dirs.\"../x\"]"),
        ("[dirs.dist]", "[dirs.\"a/b\"]"),
        ("[dirs.dist]", "[dirs.\"a\\u001b[2J\"]"),
        ("[dirs.dist]", "[dirs.\"a\\u202e\"]"),
        ("[secrets.pin]", "[secrets.\"a//b\"]"),
        ("[keys.cache]", "[keys.Cache]"),
        ("[keys.cache]", "[keys.release]"),
    ] {
        let (at, what, _) = form(from, to);
        assert_eq!(at, line(from), "{to}: {what}");
        assert!(!what.chars().any(char::is_control), "{what:?}");
    }
    for limit in
        ["seconds = -1", "seconds = 1.5", "seconds = \"1\"", "seconds = 99999999999", "seconds = 1\nseconds = 2"]
    {
        let (at, ..) = form("[step]", &format!("[limits]\n{limit}\n[step]"));
        assert_eq!(at, 2 + limit.matches('\n').count() + 1, "{limit}");
    }
    assert!(form("allow = [", "allow = [\"https://*.com\", ").1.contains("everybody's"));
    assert!(form("https://*.example.org", "https://example.org:443").1.ends_with("is written `https://example.org`"));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let declaration = |name: &str| name.to_owned();
    let publishes = "why = \"publishes\"\n\n[secrets.pin]";
    assert_eq!(
        refused(publishes, "why = \" \"\n\n[secrets.pin]"),
        BadManifest::Why { declaration: declaration("secrets.release/npm-token") }
    );
    assert_eq!(refused("why = \"tells people\"", "why = \"\""), BadManifest::Why { declaration: "summary".into() });
    assert_eq!(
        refused("why = \"publishes\"\n\n[outputs", "why = \"\"\n\n[outputs"),
        BadManifest::Why { declaration: "http".into() }
    );
    assert_eq!(refused("[step]", &format!("[step]\ndescription = \"{}\"", "a".repeat(301))), BadManifest::Description);
    assert_eq!(refused("[\"raw\"]", "[]"), BadManifest::Formats { declaration: "keys.release".into() });
    assert_eq!(refused("[\"raw\"]", "[\"raw\", \"raw\"]"), BadManifest::Formats { declaration: "keys.release".into() });
    assert_eq!(
        refused("use = \"derive\"", "use = \"derive\"\nformats = [\"raw\"]"),
        BadManifest::FormatsOfDerivation { declaration: "keys.cache".into() }
    );
    let http = &GOOD[GOOD.find("[http]").unwrap()..GOOD.find("[outputs").unwrap()];
    assert_eq!(refused(http, ""), BadManifest::NoHttp { declaration: "secrets.release/npm-token".into() });
    assert_eq!(refused(http, "[http]\nwhy = \"w\"\n"), BadManifest::EmptyHttp);
    assert_eq!(
        refused("to = [\"https://registry.npmjs.org/widget\"]", "to = [\"https://registry.npmjs.org:8443\"]"),
        BadManifest::NotListed {
            declaration: "secrets.release/npm-token".into(),
            destination: "https://registry.npmjs.org:8443/".into()
        }
    );
    // What is listed with a wildcard covers names below it, and what is listed as private covers too.
    for covered in ["https://a.example.org/x", "https://registry.internal:5000", "https://*.example.org"] {
        let text = GOOD.replacen("https://registry.npmjs.org/widget", covered, 1);
        assert!(Manifest::parse(text.as_bytes()).is_ok(), "{covered}");
    }
    assert_eq!(
        refused("/widget\"]", "/widget\", \"https://registry.npmjs.org/widget\"]"),
        BadManifest::DestinationTwice {
            declaration: "secrets.release/npm-token".into(),
            destination: "https://registry.npmjs.org/widget".into()
        }
    );
    assert_eq!(refused("[tokens.sts]", "[tokens.pin]"), BadManifest::NameTwice { declaration: "tokens.pin".into() });
    let of_sts = BadManifest::Why { declaration: "tokens.sts".into() };
    assert_eq!(refused("why = \"asks for the release role\"", "why = \"\""), of_sts);
    assert_eq!(
        refused("https://registry.npmjs.org/sts", "https://elsewhere.example/v1"),
        BadManifest::NotListed { declaration: "tokens.sts".into(), destination: "https://elsewhere.example/v1".into() }
    );
    let no_secret = GOOD.replacen("to = [\"https://registry.npmjs.org/widget\"]", "use = \"reveal\"", 1);
    assert_eq!(
        Manifest::parse(no_secret.replacen(http, "", 1).as_bytes()).unwrap_err(),
        BadManifest::NoHttp { declaration: "tokens.sts".into() }
    );
    assert_eq!(
        refused("use = \"reveal\"", "use = \"reveal\"\nto = [\"https://registry.npmjs.org\"]"),
        BadManifest::ToWithoutHttp { declaration: "secrets.pin".into(), usage: SecretUse::Reveal }
    );
    assert_eq!(
        refused("variable = \"NPM_TOKEN\"\n", ""),
        BadManifest::NoVariable { declaration: "secrets.legacy".into() }
    );
    assert_eq!(
        refused("use = \"reveal\"", "use = \"reveal\"\nvariable = \"PIN\""),
        BadManifest::VariableWithoutEnv { declaration: "secrets.pin".into(), usage: SecretUse::Reveal }
    );
    assert_eq!(
        refused("use = \"reveal\"", "use = \"env\"\nvariable = \"NPM_TOKEN\""),
        BadManifest::VariableTwice { declaration: "secrets.pin".into(), variable: "NPM_TOKEN".into() }
    );
    for variable in ["PATH", "HOME", "LD_PRELOAD", "PYTHONPATH", "NODE_OPTIONS", "_", "npm_token", "1A", "", "A-B", "Ä"]
    {
        let refused = refused("\"NPM_TOKEN\"", &format!("\"{variable}\""));
        assert!(matches!(refused, BadManifest::Variable { .. }), "{variable}: {refused:?}");
    }
    let twice = BadManifest::OriginTwice { origin: "https://registry.npmjs.org".into() };
    assert_eq!(refused("private = [", "private = [\"https://registry.npmjs.org\", "), twice);
    assert_eq!(refused("allow = [", "allow = [\"https://registry.npmjs.org\", "), twice);
    assert_eq!(
        refused("at = \".\"", "at = \"/dist\""),
        BadManifest::PlaceTwice { declaration: "dirs.source".into(), place: "/dist".to_owned().try_into().unwrap() }
    );
}

#[test]
fn what_is_too_much_is_refused() {
    assert_eq!(
        refused("[step]", "[limits]\nseconds = 3601\n[step]"),
        BadManifest::Limit { limit: "seconds", value: 3601, most: 3600 }
    );
    assert_eq!(
        refused("[step]", "[limits]\nmemory_mib = 0\n[step]"),
        BadManifest::Limit { limit: "memory_mib", value: 0, most: 2048 }
    );
    let origins: String = (0..65).map(|number| format!("\"https://h{number}.example.com\", ")).collect();
    let too_many = BadManifest::TooMany { kind: "origins in http".into(), count: 69 };
    assert_eq!(refused("allow = [", &format!("allow = [{origins}")), too_many);
    let outputs: String = (0..65).map(|number| format!("[outputs.o{number}]\nwhy = \"w\"\n")).collect();
    assert_eq!(
        refused("[summary]", &format!("{outputs}[summary]")),
        BadManifest::TooMany { kind: "outputs".into(), count: 66 }
    );
    assert_eq!(Manifest::parse(&[0xff]), Err(BadManifest::NotText));
    assert_eq!(Manifest::parse(&vec![b'#'; 70_000]), Err(BadManifest::TooLong(70_000)));
    // As deep as there is room for.
    let deep = format!("[step]\nname = {}", "[".repeat(60_000));
    assert!(matches!(Manifest::parse(deep.as_bytes()), Err(BadManifest::Toml(_))));
    let dotted = format!("step{} = 1", ".a".repeat(30_000));
    assert!(matches!(Manifest::parse(dotted.as_bytes()), Err(BadManifest::Toml(_))));
}

#[test]
fn the_schema_is_the_one_that_lies_there() {
    let reference = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let golden = std::fs::read_to_string(reference.join("step.schema.json")).unwrap();
    assert!(golden == manifest_schema(), "attest-run check --schema >docs/reference/step.schema.json");
    // The sample of the reference is a manifest.
    let page = std::fs::read_to_string(reference.join("manifest.md")).unwrap();
    let sample = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let manifest = Manifest::parse(sample.as_bytes()).unwrap();
    assert_eq!((manifest.secrets.len(), manifest.limits), (3, Limits::default()));
}

fn as_json(text: &str) -> serde_json::Value {
    let table: toml::Table = toml::from_str(text).unwrap();
    serde_json::to_value(table).unwrap()
}

#[test]
fn every_manifest_of_this_repository_has_the_form_of_the_schema() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut folders, mut found) = (vec![root.join("plugins"), root.join("tests/guests")], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.ends_with("step.toml") {
                let text = std::fs::read_to_string(&path).unwrap();
                Manifest::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                conforms(&as_json(&text)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found += 1;
            }
        }
    }
    assert!(found >= 3, "{found}");
    let template = std::fs::read_to_string(root.join("host/cli/template/step.toml")).unwrap();
    conforms(&as_json(&template.replace("NAME", "new-step"))).unwrap();
    conforms(&as_json(GOOD)).unwrap();
}

#[test]
fn schema_and_parser_refuse_the_same_forms() {
    let accepted = |text: &str| (Manifest::parse(text.as_bytes()).is_ok(), conforms(&as_json(text)).is_ok());
    for (from, to) in [
        ("name = \"release-sign\"", "name = \"Release\""),
        ("name = \"release-sign\"", "nam = \"release-sign\""),
        ("name = \"release-sign\"", "name = 3"),
        ("[dirs.dist]", "[dir.dist]"),
        ("[dirs.dist]", "[dirs.\"../x\"]"),
        ("[dirs.dist]", "[dirs.\"a/b\"]"),
        ("[secrets.pin]", "[secrets.\"a//b\"]"),
        ("[secrets.pin]", "[secrets.\"a\\u202e\"]"),
        ("mode = \"write\"", "mode = \"wirte\""),
        ("mode = \"write\"", "mode = \"write\"\nmod = 1"),
        ("use = \"reveal\"", "use = \"show\""),
        ("use = \"derive\"", "use = \"encrypt\""),
        ("variable = \"NPM_TOKEN\"", "variable = \"npm\""),
        ("formats = [\"raw\"]", "formats = [\"raw\", \"raw\"]"),
        ("formats = [\"raw\"]", "formats = [\"pgp\"]"),
        ("at = \".\"", "at = \"src\""),
        ("at = \".\"", "at = \"/a b\""),
        ("https://*.example.org", "http://example.org"),
        ("https://*.example.org", "example.org"),
        ("https://*.example.org", "https://example.org/x"),
        ("audience = \"https://sts.example.org\"", "audience = \"a b\""),
        ("audience = \"https://sts.example.org\"", "audience = \"a\\\\b\""),
        ("audience = \"https://sts.example.org\"\n", ""),
        ("[tokens.sts]", "[tokens.\"a//b\"]"),
        ("why = \"signs the release\"", "why = \"\""),
        ("why = \"signs the release\"", "why = \" \""),
        ("why = \"signs the release\"", "why = \"a\\nb\""),
        ("why = \"signs the release\"\n", ""),
        ("[step]", "[limits]\nseconds = 0\n[step]"),
        ("[step]", "[limits]\nseconds = 3601\n[step]"),
        ("[step]", "[limits]\nsecond = 1\n[step]"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        assert_eq!(accepted(&GOOD.replacen(from, to, 1)), (false, false), "{to}");
    }
    for (from, to) in [
        ("https://*.example.org", "https://[2001:db8::1]:8443"),
        ("https://*.example.org", "http://localhost"),
        ("audience = \"https://sts.example.org\"", "audience = \"//iam.example/~x?a=[b]\""),
        ("at = \".\"", "at = \"/\""),
        ("at = \".\"", "at = \"/source/src-1.0\""),
        ("[secrets.pin]", "[secrets.\"a/b/c_d.e\"]"),
        ("why = \"signs the release\"", "why = \"unterschreibt – mit Größe\""),
    ] {
        assert_eq!(accepted(&GOOD.replacen(from, to, 1)), (true, true), "{to}");
    }
}
