//! A step that uses every kind of handle, well and badly. Its first argument says how.

mod encodings;

use attest_sdk::bindings::wasi::http::outgoing_handler::handle;
use attest_sdk::bindings::wasi::http::types as wasi;
use attest_sdk::http::{Method, Request, Response};
use attest_sdk::{Annotation, DerivationKey, Directory, Error, Instant, Result, Secret, info, set_output, summary};

#[attest_sdk::step]
fn run(args: Vec<String>) -> Result {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["send", method, url] => tell(Request::new(self::method(method)?, *url).send()?),
        ["send", method, url, body] => tell(Request::new(self::method(method)?, *url).body(*body).send()?),
        ["with", method, url, place, with] => with_secret(method, url, place, with, None),
        ["with", method, url, place, with, body] => with_secret(method, url, place, with, Some(body)),
        ["upload", url, file] => {
            let token = Secret::open("token")?;
            let file = Directory::open("work")?.file(file)?;
            tell(Request::put(*url).file(&file).secret_header("authorization", "Bearer ", &token).send()?)
        }
        ["download", url] => {
            let mut bytes = 0u64;
            Request::get(*url).send()?.read_each(|part| {
                bytes += part.len() as u64;
                Ok(())
            })?;
            info(&format!("{bytes} bytes"));
            Ok(())
        }
        ["raw", method, scheme, authority, path, rest @ ..] => raw(method, scheme, authority, path, rest),
        ["raw-with", authority, path] => raw_with(authority, path),
        ["guess", url] => guess(url),
        ["flood", authority] => flood(authority),
        ["derive", purpose] => {
            info(&encodings::hex(DerivationKey::open("derived")?.derive(purpose)?.expose()));
            Ok(())
        }
        ["mac", purpose, message] => {
            info(&encodings::hex(&DerivationKey::open("derived")?.mac(purpose, message.as_bytes())?));
            Ok(())
        }
        ["page"] => {
            set_output("out", "one\ntwo=three\n::error::four")?;
            summary::append("# Done\n::warning::not a command\n");
            Annotation::warning("look\n::error::here").title("a: b, c").file("src/a,b.rs").line(3).make();
            info("::set-output name=a::b");
            info("##[error]c \u{1b}[31mred");
            Ok(())
        }
        ["summaries", count] => {
            (0..number(count)?).for_each(|_| summary::append(&"x".repeat(1024)));
            Ok(())
        }
        ["annotations", count] => {
            (0..number(count)?).for_each(|_| Annotation::notice("n").make());
            Ok(())
        }
        ["say", place, encoding] => say(place, encoding),
        ["file", encoding] => file(encoding),
        ["file", encoding, milliseconds] => {
            file(encoding)?;
            info("written");
            attest_sdk::sleep(std::time::Duration::from_millis(number(milliseconds)?));
            Ok(())
        }
        ["files", count] => {
            let work = Directory::open("work")?;
            (0..number(count)?).try_for_each(|number| work.write(&format!("{number:0>200}"), b"x"))
        }
        ["write", name, contents] => Directory::open("work")?.write(name, contents.as_bytes()),
        ["log", lines @ ..] => {
            lines.iter().for_each(|line| info(line));
            Ok(())
        }
        ["wait", milliseconds] => {
            attest_sdk::sleep(std::time::Duration::from_millis(number(milliseconds)?));
            Ok(())
        }
        ["calls", count] => {
            let secret = Secret::open("token")?;
            let began = Instant::now();
            for _ in 0..number(count)? {
                std::hint::black_box(secret.name());
            }
            info(&format!("{} ns each", began.elapsed().as_nanos() / u128::from(number(count)?)));
            Ok(())
        }
        _ => Err(Error::new(format!("no such way: {args:?}"))),
    }
}

/// Writes a secret into a file.
fn file(encoding: &str) -> Result {
    let value = encodings::encode(&Secret::open("seen")?.reveal()?, encoding)?;
    Directory::open("work")?.write("written", &[b"in front ", value.as_slice(), b" behind"].concat())
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| Error::new(format!("`{text}` is no number")))
}

fn method(name: &str) -> Result<Method> {
    Ok(match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        other => return Err(Error::new(format!("no method {other}"))),
    })
}

/// Says what came back.
fn tell(response: Response) -> Result {
    info(&format!("status {}", response.status()));
    for (name, value) in response.headers() {
        info(&format!("header {name}: {value}"));
    }
    let mut body = Vec::new();
    let read = response.read_each(|part| {
        body.extend_from_slice(part);
        Ok(())
    });
    info(&format!("body {}", String::from_utf8_lossy(&body)));
    read
}

