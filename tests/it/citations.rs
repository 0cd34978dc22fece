//! Comments cite the pages on the protocols by section number, and documents link to each other: what is cited must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const PAGES: &str = "docs/protocols";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` whose name ends like this, build artefacts and test data aside.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", ".git", "fixtures", "corpus", "artifacts"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if name.ends_with(end) {
                found.push(path);
            }
        }
    }
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A text as one line, without what begins the lines of a comment, since a citation may go over a line's end.
fn in_one_line(text: &str) -> String {
    let words = |line: &'_ str| line.trim_start().trim_start_matches("//").trim_start_matches(['/', '!']).trim().to_owned();
    text.lines().map(words).collect::<Vec<_>>().join(" ")
}

/// The section numbers at the beginning of a text: "section 3", "3.2 and 3.3", "2.2 and 7: 10 MB".
fn numbers(text: &str) -> Vec<String> {
    let mut rest = text.trim_start_matches("sections ").trim_start_matches("section ");
    let mut found = Vec::new();
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = rest[..end].trim_end_matches('.');
        if number.is_empty() {
            return found;
        }
        found.push(number.to_owned());
        match rest[end..].strip_prefix(" and ") {
            Some(more) => rest = more,
            None => return found,
        }
    }
}

/// The pages and sections that a text names by the page's file.
fn named(line: &str) -> Vec<(String, Vec<String>)> {
    let after = |(at, name): (usize, &str)| {
        let rest = &line[at + name.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
        let (page, rest) = rest.split_at(end);
        (page.to_owned(), rest.strip_prefix("`, ").map(numbers).unwrap_or_default())
    };
    line.match_indices("docs/protocols/").map(after).filter(|(page, _)| page.ends_with(".md")).collect()
}

/// The sections that a text cites as those of "page", or of another word for it.
fn cited_of(line: &str, word: &str) -> Vec<String> {
    let is_whole = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric());
    let cited = line.match_indices(word).filter(|(at, _)| is_whole(*at));
    cited.flat_map(|(at, _)| numbers(&line[at + word.len()..])).collect()
}

/// The page that a file calls "page".
fn own_page(line: &str) -> Option<String> {
    let at = line.find("`, here \"page\"")?;
    Some(line[..at].rsplit('/').next()?.to_owned())
}

/// The sections of a page: its headings, and the rows of its tables that begin with a number of two parts.
fn sections(page: &str) -> BTreeSet<String> {
    let number = |text: &str| numbers(text).pop();
    let heading = |line: &str| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")).and_then(number);
    let row = |line: &str| line.strip_prefix("| ").and_then(number).filter(|number| number.contains('.'));
    page.lines().filter_map(|line| heading(line).or_else(|| row(line))).collect()
}

fn pages() -> BTreeMap<String, BTreeSet<String>> {
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, sections(&std::fs::read_to_string(path).unwrap()))
    };
    files(PAGES, ".md").into_iter().map(read).collect()
}

/// What a source file cites: each page with its sections.
fn citations(path: &Path) -> Vec<(String, Vec<String>)> {
    let read = |path: &Path| std::fs::read_to_string(path).map(|text| in_one_line(&text)).unwrap_or_default();
    let line = read(path);
    let mut cited = named(&line);
    let of_page = cited_of(&line, "page, ");
    if !of_page.is_empty() {
        let page = own_page(&line).or_else(|| own_page(&read(&path.with_file_name("mod.rs"))));
        cited.push((page.unwrap_or_else(|| "a page that the file does not name".to_owned()), of_page));
    }
    cited
}

