//! Measuring: what the agent finds on its machine, for the [statement](attest_evidence::measurement) about it.

use attest_evidence::Sha256Digest;
use attest_evidence::exchange::Isolation;
use attest_evidence::measurement::{
    BootState, Claimed, Container, Cpu, Host, Hypervisor, Job, Kernel, Measurement, Resource, Statement, Tool,
    TpmIdentity,
};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{PcrValues, TpmName};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Most bytes of a file that is measured by its text.
const LONGEST_TEXT: u64 = 64 * 1024;
/// Most bytes of a file that is measured by its digest: a compiler with all its libraries.
const LARGEST_FILE: u64 = 4 << 30;
/// Files of the system that are read by whatever builds: by the loader, shells, and tools that fetch.
const STEERING: [&str; 10] = [
    "/etc/bash.bashrc",
    "/etc/environment",
    "/etc/gitconfig",
    "/etc/ld.so.conf",
    "/etc/ld.so.preload",
    "/etc/npmrc",
    "/etc/pip.conf",
    "/etc/profile",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/zsh/zshenv",
];

/// What is measured: given by whoever knows.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The agent's programs, by name.
    pub programs: BTreeMap<&'static str, PathBuf>,
    /// What the admin declared.
    pub tools: Vec<PathBuf>,
    /// How the agent is separated from the jobs.
    pub isolation: Isolation,
    /// The boot state.
    pub pcrs: PcrValues,
    /// The Name of the attestation key, if there is one.
    pub attestation_key: Option<TpmName>,
    /// The CI job.
    pub job: Option<Job>,
    /// What the client says.
    pub claimed: Claimed,
}

/// Why the environment could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't measure {}: {reason}", path.display())]
pub struct MeasureError {
    /// What.
    pub path: PathBuf,
    /// Why not.
    pub reason: String,
}

impl Explain for MeasureError {
    fn report(&self) -> Report {
        Report::new("AR-C301", Fault::Environment, self.to_string())
    }
}

impl MeasureError {
    fn new(path: &Path, reason: impl ToString) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// The statement about this environment.
///
/// # Errors
/// A program or a file of the kernel that can't be read; a tool that is there and can't be read.
pub(crate) fn statement(subject: Subject) -> Result<Statement, MeasureError> {
    statement_in(Path::new("/"), subject)
}

/// The same, of a machine whose files lie in `root`.
fn statement_in(root: &Path, subject: Subject) -> Result<Statement, MeasureError> {
    let Subject { programs, tools, isolation, pcrs, attestation_key, job, claimed } = subject;
    let programs = programs
        .iter()
        .map(|(name, path)| Ok(Resource::new(*name, digest_of(path)?)))
        .collect::<Result<Vec<_>, MeasureError>>()?;
    let tools: BTreeSet<PathBuf> = tools.into_iter().collect();
    let tools = tools.iter().map(|path| tool(root, path)).collect::<Result<Vec<_>, _>>()?;
    let mut files = BTreeMap::new();
    for path in STEERING {
        // What can't be opened is not there for a build either, as far as one can tell.
        let digest = digest_if_there(&within(root, path))?;
        files.extend(digest.map(|digest| (path.to_owned(), digest)));
    }
    let processors = text_of(&within(root, "/proc/cpuinfo")).unwrap_or_default();
    let host = Host {
        isolation,
        tpm: TpmIdentity { attestation_key },
        boot_state: BootState::new(
            pcrs.iter().map(|(index, value)| (index.get(), Sha256Digest::from_bytes(*value))).collect(),
        ),
        kernel: kernel(root)?,
        os: os_release(&text_of(&within(root, "/etc/os-release")).unwrap_or_default()),
        container: container(root),
        cpu: cpu(&processors),
        hypervisor: hypervisor(root, &processors),
        files,
        programs,
        tools,
    };
    Ok(Statement::new(Measurement { host, job, claimed }))
}

fn within(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// The digest of a file's contents; none where no file is that can be opened.
///
/// # Errors
/// It can't be read to its end, or is too large.
pub fn digest_if_there(path: &Path) -> Result<Option<Sha256Digest>, MeasureError> {
    open(path).ok().map(|file| digest(path, file)).transpose()
}

/// The digest of a file's contents.
pub(crate) fn digest_of(path: &Path) -> Result<Sha256Digest, MeasureError> {
    digest(path, open(path)?)
}

/// Opens a regular file. Whoever may write there may put a pipe there, which nobody ever writes to: it is not waited for.
fn open(path: &Path) -> Result<File, MeasureError> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| MeasureError::new(path, error))?;
    let metadata = file.metadata().map_err(|error| MeasureError::new(path, error))?;
    if metadata.is_file() { Ok(file) } else { Err(MeasureError::new(path, "it is not a regular file")) }
}

