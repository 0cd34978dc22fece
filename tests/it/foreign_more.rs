//! More servers that are not ours, each named by a variable of the environment: `FERRYD_DUFS`, `FERRYD_NGINX` and `FERRYD_APACHE` speak
//! WebDAV, `FERRYD_RUSTUS` speaks tus. Nobody has all of them, so these tests are run by a command of their own:
//!
//! ```sh
//! FERRYD_DUFS=dufs FERRYD_NGINX=/usr/sbin/nginx FERRYD_APACHE=/usr/sbin/apache2 FERRYD_RUSTUS=rustus \
//!     cargo test --test it foreign_more -- --include-ignored
//! ```

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use ferryd::internals::job::State;
use sha2::Digest;

use crate::bench_top::Bench;
use crate::cutting::Cutting;
use crate::foreign::{KILLS, PASSWORD, USER, command, files, hex};
use crate::skip::skipped;

const MIB: u64 = 1024 * 1024;
/// The SHA-1 of the password, in base64, as a file of users has it.
const HASHED: &str = "UBTJq6UIDVQKUaRjQxHFfhzHWmE=";

/// A program that a variable names. Without one, the test says that it shows nothing.
fn program(variable: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    if named.is_none() {
        skipped(&format!("{variable} names no program"));
    }
    named
}

/// A server on a folder.
struct Served {
    process: Child,
    address: SocketAddr,
}

impl Served {
    /// Starts a program with the words that `words` makes of a free port.
    fn start(bench: &Bench, program: &Path, words: impl FnOnce(u16) -> Vec<String>) -> Served {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = command(program);
        let process = command.args(words(address.port())).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        bench.wait_for("the server to listen", || TcpStream::connect(address).ok());
        Served { process, address }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

/// A place that a server of another user may reach, with a folder that it may write to.
fn folder(bench: &Bench) -> PathBuf {
    let folder = bench.dir.path().join("foreign");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(bench.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

fn bench(kind: &'static str) -> Bench {
    Bench::new().to(&[kind]).watch("settle = \"0s\"\nmin_size = \"0 B\"\nexclude = []")
}

/// Everything below a folder: paths, and digests of files.
fn below(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.push((name, hex(&sha2::Sha256::digest(std::fs::read(&path).unwrap()))));
            }
        }
    }
    found.sort();
    found
}

/// Files of all sizes and odd names through kills of the daemon, and, with a proxy in between, through answers that are lost.
fn webdav(serve: impl FnOnce(&Bench, &Path) -> Served, path: &str) {
    let bench = bench("webdav");
    let folder = folder(&bench);
    let served = serve(&bench, &folder);
    let cutting = Cutting::of_method(served.address, "MOVE", 8);
    let ours = ferryd_sandbox::config_of("webdav", bench.sandbox.addr()).unwrap();
    let theirs = format!(
        "[host.webdav]\nkind = \"webdav\"\nbase_url = \"http://{}{path}\"\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"\nbandwidth = \"40 MiB/s\"\n",
        cutting.address
    );
    let bench = bench.change(&ours, &theirs);
    let files = files("sub folder/inner/");
    for (name, content) in &files {
        bench.put(name, content);
    }
    let done = || bench.jobs().iter().filter(|job| job.state == State::Done).count() as u64;
    for life in 1..=KILLS {
        let daemon = bench.start();
        bench.wait_for("some files", || (done() >= 4 * life).then_some(()));
        daemon.kill();
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(files.len());
    bench.stop(daemon);
    assert!(jobs.iter().all(|job| job.state == State::Done && !job.maybe_duplicate), "{jobs:#?}");
    assert!(jobs.iter().all(|job| job.stored_bytes.is_some() && job.renamed_to().is_none()), "{jobs:#?}");
    let mut expected: Vec<(String, String)> =
        files.iter().map(|(name, content)| (name.clone(), hex(&sha2::Sha256::digest(content)))).collect();
    expected.sort();
    assert_eq!(below(&folder), expected, "every file once, and nothing else");
    assert!(cutting.kept() > 0, "no answer was lost");
    let said = bench.command(&["check", "--online"]).output().unwrap();
    let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.contains("credentials accepted, folder found"), "{said}");
}

fn users(bench: &Bench, text: &str) -> PathBuf {
    let file = bench.dir.path().join("users");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    file
}

#[test]
#[ignore = "needs FERRYD_DUFS"]
fn dufs_has_every_file_once_and_equal_though_the_daemon_is_killed_and_answers_are_lost() {
    let Some(dufs) = program("FERRYD_DUFS") else { return };
    webdav(
        |bench, folder| {
            Served::start(bench, &dufs, |port| {
                let account = format!("{USER}:{PASSWORD}@/:rw");
                let words = ["-b", "127.0.0.1", "-p", &port.to_string(), "-A", "-a", &account, folder.to_str().unwrap()];
                words.map(str::to_owned).to_vec()
            })
        },
        "",
    );
}

#[test]
#[ignore = "needs FERRYD_NGINX"]
fn nginx_has_every_file_once_and_equal_though_the_daemon_is_killed_and_answers_are_lost() {
    let Some(nginx) = program("FERRYD_NGINX") else { return };
    let serve = |bench: &Bench, folder: &Path| {
        let users = users(bench, &format!("{USER}:{{PLAIN}}{PASSWORD}\n"));
        let own = bench.dir.path().join("nginx");
        std::fs::create_dir(&own).unwrap();
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o777)).unwrap();
        Served::start(bench, &nginx, |port| {
            let (own, folder) = (own.display(), folder.display());
            let text = format!(
                "daemon off;\npid {own}/pid;\nerror_log {own}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\nclient_max_body_size 0;\n\
                 client_body_temp_path {own}/body;\nproxy_temp_path {own}/proxy;\nfastcgi_temp_path {own}/fastcgi;\n\
                 uwsgi_temp_path {own}/uwsgi;\nscgi_temp_path {own}/scgi;\nserver {{\nlisten 127.0.0.1:{port};\nroot {folder};\n\
                 location / {{\ndav_methods PUT DELETE MKCOL MOVE;\nauth_basic x;\nauth_basic_user_file {users};\n}}\n}}\n}}\n",
                users = users.display()
            );
            let config = bench.dir.path().join("nginx.conf");
            std::fs::write(&config, text).unwrap();
            ["-p", &own.to_string(), "-c", config.to_str().unwrap()].map(str::to_owned).to_vec()
        })
    };
    webdav(serve, "");
}