fn with_secret(method: &str, url: &str, place: &str, with: &str, body: Option<&str>) -> Result {
    let token = Secret::open("token")?;
    let mut request = Request::new(self::method(method)?, url);
    if let Some(body) = body {
        let form = "application/x-www-form-urlencoded";
        request = request.header("content-type", if place.starts_with("json:") { "application/json" } else { form });
        request = request.body(body);
    }
    let request = match place.split_once(':') {
        Some(("header", name)) => request.secret_header(name, with, &token),
        Some(("query", name)) => request.secret_query(name, &token),
        Some(("form", name)) => request.secret_form(name, &token),
        Some(("json", name)) => request.secret_json(name, &token),
        _ => request.secret_basic(with, &token),
    };
    tell(request.send()?)
}

fn refused(what: &str) -> Error {
    Error::new(format!("refused: {what}"))
}

/// A request as `wasi:http` lets any program make it: `rest` are names and values of header fields.
fn raw(method: &str, scheme: &str, authority: &str, path: &str, rest: &[&str]) -> Result {
    let fields = wasi::Fields::new();
    for pair in rest.chunks(2) {
        let [name, value] = pair else { return Err(Error::new("a name and a value")) };
        fields
            .append(name, value.replace("\\r\\n", "\r\n").as_bytes())
            .map_err(|error| refused(&format!("header {error:?}")))?;
    }
    let request = wasi::OutgoingRequest::new(fields);
    let method = match method {
        "GET" => wasi::Method::Get,
        "TRACE" => wasi::Method::Trace,
        "CONNECT" => wasi::Method::Connect,
        other => wasi::Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| refused("method"))?;
    let scheme = match scheme {
        "http" => wasi::Scheme::Http,
        "https" => wasi::Scheme::Https,
        other => wasi::Scheme::Other(other.to_owned()),
    };
    request.set_scheme(Some(&scheme)).map_err(|()| refused("scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| refused("authority"))?;
    request.set_path_with_query(Some(path)).map_err(|()| refused("path"))?;
    status(&handle(request, None).map_err(|error| refused(&format!("{error:?}")))?)
}

/// A request with the token, to a path that no library would write.
fn raw_with(authority: &str, path: &str) -> Result {
    use attest_sdk::bindings::attest::step::{http, secrets};
    let request = wasi::OutgoingRequest::new(wasi::Fields::new());
    request.set_method(&wasi::Method::Put).map_err(|()| refused("method"))?;
    request.set_scheme(Some(&wasi::Scheme::Http)).map_err(|()| refused("scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| refused("authority"))?;
    request.set_path_with_query(Some(path)).map_err(|()| refused("path"))?;
    let token = secrets::open("token").map_err(|_| refused("secret"))?;
    let place = http::HeaderPlace { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() };
    let used = http::SecretUse { secret: &token, place: http::Place::Header(place) };
    status(&http::send(request, None, &[used]).map_err(|error| refused(&format!("{error:?}")))?)
}

/// Sends a request, and talks without end instead of waiting for the answer.
fn flood(authority: &str) -> Result {
    let request = wasi::OutgoingRequest::new(wasi::Fields::new());
    request.set_scheme(Some(&wasi::Scheme::Http)).map_err(|()| refused("scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| refused("authority"))?;
    request.set_path_with_query(Some("/")).map_err(|()| refused("path"))?;
    let _answer = handle(request, None).map_err(|error| refused(&format!("{error:?}")))?;
    // It goes out.
    attest_sdk::sleep(std::time::Duration::from_millis(200));
    loop {
        info(&"x".repeat(1000));
    }
}

/// Says with which status a request was answered.
fn status(answer: &wasi::FutureIncomingResponse) -> Result {
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(Ok(response))) => {
            info(&format!("status {}", response.status()));
            Ok(())
        }
        Some(Ok(Err(error))) => Err(refused(&format!("{error:?}"))),
        _ => Err(refused("no answer")),
    }
}

/// Has the server send back what the step guesses, beside the token: a mask would tell which guess is right.
fn guess(url: &str) -> Result {
    let token = Secret::open("token")?;
    for letter in 'a'..='z' {
        let request = Request::post(url).header("content-type", "text/plain").body(letter.to_string());
        let response = request.secret_header("authorization", "Bearer ", &token).send()?;
        info(&format!("{letter}: {}", String::from_utf8_lossy(&response.body()?)));
    }
    Ok(())
}

/// Writes the secret that it may see where people read.
fn say(place: &str, encoding: &str) -> Result {
    let value = Secret::open("seen")?.reveal()?;
    let text = String::from_utf8_lossy(&encodings::encode(&value, encoding)?).into_owned();
    match place {
        "log" => info(&format!("in front {text} behind")),
        "parts" => {
            // One message, longer than what is sent at once, with the secret across the border.
            let front = "x".repeat(64 * 1024 - text.len() / 2);
            info(&format!("{front}{text} behind"));
        }
        "output" => set_output("out", &text)?,
        "summary" => {
            let (one, two) = text.split_at(text.len() / 2);
            summary::append(one);
            summary::append(two);
        }
        "annotation" => Annotation::error(text.clone()).title(text.clone()).file(text).make(),
        "failure" => return Err(Error::new(text)),
        other => return Err(Error::new(format!("no such place: {other}"))),
    }
    Ok(())
}
