//! Sends files of `dist` to a server, with `token` as a bearer token.
//!
//! The files never are in the step's memory, and the token never comes near it: the host moves the ones and puts in the
//! other.

mod integrity;
mod plan;

use attest_sdk::http::{Request, Url};
use attest_sdk::{Directory, Result, Secret, info, set_output, summary};
use plan::{Method, Plan};
use step_digest::LocalFile;

#[attest_sdk::step]
fn run(args: Vec<String>) -> Result {
    let plan = Plan::parse(args)?;
    let dist = Directory::open("dist")?;
    let token = Secret::open("token")?;
    // All are looked at before the first is sent: a name that was mistyped sends nothing.
    let mut uploads = Vec::new();
    for (path, url) in plan.targets()? {
        uploads.push((LocalFile::look(&dist, &path)?, url));
    }
    for (file, url) in &uploads {
        send(&plan, &dist, file, url, &token)?;
        info(&format!("{}: {} bytes to {}", file.path, file.size, url.without_query()));
    }
    // A query may hold a signature that lets everybody write there.
    let urls: Vec<_> = uploads.iter().map(|(_, url)| url.without_query().to_string()).collect();
    set_output("urls", &urls.join("\n"))?;
    summary::append(&report(&uploads));
    Ok(())
}

fn send(plan: &Plan, dist: &Directory, local: &LocalFile, url: &Url, token: &Secret) -> Result {
    let file = dist.file(&local.path)?;
    let mut request = match plan.method {
        Method::Put => Request::put(url),
        Method::Post => Request::post(url),
    }
    .header("content-type", "application/octet-stream")
    .header("user-agent", concat!("attest-run-http-upload/", env!("CARGO_PKG_VERSION")))
    .secret_header("authorization", "Bearer ", token)
    .file(&file);
    if let Some(header) = &plan.digest_header {
        request = request.header(header, &integrity::value(header, &local.digest));
    }
    request.send()?.accepted().map_err(|error| error.during(&local.path))?;
    Ok(())
}

fn report(uploads: &[(LocalFile, Url)]) -> String {
    let rows: Vec<_> = uploads
        .iter()
        .map(|(file, url)| {
            let url = url.without_query().to_string();
            [
                summary::code(&file.path),
                file.size.to_string(),
                summary::code(&file.digest.to_string()),
                summary::escape(&url),
            ]
        })
        .collect();
    format!("### Uploaded\n\n{}", summary::table(["File", "Bytes", "SHA-256", "URL"], &rows))
}
