//! Control calls: by which clock they are dated, how a token is written, and what is tried once more when neither is taken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::secret::Secret;

use super::super::http::Request;
use super::super::token::Token;
use super::replies::{Call, Refused, control_reply};
use super::{COMPLETE_PATIENCE, KooDrive, KooDriveLogin, sign};

/// How far calls are dated back: a date that is one second ahead of the host's clock is refused, one that is 15 minutes old is not
/// (page, 2.2).
const DATED_BACK_MS: i64 = 60_000;
/// How far two clocks may be apart before it is the clock that a refusal may be about.
const CLOCKS_AGREE_MS: i64 = 30_000;
/// What every call's path begins with.
const CALLS: &str = "/koodrive/ose/v1/";
/// How long a page of a listing may be, in bytes.
const LISTING_BYTES_MAX: usize = 1024 * 1024;
/// When a file is asked for again whose parts may be about to become it (page, 5.1).
const MERGE_WAITS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(60)];
/// Of how many such files it is known; with more, all are asked for from the first time on.
const IN_VAIN_MAX: usize = 4096;
/// How many folders are known by their path; with more, all are asked for again.
const FOLDERS_MAX: usize = 4096;

/// What the host has shown of itself since this value was made. All of it is learned anew after a restart.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// How far the host's clock is ahead of ours.
    ahead_ms: AtomicI64,
    /// Which of the ways to write a token was taken last, ...
    spelling: AtomicUsize,
    /// ... and whether one was.
    is_spelled: AtomicBool,
    /// Whether the host gives one link a call.
    pub(super) one_link: AtomicBool,
    /// The container that files go to.
    pub(super) container: OnceLock<String>,
    folders: Mutex<BTreeMap<String, String>>,
    /// How much of a create this space does without.
    pub(super) left_out: AtomicU8,
    /// How often it was asked in vain for a file whose complete may have gone unheard.
    in_vain: Mutex<BTreeMap<String, usize>>,
}

impl Learned {
    fn way(&self) -> Way {
        Way { ahead_ms: self.ahead_ms.load(Ordering::Relaxed), spelling: self.spelling.load(Ordering::Relaxed) }
    }

    fn keep(&self, way: Way) {
        self.ahead_ms.store(way.ahead_ms, Ordering::Relaxed);
        self.spelling.store(way.spelling, Ordering::Relaxed);
    }

    /// The id of the folder at this path, where it is known.
    pub(super) fn folder(&self, path: &str) -> Option<String> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    pub(super) fn keep_folder(&self, path: &str, id: &str) {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if folders.len() >= FOLDERS_MAX {
            folders.clear();
        }
        folders.insert(path.to_owned(), id.to_owned());
    }

    /// How long to wait before this file is asked for once more; nothing when it was asked for often enough.
    pub(super) fn asked_in_vain(&self, file_id: &str) -> Option<Duration> {
        let mut in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        if in_vain.len() >= IN_VAIN_MAX {
            in_vain.clear();
        }
        let times = in_vain.entry(file_id.to_owned()).or_default();
        let wait = MERGE_WAITS.get(*times).copied();
        *times += 1;
        if wait.is_none() {
            in_vain.remove(file_id);
        }
        wait
    }

