//! The session that a token belongs to: another token before or after the present one ends (page, 2.1).
//!
//! What the host gives out is on the disk before anything is asked with it. A process that dies between the host's answer and that has
//! the secrets of before: a session's id gets another token all the same, while a refresh token may have been used up, and then a person
//! has to log in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json as object;

use crate::job::Step;
use crate::job::upload::Class;
use crate::os::clock::Clock;
use crate::os::crash::crash_point;
use crate::secret::Secret;

use super::super::error::HostError;
use super::super::http::Request;
use super::super::kept::{HostTokens, Tokens};
use super::super::redact::KnownSecrets;
use super::super::token::{Granted, TokenCell};
use super::KooDrive;
use super::calls::scheme_and_token;
use super::renewed::{LIFE_MAX, Renewed, renewed_reply};

const LOG_IN_AGAIN: &str = "log in again, and replace `access_token` and what renews it";

/// A token that can be replaced.
pub(super) struct TokenSession {
    /// What is in use.
    pub(super) cell: TokenCell,
    clock: Clock,
    session_id: Option<Secret>,
    kept: HostTokens,
    known: KnownSecrets,
    latest: Mutex<Latest>,
}

/// What the host has given out last.
#[derive(Clone)]
struct Latest {
    tokens: Tokens,
    /// Whether it is not on the disk yet.
    unkept: bool,
}

impl TokenSession {
    /// The session of the token that is kept, or else of the one that is configured.
    pub(super) fn new(
        configured: Tokens,
        session_id: Option<Secret>,
        kept: HostTokens,
        known: KnownSecrets,
        clock: Clock,
    ) -> Result<TokenSession, HostError> {
        let tokens = kept.load()?.unwrap_or(configured);
        let cell = TokenCell::holding(clock.clone(), granted(&tokens, &clock));
        let latest = Mutex::new(Latest { tokens: tokens.clone(), unkept: false });
        let session = TokenSession { cell, clock, session_id, kept, known, latest };
        session.hide(&tokens);
        Ok(session)
    }

    /// A request whose answer shows none of what the host has given out.
    pub(super) fn hidden<'r>(&self, request: Request<'r>) -> Request<'r> {
        request.secrets(&self.known.now())
    }

    /// The token that the next call would be made with.
    pub(super) fn token(&self) -> Secret {
        self.latest().tokens.access.clone()
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing that the host says is to show these.
    fn hide(&self, tokens: &Tokens) {
        for secret in std::iter::once(&tokens.access).chain(&tokens.refresh) {
            self.known.add_passing(secret);
            self.known.add_passing(&Secret::new(scheme_and_token(secret.reveal()).1));
        }
    }

    /// Another token. It is on the disk when it is answered.
    pub(super) async fn renew(&self, drive: &KooDrive) -> Result<Granted, HostError> {
        let renewed = self.renew_and_keep(drive).await;
        renewed.map(|tokens| granted(&tokens, &self.clock)).map_err(|error| error.during(Step::Login))
    }

    async fn renew_and_keep(&self, drive: &KooDrive) -> Result<Tokens, HostError> {
        let Latest { tokens: before, unkept } = self.latest().clone();
        if unkept {
            // The disk did not take what an earlier call brought.
            return self.keep(before).await;
        }
        if !self.kept.may_change() {
            let said = "the token has ended; `ferryd run` renews it at its next call";
            return Err(HostError::new(Class::HostRefused, said));
        }
        if let Some(other) = self.kept_since(&before).await? {
            return Ok(other);
        }
        match self.ask(drive, &before).await {
            Ok(renewed) => self.keep(self.take(&before, renewed)).await,
            // Another value of this host may have been quicker, and have used up what we had.
            Err(error) if error.class == Class::HostRefused => self.kept_since(&before).await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// What is on the disk, if it is not what we have.
    async fn kept_since(&self, before: &Tokens) -> Result<Option<Tokens>, HostError> {
        let other = self.kept.load_later().await?.filter(|kept| kept.access != before.access);
        if let Some(tokens) = &other {
            self.hide(tokens);
            *self.latest() = Latest { tokens: tokens.clone(), unkept: false };
        }
        Ok(other)
    }

    /// Takes in what the host has given out. What it left out stays as it was.
    fn take(&self, before: &Tokens, renewed: Renewed) -> Tokens {
        let ends_ms = renewed.life.map(|life| self.clock.in_ms(life));
        let tokens = Tokens { access: renewed.access, refresh: renewed.refresh.or_else(|| before.refresh.clone()), ends_ms };
        self.hide(&tokens);
        *self.latest() = Latest { tokens: tokens.clone(), unkept: true };
        crash_point!("token.before_write");
        tokens
    }

    async fn keep(&self, tokens: Tokens) -> Result<Tokens, HostError> {
        self.kept.store(&tokens).await?;
        self.latest().unkept = false;
        crash_point!("token.after_write");
        Ok(tokens)
    }

    /// Asks by the session's id first, since that uses nothing up.
    async fn ask(&self, drive: &KooDrive, before: &Tokens) -> Result<Renewed, HostError> {
        let by_session = match &self.session_id {
            Some(session_id) => Some(drive.refresh_session(&before.access, session_id).await),
            None => None,
        };
        let renewed = match (by_session, &before.refresh) {
            (Some(Err(error)), Some(refresh)) if error.class == Class::HostRefused => drive.refresh_token(refresh).await,
            (None, Some(refresh)) => drive.refresh_token(refresh).await,
            (Some(renewed), _) => renewed,
            (None, None) => Err(HostError::new(Class::HostRefused, "nothing renews the token")),
        };
        renewed.map_err(|error| match error.class {
            Class::HostRefused => HostError { said: format!("{}; {LOG_IN_AGAIN}", error.said), ..error },
            _ => error,
        })
    }
}

/// What is left of tokens.
fn granted(tokens: &Tokens, clock: &Clock) -> Granted {
    let left = |ends_ms: i64| Duration::from_millis(u64::try_from(ends_ms.saturating_sub(clock.now_ms())).unwrap_or(0));
    Granted { secret: tokens.access.clone(), life: tokens.ends_ms.map(|ends_ms| left(ends_ms).min(LIFE_MAX)) }
}

/// The two calls take no other login than what they carry (page, 2.1).
impl KooDrive {
    async fn refresh_session(&self, token: &Secret, session_id: &Secret) -> Result<Renewed, HostError> {
        let url = self.call_url("session/refresh");
        let request = Request::post(&url).header("x-session-id", session_id.reveal()).secret(session_id);
        let request = request.header("authorization", self.spelled(token)).secret(token);
        renewed_reply(&self.transport.send(request.text("application/json", "{}")).await?)
    }

    async fn refresh_token(&self, refresh: &Secret) -> Result<Renewed, HostError> {
        let url = self.call_url("auth/refreshToken");
        let body = object!({ "refreshToken": refresh.reveal() }).to_string();
        renewed_reply(&self.transport.send(Request::post(&url).text("application/json", body).secret(refresh)).await?)
    }
}
