//! How long a token lets anybody in, and how another one is had.
//!
//! A token is dead after some time without a call, and each call that it makes lets it live on. Two calls give out another: by the id
//! of the session, with any of its tokens, also a dead one, and by a refresh token. The token before is dead then.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::exchange::Answer;
use super::super::log::Outcome;
use super::super::{Shared, hold};
use super::calls::Job;
use super::fields::Fields;
use super::{Drive, KIND, Reject, Renewed};

const RECORD: &str = "login";
const TOKEN_CHARS: usize = 32;
const FORMER_MAX: usize = 16;

/// What was given out last.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Login {
    /// The token, as it must stand in its header; nothing before the first refresh, when it is that of the rules.
    token: Option<String>,
    /// Those before it, the last ones.
    #[serde(default)]
    former: Vec<String>,
    /// The refresh token; nothing before the first one is given out.
    refresh: Option<String>,
    /// When the token made its last call, in milliseconds since the Unix epoch; nothing before its first.
    used_ms: Option<i64>,
    /// When it ends in any case.
    ends_ms: Option<i64>,
}

impl Drive {
    pub(super) fn login(&self, shared: &Shared) -> Login {
        shared.records.get(KIND, RECORD).unwrap_or_default()
    }

    /// Whether this is the token that was given out last, as it stands in its header; nothing where that of the rules still counts.
    pub(super) fn is_issued(login: &Login, given: &str) -> Option<bool> {
        login.token.as_ref().map(|token| token == given)
    }

    /// Lets the token of a call live on, unless it is dead.
    pub(super) fn live_on(&self, shared: &Shared) -> Result<(), Reject> {
        let _one = hold(&self.refreshing);
        let (now_ms, login) = (shared.clock.now_ms(), self.login(shared));
        let idle_ms = i64::from(self.rules.idle_seconds) * 1000;
        let is_idle = login.used_ms.is_some_and(|used_ms| now_ms - used_ms > idle_ms);
        if is_idle || login.ends_ms.is_some_and(|ends_ms| now_ms > ends_ms) {
            return Err(Reject::Denied("the access token has ended".into()));
        }
        Ok(shared.records.set(KIND, RECORD, &Login { used_ms: Some(now_ms), ..login })?)
    }
}

impl Job<'_> {
    /// Another token for the id of the session.
    pub(super) fn refresh_session(self) -> Result<Answer, Reject> {
        let _one = hold(&self.drive.refreshing);
        let rules = &self.drive.rules;
        let login = self.drive.login(self.shared);
        let given = self.header("authorization").unwrap_or_default();
        let is_issued = Drive::is_issued(&login, given) == Some(true) || login.former.iter().any(|former| former == given);
        if !(is_issued || given.ends_with(&rules.access_token)) || self.header("x-session-id") != Some(&rules.session_id) {
            return Err(Reject::Denied("the session is unknown".into()));
        }
        let login = Login { ends_ms: None, ..self.issue(login.refresh.clone(), login) };
        self.shared.records.set(KIND, RECORD, &login)?;
        Ok(self.said(json!({ "accessToken": login.token }), Outcome::Served))
    }

    /// Another token for a refresh token.
    pub(super) fn refresh_token(self, fields: Fields<'_>) -> Result<Answer, Reject> {
        let _one = hold(&self.drive.refreshing);
        self.check_fields(fields, &["refreshToken"])?;
        let rules = &self.drive.rules;
        let given = fields.needed_text("refreshToken")?;
        let login = self.drive.login(self.shared);
        if given != login.refresh.as_deref().unwrap_or(&rules.refresh_token) {
            return Err(Reject::Denied("the refresh token is not valid".into()));
        }
        let refresh = if rules.refresh_once { Some(self.shared.chance.letters(TOKEN_CHARS)) } else { login.refresh.clone() };
        let login = self.issue(refresh, login);
        self.shared.records.set(KIND, RECORD, &login)?;
        let issued = self.shared.clock.now_ms().to_string();
        let mut info = json!({ "accessToken": login.token, "issuedAt": issued });
        if let Some(seconds) = rules.expires_in {
            info["expiresIn"] = seconds.into();
        }
        info["refreshToken"] = login.refresh.as_deref().unwrap_or(&rules.refresh_token).into();
        let data = match rules.renewed {
            Renewed::SessionInfo => json!({ "sessionInfo": info }),
            Renewed::Data => info,
        };
        Ok(self.said(json!({ "data": data }), Outcome::Served))
    }

    fn issue(self, refresh: Option<String>, before: Login) -> Login {
        let (rules, now_ms) = (&self.drive.rules, self.shared.clock.now_ms());
        let token = Some(format!("{}{}", rules.scheme, self.shared.chance.letters(TOKEN_CHARS)));
        let ends_ms = rules.expires_in.map(|seconds| now_ms + i64::from(seconds) * 1000);
        let mut former: Vec<String> = before.former.into_iter().chain(before.token).collect();
        former.drain(..former.len().saturating_sub(FORMER_MAX));
        Login { token, former, refresh, used_ms: Some(now_ms), ends_ms }
    }
}