    pub(super) fn forget_folders(&self) {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// One way to make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    ahead_ms: i64,
    spelling: usize,
}

/// The ways in which a call is made once more after its credentials were not taken, by a host whose clock says `host_ms`.
fn other_ways(tried: Way, spellings: usize, host_ms: Option<i64>, now_ms: i64) -> Vec<Way> {
    let ahead_ms = host_ms.map_or(tried.ahead_ms, |host_ms| host_ms - now_ms);
    let is_clock = (ahead_ms - tried.ahead_ms).abs() > CLOCKS_AGREE_MS;
    let others = (0..spellings).filter(|spelling| *spelling != tried.spelling);
    // A signature is made once more in any case: the first may have been cut off from its hour by a slow network.
    let same = (is_clock || spellings == 0).then_some(Way { ahead_ms, ..tried });
    same.into_iter().chain(others.map(|spelling| Way { ahead_ms, spelling })).collect()
}

/// A token without the word for its scheme, and whether it has one.
pub(super) fn scheme_and_token(token: &str) -> (bool, &str) {
    let of = |scheme: &str| {
        let (word, rest) = token.split_at_checked(scheme.len())?;
        rest.strip_prefix([' ', '+']).filter(|_| word.eq_ignore_ascii_case(scheme))
    };
    ["bearer", "at"].into_iter().find_map(of).map_or((false, token), |rest| (true, rest))
}

/// How a token may stand in its header, the likeliest first (page, 2.1). One that says its scheme itself goes as it is; `prefix` is
/// the user's word on the others.
fn spellings(token: &str, prefix: Option<&str>) -> Vec<String> {
    match prefix {
        _ if scheme_and_token(token).0 => vec![token.to_owned()],
        Some(prefix) => vec![format!("{prefix}{token}")],
        None => ["Bearer+", "Bearer ", ""].map(|prefix| format!("{prefix}{token}")).into(),
    }
}

/// A time as the host writes it in headers.
fn date_header(ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    moment.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn wire_host(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn milliseconds(http_date: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(http_date).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// What a call says, made for the name of whoever makes it; nothing where it cannot be made for that name.
type BodyFor<'b> = &'b (dyn Fn(&str) -> Option<Value> + Send + Sync);

impl KooDrive {
    /// A control call. Credentials that are not taken are tried once more: signed by the host's own clock, or written in the other
    /// ways (page, 2.1 and 2.2). What was taken is kept.
    pub(super) async fn call(
        &self,
        call: Call,
        base_url: &str,
        path: &str,
        body: &Value,
    ) -> Result<Map<String, Value>, Box<Refused>> {
        self.call_by(call, base_url, path, &|_| Some(body.clone())).await
    }

    /// The same with a body for each name that whoever calls may go by. A token that has ended is replaced, once.
    pub(super) async fn call_by(
        &self,
        call: Call,
        base_url: &str,
        path: &str,
        body: BodyFor<'_>,
    ) -> Result<Map<String, Value>, Box<Refused>> {
        let Some(session) = &self.session else { return self.call_with(&self.key, call, base_url, path, body).await };
        let with = |token: Token| async move { self.call_with(token.secret(), call, base_url, path, body).await };
        session.cell.with::<_, Box<Refused>, _, _>(|| session.renew(self), |refused| refused.credentials, with).await
    }

    /// The same with this token, or key.
    async fn call_with(
        &self,
        key: &Secret,
        call: Call,
        base_url: &str,
        path: &str,
        body: BodyFor<'_>,
    ) -> Result<Map<String, Value>, Box<Refused>> {
        let first = self.learned.way();
        let mut answer = self.call_once(key, call, base_url, path, body, first).await;
        let Err(refused) = &answer else {
            self.learned.is_spelled.store(true, Ordering::Relaxed);
            return answer;
        };
        if !refused.credentials {
            return answer;
        }
        // One that ends and is replaced is not written in other ways first, once it is known how it is written.
        let is_spelled = self.session.is_some() && self.learned.is_spelled.load(Ordering::Relaxed);
        let spellings = if is_spelled { 1 } else { self.spellings(key).len() };
        let now_ms = self.transport.clock().now_ms();
        for way in other_ways(first, spellings, refused.host_ms, now_ms) {
            answer = self.call_once(key, call, base_url, path, body, way).await;
            if !matches!(&answer, Err(refused) if refused.credentials) {
                self.learned.keep(way);
                return answer;
            }
        }
        answer
    }

    /// What a proof may begin with: who calls (page, 3.1.1), in each way that a token may be written.
    pub(super) fn origins(&self) -> Vec<String> {
        match (&self.settings.login, &self.session) {
            (KooDriveLogin::App { user_id, .. }, _) => vec![user_id.clone()],
            (KooDriveLogin::Token { .. }, Some(session)) => self.spellings(&session.token()),
            (KooDriveLogin::Token { .. }, None) => self.spellings(&self.key),
        }
    }

    /// A token as it stands in its header, in the way that was taken last.
    pub(super) fn spelled(&self, token: &Secret) -> String {
        self.spelled_in(token, self.learned.way().spelling)
    }

    fn spelled_in(&self, token: &Secret, spelling: usize) -> String {
        let spellings = self.spellings(token);
        spellings.get(spelling).or(spellings.first()).cloned().unwrap_or_default()
    }

    /// How a token may be written; nothing where calls are signed.
    fn spellings(&self, token: &Secret) -> Vec<String> {
        match &self.settings.login {
            KooDriveLogin::App { .. } => Vec::new(),
            KooDriveLogin::Token { prefix, .. } => spellings(token.reveal(), prefix.as_deref()),
        }
    }

    /// Where a call goes that is made at the address of today's configuration.
    pub(super) fn call_url(&self, path: &str) -> String {
        format!("{}{CALLS}{path}", self.settings.base_url)
    }

    async fn call_once(
        &self,
        key: &Secret,
        call: Call,
        base_url: &str,
        path: &str,
        body: BodyFor<'_>,
        way: Way,
    ) -> Result<Map<String, Value>, Box<Refused>> {
        let url = format!("{base_url}{CALLS}{path}");
        let origin = match &self.settings.login {
            KooDriveLogin::App { user_id, .. } => user_id.clone(),
            KooDriveLogin::Token { .. } => self.spelled_in(key, way.spelling),
        };
        let body = body(&origin).ok_or_else(|| Box::new(Refused::other_samples()))?.to_string();
        let date = date_header(self.transport.clock().now_ms() + way.ahead_ms - DATED_BACK_MS);
        let user_id = self.settings.login.user_id();
        let request = Request::post(&url).header("x-date", &date).header("x-user-id", user_id);
        let request = self.authorized(request, key, &url, &date, &body, &origin).secret(key);
        let request = match &self.session {
            Some(session) => session.hidden(request),
            None => request,
        };
        let patience = if call == Call::Complete { COMPLETE_PATIENCE } else { Duration::ZERO };
        let request = if call == Call::List { request.reply_max(LISTING_BYTES_MAX) } else { request };
        let reply = self.transport.send(request.text("application/json", body).patience(patience)).await;
        let reply = reply.map_err(|error| Box::new(Refused::unheard(error)))?;
        control_reply(call, &reply).map_err(|refused| {
            let host_ms = reply.header("date").and_then(milliseconds);
            Box::new(Refused { host_ms, ..*refused })
        })
    }

    /// With the signature, or with the token as it is written in `spelled`.
    fn authorized<'r>(&self, request: Request<'r>, key: &Secret, url: &str, date: &str, body: &str, spelled: &str) -> Request<'r> {
        match &self.settings.login {
            KooDriveLogin::App { app_id, user_id, .. } => {
                let url = url::Url::parse(url).ok();
                let path = url.as_ref().map_or("", |url| url.path());
                let host = url.as_ref().map(wire_host).unwrap_or_default();
                let signed = sign::Signed { method: "POST", path, host: &host, date, user_id, body: body.as_bytes() };
                let signature = sign::signature(&signed, key);
                request.header("authorization", sign::authorization(app_id, &signature)).secret(&signature)
            }
            KooDriveLogin::Token { .. } => {
                let bare = Secret::new(scheme_and_token(key.reveal()).1);
                request.header("authorization", spelled).secret(&bare)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_says_its_scheme_goes_as_it_is_and_never_gets_a_second_one() {
        for token in ["Bearer+013b", "bearer 013b", "BEARER+013b", "AT 3b91", "at+3b91"] {
            assert_eq!(spellings(token, None), [token]);
            assert_eq!(spellings(token, Some("Bearer ")), [token], "even where a prefix is set");
        }
        for bare in ["10f8", "Bearer", "at", "atlas+1", "Bearer-1"] {
            assert_eq!(spellings(bare, None), [format!("Bearer+{bare}"), format!("Bearer {bare}"), bare.to_owned()]);
        }
        assert_eq!(spellings("10f8", Some("")), ["10f8"]);
        assert_eq!(scheme_and_token("AT 3b91"), (true, "3b91"));
    }

    #[test]
    fn a_refusal_is_met_with_the_hosts_own_clock_and_with_the_other_spellings() {
        let tried = Way { ahead_ms: 0, spelling: 1 };
        let way = |ahead_ms, spelling| Way { ahead_ms, spelling };
        assert_eq!(other_ways(tried, 0, Some(1_200_000), 0), [way(1_200_000, 1)]);
        assert_eq!(other_ways(tried, 0, Some(-1_200_000), 0), [way(-1_200_000, 1)]);
        assert_eq!(other_ways(tried, 0, None, 0), [way(0, 1)], "without a clock to learn from it is signed once more");
        assert_eq!(other_ways(tried, 3, Some(1000), 0), [way(1000, 0), way(1000, 2)]);
        assert_eq!(other_ways(tried, 1, Some(-1_200_000), 0), [way(-1_200_000, 1), way(-1_200_000, 0)]);
        assert_eq!(other_ways(way(0, 0), 1, Some(1000), 0), [], "a token that is refused by the right clock is refused");
    }

    #[test]
    fn a_file_that_is_about_to_be_whole_is_asked_for_three_times() {
        let learned = Learned::default();
        let ask = |file| learned.asked_in_vain(file).map(|wait| wait.as_secs());
        assert_eq!(
            [ask("a"), ask("a"), ask("b"), ask("a"), ask("a"), ask("a")],
            [Some(5), Some(30), Some(5), Some(60), None, Some(5)]
        );
    }

    #[test]
    fn a_date_is_that_of_the_page() {
        assert_eq!(date_header(1_735_787_045_000), "20250102T030405Z");
        assert_eq!(milliseconds("Thu, 02 Jan 2025 03:04:05 GMT"), Some(1_735_787_045_000));
        assert_eq!(milliseconds("yesterday"), None);
    }
}