fn digest(path: &Path, file: File) -> Result<Sha256Digest, MeasureError> {
    use sha2::Digest as _;
    let mut file = file.take(LARGEST_FILE.saturating_add(1));
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).map_err(|error| MeasureError::new(path, error))? {
            0 if file.limit() == 0 => {
                return Err(MeasureError::new(path, format!("it has more than {LARGEST_FILE} bytes")));
            }
            0 => return Ok(Sha256Digest::from_bytes(hash.finalize().into())),
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

fn text_of(path: &Path) -> Result<String, MeasureError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_TEXT).read_to_end(&mut bytes))
        .map_err(|error| MeasureError::new(path, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What stands in a small file of the kernel, if it is there and says anything.
fn word_of(path: &Path) -> Option<String> {
    text_of(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn kernel(root: &Path) -> Result<Kernel, MeasureError> {
    let name = rustix::system::uname();
    Ok(Kernel {
        release: name.release().to_string_lossy().into_owned(),
        version: name.version().to_string_lossy().into_owned(),
        machine: name.machine().to_string_lossy().into_owned(),
        command_line: text_of(&within(root, "/proc/cmdline"))?.trim_end().to_owned(),
    })
}

/// A compiler or the like. One that is not there is told of, too: it may come later, and then the statement is another.
fn tool(root: &Path, path: &Path) -> Result<Tool, MeasureError> {
    let name = path.to_str().filter(|_| path.is_absolute());
    let name = name.ok_or_else(|| MeasureError::new(path, "a tool is named by its whole path, in UTF-8"))?.to_owned();
    let file = within(root, &name);
    let leads_to = match file.canonicalize() {
        Ok(real) => Some(real),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(MeasureError::new(path, error)),
    };
    let Some(real) = leads_to else {
        return Ok(Tool { path: name, leads_to: None, sha256: None });
    };
    let sha256 = Some(digest_of(&real)?);
    Ok(Tool { path: name, leads_to: (real != file).then(|| real.to_string_lossy().into_owned()), sha256 })
}

/// The members of `os-release(5)` that say which system it is.
fn os_release(text: &str) -> BTreeMap<String, String> {
    const KEPT: [&str; 6] = ["ID", "VERSION_ID", "BUILD_ID", "IMAGE_ID", "IMAGE_VERSION", "VARIANT_ID"];
    text.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| KEPT.contains(name))
        .map(|(name, value)| (name.to_lowercase(), unquoted(value)))
        .collect()
}

fn unquoted(value: &str) -> String {
    value.trim().trim_matches(['"', '\'']).to_owned()
}

/// What container this is, by what those who make them leave behind (podman's `.containerenv`, docker's `.dockerenv`, the
/// service account of a pod, systemd's `container` file).
fn container(root: &Path) -> Option<Container> {
    let of = |runtime: &str| Container { runtime: runtime.to_owned(), image: None, image_id: None };
    if let Ok(text) = text_of(&within(root, "/run/.containerenv")) {
        let member = |wanted: &str| {
            let mut members = text.lines().filter_map(|line| line.split_once('='));
            members
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| unquoted(value))
                .filter(|value| !value.is_empty())
        };
        return Some(Container { image: member("image"), image_id: member("imageid"), ..of("podman") });
    }
    if within(root, "/.dockerenv").exists() {
        return Some(of("docker"));
    }
    if within(root, "/var/run/secrets/kubernetes.io/serviceaccount").exists() {
        return Some(of("kubernetes"));
    }
    word_of(&within(root, "/run/systemd/container")).map(|runtime| of(&runtime))
}

/// The first processor of `/proc/cpuinfo`. What changes while the machine runs is left out.
fn cpu(text: &str) -> Cpu {
    const KEPT: [&str; 10] = [
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping", // x86
        "CPU implementer",
        "CPU architecture",
        "CPU variant",
        "CPU part",
        "CPU revision", // Arm
    ];
    let first = text.split("\n\n").next().unwrap_or_default();
    let members: BTreeMap<&str, &str> = first
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let kept = KEPT.iter().filter_map(|name| members.get(name).map(|value| (name, value)));
    Cpu {
        model: kept.map(|(name, value)| (name.to_lowercase().replace(' ', "_"), (*value).to_owned())).collect(),
        microcode: members.get("microcode").map(|value| (*value).to_owned()),
    }
}

/// What this machine runs on, if it knows that it is a virtual one.
fn hypervisor(root: &Path, processors: &str) -> Option<Hypervisor> {
    let flagged = processors
        .lines()
        .find_map(|line| line.strip_prefix("flags"))
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    let told = ["/sys/hypervisor/type", "/proc/device-tree/hypervisor/compatible"]
        .iter()
        .any(|path| within(root, path).exists());
    let smbios = |member: &str| word_of(&within(root, "/sys/class/dmi/id").join(member));
    (flagged || told).then(|| Hypervisor { vendor: smbios("sys_vendor"), product: smbios("product_name") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use attest_evidence::measurement::NotAStatement;
    use std::fs;

    fn subject(tools: &[&str]) -> Subject {
        Subject {
            programs: BTreeMap::from([("this", PathBuf::from("/proc/self/exe"))]),
            tools: tools.iter().map(PathBuf::from).collect(),
            isolation: Isolation::Direct,
            pcrs: PcrValues::default(),
            attestation_key: None,
            job: None,
            claimed: Claimed::default(),
        }
    }

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("/proc/cmdline", "quiet\n")].iter().chain(files) {
            let file = within(root.path(), path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    #[test]
    fn the_same_environment_gives_the_same_bytes_and_they_can_be_read() {
        let bytes = || statement(subject(&["/bin/sh", "/nonexistent/cc"])).unwrap().to_bytes().unwrap();
        assert_eq!(bytes(), bytes());
        let read = Statement::parse(&bytes()).unwrap();
        let [sh, missing] = read.predicate.host.tools.as_slice() else { panic!("{read:?}") };
        assert!(sh.sha256.is_some() && missing.sha256.is_none());
    }

    #[test]
    fn of_os_release_only_what_says_which_system_it_is_is_kept() {
        let os = os_release("ID=debian\nVERSION_ID=\"12\"\nHOME_URL=https://example.org\n");
        assert_eq!(os, BTreeMap::from([("id".into(), "debian".into()), ("version_id".into(), "12".into())]));
    }

    #[test]
    fn containers_are_known_by_what_their_makers_leave_behind() {
        let found = |files: &[(&str, &str)]| {
            let root = machine(files);
            container(root.path()).map(|it| (it.runtime, it.image, it.image_id))
        };
        assert_eq!(found(&[]), None);
        let podman = "engine=\"podman-5.4\"\nimage=\"docker.io/library/debian:12\"\nimageid=\"9d2f\"\nrootless=0\n";
        let image = (Some("docker.io/library/debian:12".to_owned()), Some("9d2f".to_owned()));
        assert_eq!(found(&[("/run/.containerenv", podman)]), Some(("podman".to_owned(), image.0, image.1)));
        // A privileged one has an empty file.
        assert_eq!(found(&[("/run/.containerenv", "")]), Some(("podman".to_owned(), None, None)));
        assert_eq!(found(&[("/.dockerenv", "")]), Some(("docker".to_owned(), None, None)));
        assert_eq!(found(&[("/run/systemd/container", "lxc\n")]), Some(("lxc".to_owned(), None, None)));
    }

    #[test]
    fn processors_and_hypervisors_of_two_kinds() {
        let amd = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 17\nmicrocode\t: 0x1\ncpu MHz\t\t: 2596.1\nflags\t\t: fpu hypervisor lm\n\nprocessor\t: 1\nmodel\t\t: 18\n";
        let it = cpu(amd);
        assert_eq!(
            it.model,
            BTreeMap::from([("model".into(), "17".into()), ("vendor_id".into(), "AuthenticAMD".into())])
        );
        assert_eq!(it.microcode.as_deref(), Some("0x1"));
        let root =
            machine(&[("/sys/class/dmi/id/sys_vendor", "QEMU\n"), ("/sys/class/dmi/id/product_name", "Standard PC\n")]);
        let on = hypervisor(root.path(), amd).unwrap();
        assert_eq!((on.vendor.as_deref(), on.product.as_deref()), (Some("QEMU"), Some("Standard PC")));
        // Hardware has an SMBIOS, too.
        assert_eq!(hypervisor(root.path(), "flags\t\t: fpu lm\n"), None);
        let arm = cpu("processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n");
        assert_eq!(arm.model.get("cpu_part").map(String::as_str), Some("0xd0c"));
    }

    #[test]
    fn a_tool_is_what_its_link_leads_to() {
        let root = machine(&[("/usr/bin/gcc-12", "compiler")]);
        std::os::unix::fs::symlink("gcc-12", within(root.path(), "/usr/bin/cc")).unwrap();
        let cc = tool(root.path(), Path::new("/usr/bin/cc")).unwrap();
        assert_eq!(cc.sha256, Some(Sha256Digest::of(b"compiler")));
        assert!(cc.leads_to.unwrap().ends_with("/usr/bin/gcc-12"));
        let refused = tool(root.path(), Path::new("/usr/bin")).unwrap_err();
        assert!(refused.to_string().contains("not a regular file"), "{refused}");
        rustix::fs::mkfifoat(rustix::fs::CWD, within(root.path(), "/usr/bin/pipe"), 0o600.into()).unwrap();
        let refused = tool(root.path(), Path::new("/usr/bin/pipe")).unwrap_err();
        assert!(refused.to_string().contains("not a regular file"), "{refused}");
        assert!(tool(root.path(), Path::new("cc")).unwrap_err().to_string().contains("whole path"));
    }

    #[test]
    fn a_statement_that_was_changed_is_none() {
        let good = statement(subject(&["/b", "/a", "/a"])).unwrap().to_bytes().unwrap();
        let text = String::from_utf8(good.clone()).unwrap();
        assert!(Statement::parse(&good).is_ok());
        let changed = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}: {text}");
            Statement::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err()
        };
        assert!(matches!(changed("measurement/v1", "measurement/v2"), NotAStatement::Type(_)));
        assert!(matches!(changed("Statement/v1", "Statement/v0.1"), NotAStatement::Type(_)));
        assert!(matches!(changed("\"isolation\":", "\"more\":1,\"isolation\":"), NotAStatement::Form(_)));
        assert!(matches!(changed("\"isolation\":", "\"isolation\":\"agent\",\"isolation\":"), NotAStatement::Form(_)));
        assert_eq!(changed("\"boot-state\"", "\"other\""), NotAStatement::Subject);
        assert_eq!(
            changed("\"pcrs\":{}", &format!("\"pcrs\":{{\"0\":\"{}\"}}", "00".repeat(32))),
            NotAStatement::BootState
        );
        assert_eq!(
            changed("{\"path\":\"/a\"},{\"path\":\"/b\"}", "{\"path\":\"/b\"},{\"path\":\"/a\"}"),
            NotAStatement::Order("tools")
        );
        let workspace = "\"variables\":{},\"files\":{},\"workspace\":{\"commit\":\"main\",\"dirty\":false}";
        assert_eq!(changed("\"variables\":{},\"files\":{}", workspace), NotAStatement::Claimed);
        assert_eq!(Statement::parse(&vec![b' '; 300_000]).unwrap_err(), NotAStatement::TooLong(300_000));
    }
}
