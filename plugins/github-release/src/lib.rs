//! Publishes a release on GitHub: makes it as a draft, uploads the files of `dist`, checks what arrived, and then
//! publishes it, so that nobody sees a release with half of its files.
//!
//! It can be run again: what is there already and right is left, what was begun is done anew.

mod api;
mod options;
mod plan;
mod release;
mod uploads;

use api::Api;
use attest_sdk::{Directory, Error, Result, Secret, info, set_output, summary};
use options::Options;
use plan::Action;
use release::{Asset, Release};
use step_digest::LocalFile;
use uploads::Uploads;

/// What became of a file.
struct Done {
    file: LocalFile,
    action: Action,
    asset: Asset,
}

#[attest_sdk::step]
fn run(args: Vec<String>) -> Result {
    let options = Options::parse(args)?;
    let dist = Directory::open("dist")?;
    let token = Secret::open("token")?;
    let api = Api::new(&options, &token)?;
    let files = local_files(&dist, &options)?;
    let notes = match &options.notes {
        Some(path) => Some(text(&dist, path)?),
        None => None,
    };

    let release = find_or_create(&api, &options, notes.as_deref())?;
    // All are looked at before anything is changed: a file that differs leaves the release as it is.
    let there = api.assets(&release)?;
    let actions = plan::actions(&files, &there, options.replace)?;
    let uploads = Uploads { api: &api, release: &release, dist: &dist, replace: options.replace };
    for (file, action) in files.iter().zip(&actions) {
        uploads.bring(file, *action)?;
        info(&format!("{}: {}", file.path, action.describe()));
    }
    let release = if release.draft && !options.draft { api.publish(&release)? } else { release };
    // Only now: where a file can be had changes when its release is published.
    let done = done(files, actions, api.assets(&release)?)?;

    set_output("url", &release.html_url)?;
    let urls: Vec<_> = done.iter().map(|done| done.asset.browser_download_url.as_str()).collect();
    set_output("assets", &urls.join("\n"))?;
    summary::append(&report(&options, &release, &done));
    info(&format!("{} {}: {}", options.repository, options.tag, release.html_url));
    Ok(())
}

/// What became of each file, by what is in the release now.
fn done(files: Vec<LocalFile>, actions: Vec<Action>, assets: Vec<Asset>) -> Result<Vec<Done>> {
    let one = |(file, action): (LocalFile, Action)| {
        let asset = assets.iter().find(|asset| asset.name == file.name()).cloned();
        let asset = asset.ok_or_else(|| Error::new(format!("`{}` is not in the release any more", file.path)))?;
        Ok(Done { file, action, asset })
    };
    files.into_iter().zip(actions).map(one).collect()
}

/// The files that were named, or all of `dist`.
fn local_files(dist: &Directory, options: &Options) -> Result<Vec<LocalFile>> {
    let mut paths = options.files.clone();
    if paths.is_empty() {
        let entries = dist.entries()?.into_iter().filter(|entry| entry.is_file);
        paths = entries.map(|entry| entry.name).filter(|name| options.notes.as_ref() != Some(name)).collect();
    }
    if paths.is_empty() {
        return Err(Error::new("there is no file in `dist` to release"));
    }
    let files = paths.iter().map(|path| LocalFile::look(dist, path)).collect::<Result<Vec<_>>>()?;
    plan::check_names(&files)?;
    Ok(files)
}

fn text(dist: &Directory, path: &str) -> Result<String> {
    // GitHub takes 125,000 characters.
    let bytes = dist.read_up_to(path, 500_000)?;
    String::from_utf8(bytes).map_err(|_| Error::new(format!("`{path}` is not UTF-8")))
}

fn find_or_create(api: &Api<'_>, options: &Options, notes: Option<&str>) -> Result<Release> {
    match api.find(&options.tag)? {
        Some(release) => {
            info(&format!("{}: there is a {}, which is taken", options.tag, release.describe()));
            Ok(release)
        }
        None => api.create(&options.new_release(notes)),
    }
}

fn report(options: &Options, release: &Release, done: &[Done]) -> String {
    let rows: Vec<_> = done
        .iter()
        .map(|done| {
            let link = summary::link(&done.asset.name, &done.asset.browser_download_url);
            let digest = summary::code(&done.file.digest.to_string());
            [link, done.file.size.to_string(), digest, done.action.describe().to_owned()]
        })
        .collect();
    let title = format!("{} {}", options.repository, options.tag);
    format!(
        "### {} {}\n\n{}",
        if release.draft { "Draft" } else { "Release" },
        summary::link(&title, &release.html_url),
        summary::table(["File", "Bytes", "SHA-256", ""], &rows)
    )
}
