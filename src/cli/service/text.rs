//! What a service manager is given to read: the packaged unit or property list, with the program that runs, its configuration and the
//! folders that it writes to. Pure.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const SYSTEM_UNIT: &str = include_str!("../../../packaging/systemd/system/ferryd.service");
const USER_UNIT: &str = include_str!("../../../packaging/systemd/user/ferryd.service");
const AGENT: &str = include_str!("../../../packaging/launchd/io.ferryd.daemon.plist");
/// What stands in these for the program.
const PROGRAM: &str = "/usr/local/bin/ferryd";
/// Before the digest of all other lines.
const MARK: &str = "ferryd-wrote: ";

/// What is written into it.
pub(super) struct Facts<'a> {
    pub(super) program: &'a Path,
    pub(super) config: &'a Path,
    /// Folders that the daemon writes to or removes files from.
    pub(super) written: &'a [PathBuf],
    /// For one user, or for the machine.
    pub(super) for_user: bool,
}

/// The unit that systemd reads.
pub(super) fn unit(facts: &Facts<'_>) -> String {
    let packaged = if facts.for_user { USER_UNIT } else { SYSTEM_UNIT };
    let (program, config) = (quoted_command(facts.program), quoted_command(facts.config));
    let is_private = |line: &str| line == "PrivateTmp=yes";
    // What is below these folders would be other folders for the service.
    let needs_tmp = facts.written.iter().any(|path| ["/tmp", "/var/tmp"].iter().any(|tmp| path.starts_with(tmp)));
    let mut text = String::new();
    // Its first lines say how to copy it.
    for line in packaged.lines().skip_while(|line| line.is_empty() || line.starts_with('#')) {
        let line = match line.split_once(PROGRAM) {
            Some((before, words)) => {
                let words = words.replace(" --config /etc/ferryd/config.toml", "");
                format!("{before}{program} --config {config}{words}")
            }
            None if is_private(line) && needs_tmp => "PrivateTmp=no".to_owned(),
            None => line.to_owned(),
        };
        text += &line;
        text.push('\n');
        if line == "[Service]" {
            for folder in facts.written {
                // One that is missing does not keep the others from being reached.
                text += &format!("ReadWritePaths={}\n", quoted(&format!("-{}", folder.display())));
            }
        }
    }
    let manager = if facts.for_user { "systemctl --user" } else { "systemctl" };
    let program = facts.program.display();
    let head = format!(
        "# Written by `{program} service install`, which writes it anew when the configuration names other folders.\n\
         # What you want otherwise belongs into a drop-in (`{manager} edit ferryd`), which stays.\n"
    );
    marked(&format!("{head}{text}"), "# ", "")
}

/// The property list that launchd reads. Its log goes to the file at `log`.
pub(super) fn agent(facts: &Facts<'_>, log: &Path) -> String {
    let string = |path: &Path| format!("<string>{}</string>", escaped(&path.display().to_string()));
    let comment = AGENT.find("<!-- ").zip(AGENT.find("-->\n"));
    let text = comment.map_or_else(|| AGENT.to_owned(), |(from, to)| format!("{}{}", &AGENT[..from], &AGENT[to + 4..]));
    let words = format!("{}\n        <string>--config</string>\n        {}", string(facts.program), string(facts.config));
    let text =
        text.replace(&format!("<string>{PROGRAM}</string>"), &words).replace("<string>/tmp/ferryd.log</string>", &string(log));
    marked(&text, "<!-- ", " -->")
}

/// The text with a line at its end that tells whether somebody has changed it since.
fn marked(text: &str, before: &str, after: &str) -> String {
    format!("{text}{before}{MARK}{}{after}\n", digest(text))
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether this text is as it was written.
pub(super) fn is_as_written(text: &str) -> bool {
    let Some(at) = text.rfind(MARK) else { return false };
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    text[at + MARK.len()..].starts_with(&digest(&text[..line]))
}

/// A word of a command in a unit.
fn quoted_command(path: &Path) -> String {
    quoted(&path.display().to_string().replace('$', "$$"))
}

/// A word in a unit.
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%");
    let is_plain = |c: char| c.is_alphanumeric() || "/-_.+@:,%$".contains(c);
    if word.chars().all(is_plain) { word } else { format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")) }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(program: &'a Path, config: &'a Path, written: &'a [PathBuf], for_user: bool) -> Facts<'a> {
        Facts { program, config, written, for_user }
    }

    #[test]
    fn a_unit_names_the_program_the_configuration_and_each_folder() {
        let written = ["/srv/drop", "/srv/my \"100 %\" $ent"].map(PathBuf::from);
        for for_user in [false, true] {
            let text = unit(&facts(Path::new("/opt/my ferry/ferryd"), Path::new("/etc/f/c.toml"), &written, for_user));
            for line in [
                "ExecStartPre=-\"/opt/my ferry/ferryd\" --config /etc/f/c.toml check",
                "ExecStart=\"/opt/my ferry/ferryd\" --config /etc/f/c.toml run",
                "ExecReload=\"/opt/my ferry/ferryd\" --config /etc/f/c.toml reload",
                "ReadWritePaths=-/srv/drop",
                "ReadWritePaths=\"-/srv/my \\\"100 %%\\\" $ent\"",
                "PrivateTmp=yes",
            ] {
                assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
            }
            assert!(!text.contains(PROGRAM) && is_as_written(&text));
        }
        let text = unit(&facts(Path::new("/f"), Path::new("/c"), &["/tmp/drop".into()], true));
        assert!(text.contains("\nPrivateTmp=no\n"), "the daemon would watch another folder");
    }

    #[test]
    fn a_property_list_names_the_program_the_configuration_and_its_log() {
        let text = agent(&facts(Path::new("/opt/a&b"), Path::new("/c"), &[], true), Path::new("/log"));
        assert!(text.contains("<string>/opt/a&amp;b</string>\n        <string>--config</string>\n        <string>/c</string>"));
        assert!(text.contains("<string>/log</string>") && !text.contains("/tmp/") && is_as_written(&text), "{text}");
    }

    #[test]
    fn whoever_changes_a_line_is_noticed_whoever_wrote_it_is_not() {
        let text = unit(&facts(Path::new("/f"), Path::new("/c"), &[], true));
        assert!(is_as_written(&text));
        assert!(!is_as_written(&text.replace("RestartSec=5", "RestartSec=6")));
        assert!(!is_as_written("[Service]\n") && !is_as_written(""));
    }
}