#[test]
#[ignore = "needs FERRYD_APACHE"]
fn apache_has_every_file_once_and_equal_though_the_daemon_is_killed_and_answers_are_lost() {
    let Some(apache) = program("FERRYD_APACHE") else { return };
    let serve = |bench: &Bench, folder: &Path| {
        let users = users(bench, &format!("{USER}:{{SHA}}{HASHED}\n"));
        let own = bench.dir.path().join("apache");
        std::fs::create_dir(&own).unwrap();
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o777)).unwrap();
        let modules = ["mpm_event", "authn_core", "authn_file", "auth_basic", "authz_core", "authz_user", "dav", "dav_fs"];
        let load = |name: &str| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
        let loads: String = modules.map(load).concat();
        Served::start(bench, &apache, |port| {
            let (own, folder) = (own.display(), folder.display());
            let text = format!(
                "{loads}ServerRoot {own}\nPidFile {own}/pid\nMutex file:{own}\nErrorLog {own}/error.log\nListen 127.0.0.1:{port}\n\
                 ServerName localhost\nUser www-data\nGroup www-data\nDavLockDB {own}/lock\nDocumentRoot {folder}\n\
                 <Directory {folder}>\nDav On\nAuthType Basic\nAuthName x\nAuthUserFile {users}\nRequire valid-user\n</Directory>\n",
                users = users.display()
            );
            let config = bench.dir.path().join("apache.conf");
            std::fs::write(&config, text).unwrap();
            ["-DFOREGROUND", "-f", config.to_str().unwrap()].map(str::to_owned).to_vec()
        })
    };
    webdav(serve, "");
}

/// The uploads that rustus knows: their names, how long they are to be, and what is there of them.
fn uploads(infos: &Path) -> Vec<(String, u64, Vec<u8>)> {
    let read = |path: PathBuf| {
        let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        let name = told["metadata"]["filename"].as_str()?.to_owned();
        let held = told["path"].as_str().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        Some((name, told["length"].as_u64()?, held))
    };
    std::fs::read_dir(infos).unwrap().filter_map(|entry| read(entry.unwrap().path())).collect()
}

#[test]
#[ignore = "needs FERRYD_RUSTUS"]
fn rustus_has_every_file_once_and_equal_though_the_daemon_is_killed_and_answers_are_lost() {
    let Some(rustus) = program("FERRYD_RUSTUS") else { return };
    let bench = bench("tus");
    let (data, infos) = (folder(&bench), bench.dir.path().join("infos"));
    std::fs::create_dir(&infos).unwrap();
    let served = Served::start(&bench, &rustus, |port| {
        let (data, infos) = (data.display().to_string(), infos.display().to_string());
        let words =
            ["--host", "127.0.0.1", "--port", &port.to_string(), "--url", "/files", "--data-dir", &data, "--info-dir", &infos];
        words.into_iter().chain(["--max-body-size", "1099511627776"]).map(str::to_owned).collect()
    });
    let cutting = Cutting::of_method(served.address, "PATCH", 12);
    let ours = ferryd_sandbox::config_of("tus", bench.sandbox.addr()).unwrap();
    let theirs = format!(
        "[host.tus]\nkind = \"tus\"\nendpoint = \"http://{}/files/\"\nchunk = \"5 MiB\"\nbandwidth = \"40 MiB/s\"\n",
        cutting.address
    );
    let bench = bench.change(&ours, &theirs);
    let files = files("");
    for (name, content) in &files {
        bench.put(name, content);
    }
    let there = || uploads(&infos).iter().map(|(.., held)| held.len() as u64).sum::<u64>();
    for life in 1..=KILLS {
        let daemon = bench.start();
        bench.wait_for("some bytes", || (there() >= life * 20 * MIB).then_some(()));
        daemon.kill();
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(files.len());
    bench.stop(daemon);
    assert!(jobs.iter().all(|job| job.state == State::Done && (job.bytes == 0 || !job.maybe_duplicate)), "{jobs:#?}");
    let uploads = uploads(&infos);
    for (name, content) in &files {
        let of_it = || uploads.iter().filter(|(known, ..)| known == name);
        let whole: Vec<_> = of_it().filter(|(_, bytes, held)| *bytes == held.len() as u64).collect();
        assert!(whole.iter().all(|(.., held)| held == content), "{name}: the bytes differ");
        assert!(whole.len() == 1 || (content.is_empty() && !whole.is_empty()), "{name}: {} times", whole.len());
    }
    assert!(cutting.kept() > 0, "no answer was lost");
}