#[test]
fn no_comment_cites_a_page_or_a_section_that_does_not_exist() {
    let pages = pages();
    let mut cited: BTreeSet<String> = BTreeSet::new();
    let mut missing = Vec::new();
    for path in ["src", "tests", "benches", "fuzz"].into_iter().flat_map(|folder| files(folder, ".rs")) {
        if path.ends_with("citations.rs") {
            continue;
        }
        for (page, numbers) in citations(&path) {
            let known = pages.get(&page);
            let absent = |number: &&String| !known.is_some_and(|known| known.contains(*number));
            missing.extend(numbers.iter().filter(absent).map(|number| format!("{}: {page}, {number}", shown(&path))));
            missing.extend(known.is_none().then(|| format!("{}: {page}", shown(&path))));
            cited.insert(page);
        }
    }
    assert!(missing.is_empty(), "cited, and not there:\n{}", missing.join("\n"));
    let uncited: Vec<_> = pages.keys().filter(|page| !cited.contains(*page)).collect();
    assert!(uncited.is_empty(), "nobody cites {uncited:?}: is this test still reading the comments?");
}

#[test]
fn no_page_refers_to_a_section_of_the_readme_that_does_not_exist() {
    let known = pages().remove("README.md").unwrap();
    for path in files(PAGES, ".md") {
        let line = in_one_line(&std::fs::read_to_string(&path).unwrap());
        let absent: Vec<_> = cited_of(&line, "README, ").into_iter().filter(|number| !known.contains(number)).collect();
        assert!(absent.is_empty(), "{}: README, {absent:?}", shown(&path));
    }
}

#[test]
fn no_document_links_to_a_file_that_does_not_exist() {
    let mut broken = Vec::new();
    let mut links = 0;
    for path in files(".", ".md") {
        let text = std::fs::read_to_string(&path).unwrap();
        let targets = text.match_indices("](").filter_map(|(at, mark)| text[at + mark.len()..].split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            links += 1;
            if !path.with_file_name(target).exists() {
                broken.push(format!("{}: {target}", shown(&path)));
            }
        }
    }
    assert!(broken.is_empty(), "links to nothing:\n{}", broken.join("\n"));
    assert!(links > 20, "{links} links were found in all documents");
}

#[test]
fn the_workflows_and_the_documents_call_every_stage_of_ci_and_no_other() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let stage = |line: &str| line.strip_prefix("stage_")?.split_once("() {").map(|(name, _)| name.to_owned());
    let stages: BTreeSet<String> = read(".ci/run").lines().filter_map(stage).collect();
    let called_in = |text: &str| -> BTreeSet<String> {
        let calls = text.match_indices(".ci/run ").map(|(at, call)| text[at + call.len()..].split(['\n', '`']).next().unwrap());
        calls.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let workflows: String = files(".github", ".yml").iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(called_in(&workflows.replace("`.ci/run`", "")), stages, "the workflows, and the stages of .ci/run");
    let documents = ["CONTRIBUTING.md", "docs/RELEASING.md"].map(read).concat();
    assert_eq!(called_in(&documents).difference(&stages).count(), 0, "{:?} of {stages:?}", called_in(&documents));
}

#[test]
fn citations_are_read_in_every_form_they_take() {
    assert_eq!(numbers("section 3), and"), ["3"]);
    assert_eq!(numbers("2.2 and 7: 10 MB"), ["2.2", "7"]);
    assert_eq!(numbers("5, second table"), ["5"]);
    assert_eq!(numbers("with six fields"), [""; 0]);
    let line = in_one_line("    /// Bounds (`docs/protocols/kie.md`,\n    /// 4.9), homepage, 8 (page, 3.1.");
    assert_eq!(named(&line), [("kie.md".to_owned(), vec!["4.9".to_owned()])]);
    assert_eq!(cited_of(&line, "page, "), ["3.1"]);
    assert_eq!(own_page("of `docs/protocols/kie.md`, here \"page\";").as_deref(), Some("kie.md"));
    let page = sections("# T\n## 1. A\n### 1.2 B\n| 4.10 | x |\n| 5 | y |\n#### 9. no\n");
    assert_eq!(page, BTreeSet::from(["1", "1.2", "4.10"].map(str::to_owned)));
}
