//! A credential that a host gives out for a while: fetched when the first request needs it, shared by all, and replaced before it
//! ends.
//!
//! It lives in memory alone. After a restart, or once its host is made anew, another is fetched.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use crate::os::clock::Clock;
use crate::secret::Secret;

use super::HostError;

/// The part of its life at whose end a token is replaced ...
const LAST_PART: u32 = 5;
/// ... and the most of it, so that one that lives for hours is not thrown away early.
const REPLACED_BEFORE: Duration = Duration::from_secs(5 * 60);
/// How long the present token is used before another is asked for once more, where it could not be replaced and is still good.
const NEXT_TRY: Duration = Duration::from_secs(10);

/// A token as a host gives it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// What opens the door.
    pub secret: Secret,
    /// How long it is good for, counted from when it was asked for; nothing for one that does not end by itself.
    pub life: Option<Duration>,
}

/// A token in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    secret: Secret,
    /// Which one of those that were fetched it is.
    number: u64,
}

impl Token {
    /// What opens the door. Requests that carry it name it with `Request::secret`.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

/// The token of one account.
pub(crate) struct TokenCell {
    clock: Clock,
    state: Mutex<TokenState>,
    /// How many fetches have ended. Read without waiting for one that is under way.
    ended: std::sync::atomic::AtomicU64,
}

#[derive(Default)]
struct TokenState {
    held: Option<Held>,
    /// Tokens fetched so far.
    fetched: u64,
    /// How the last fetch failed, if it did.
    failed: Option<HostError>,
}

struct Held {
    token: Token,
    /// When it is to be replaced, and when it is of no use any more.
    times: Option<(Instant, Instant)>,
}

impl fmt::Debug for TokenCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCell")
    }
}

impl TokenCell {
    /// No token yet.
    pub(crate) fn new(clock: Clock) -> TokenCell {
        TokenCell { clock, state: Mutex::default(), ended: 0.into() }
    }

    /// The token in use, or what `fetch` grants where there is none or it ends soon. Callers that come together wait for one fetch,
    /// and share what becomes of it.
    ///
    /// # Errors
    /// When `fetch` fails, unless the present token is still good.
    pub(crate) async fn get<F>(&self, fetch: impl FnOnce() -> F) -> Result<Token, HostError>
    where
        F: Future<Output = Result<Granted, HostError>>,
    {
        let before = self.ended();
        let mut state = self.state.lock().await;
        if let Some(held) = &state.held
            && held.times.is_none_or(|(replace_at, _)| self.clock.instant() < replace_at)
        {
            return Ok(held.token.clone());
        }
        match state.failed.clone() {
            // It ended while we waited for it.
            Some(error) if self.ended() > before => self.still_good(&state).ok_or(error),
            _ => self.fetch(&mut state, fetch).await,
        }
    }

    /// Makes `call` with the token. Where `is_refused` says that its error means the token, another is fetched and the call made
    /// once more.
    ///
    /// The futures are parameters, since of those of an `AsyncFn` the compiler cannot show that they may go to another thread, as
    /// an answer of a host does.
    ///
    /// # Errors
    /// The call's, or that of fetching a token.
    pub(crate) async fn with<T, F, C>(
        &self,
        fetch: impl Fn() -> F,
        is_refused: impl Fn(&HostError) -> bool,
        call: impl Fn(Token) -> C,
    ) -> Result<T, HostError>
    where
        F: Future<Output = Result<Granted, HostError>>,
        C: Future<Output = Result<T, HostError>>,
    {
        let token = self.get(&fetch).await?;
        match call(token.clone()).await {
            Err(error) if is_refused(&error) => {
                self.refused(&token).await;
                call(self.get(&fetch).await?).await
            }
            result => result,
        }
    }

    /// Takes in that the host refused this token. One that was fetched since stays.
    pub(crate) async fn refused(&self, token: &Token) {
        let mut state = self.state.lock().await;
        state.held.take_if(|held| held.token.number == token.number);
    }

    async fn fetch<F>(&self, state: &mut MutexGuard<'_, TokenState>, fetch: impl FnOnce() -> F) -> Result<Token, HostError>
    where
        F: Future<Output = Result<Granted, HostError>>,
    {
        let asked_at = self.clock.instant();
        let granted = fetch().await;
        self.ended.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        match granted {
            Ok(Granted { secret, life }) => {
                state.failed = None;
                state.fetched += 1;
                let token = Token { secret, number: state.fetched };
                // A life without end is none that can be counted.
                let times = life.and_then(|life| Some((asked_at.checked_add(life - margin(life))?, asked_at.checked_add(life)?)));
                state.held = Some(Held { token: token.clone(), times });
                Ok(token)
            }
            Err(error) => {
                state.failed = Some(error.clone());
                let token = self.still_good(state).ok_or(error)?;
                let next_try = self.clock.instant() + NEXT_TRY;
                if let Some(times) = state.held.as_mut().and_then(|held| held.times.as_mut()) {
                    times.0 = next_try.min(times.1);
                }
                Ok(token)
            }
        }
    }

    /// The present token, if it has not ended.
    fn still_good(&self, state: &TokenState) -> Option<Token> {
        let held = state.held.as_ref()?;
        let is_good = held.times.is_none_or(|(_, ends_at)| self.clock.instant() < ends_at);
        is_good.then(|| held.token.clone())
    }

    fn ended(&self) -> u64 {
        self.ended.load(std::sync::atomic::Ordering::Acquire)
    }
}

/// How long before its end a token that lives for so long is replaced.
fn margin(life: Duration) -> Duration {
    (life / LAST_PART).min(REPLACED_BEFORE)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::job::upload::Class;
    use crate::os::clock::TimeSource;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    /// A clock that only a test moves.
    struct Hand {
        begun: Instant,
        seconds: AtomicU64,
    }

    impl Hand {
        fn new() -> Arc<Hand> {
            Arc::new(Hand { begun: Instant::now(), seconds: AtomicU64::new(0) })
        }

        fn advance(&self, time: Duration) {
            self.seconds.fetch_add(time.as_secs(), Ordering::Relaxed);
        }

        fn cell(self: &Arc<Hand>) -> TokenCell {
            TokenCell::new(Clock::of(self.clone()))
        }
    }

    impl TimeSource for Hand {
        fn now_ns(&self) -> i64 {
            0
        }

        fn awake(&self) -> Instant {
            self.begun + Duration::from_secs(self.seconds.load(Ordering::Relaxed))
        }
    }

    /// Who gives tokens out: numbered ones, with this life.
    struct Office {
        life: Option<Duration>,
        asked: AtomicU32,
        closed: std::sync::atomic::AtomicBool,
        /// A permit for each answer.
        doors: Semaphore,
    }

    impl Office {
        fn new(life: Option<Duration>) -> Office {
            Office { life, asked: AtomicU32::new(0), closed: false.into(), doors: Semaphore::new(1000) }
        }

        async fn grant(&self) -> Result<Granted, HostError> {
            let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            self.doors.acquire().await.unwrap().forget();
            if self.closed.load(Ordering::Relaxed) {
                Err(HostError::new(Class::Transient, format!("closed at {number}")))
            } else {
                Ok(Granted { secret: Secret::new(format!("token {number}")), life: self.life })
            }
        }

        fn asked(&self) -> u32 {
            self.asked.load(Ordering::Relaxed)
        }
    }

    async fn token(cell: &TokenCell, office: &Office) -> Result<String, String> {
        cell.get(|| office.grant()).await.map(|token| token.secret().reveal().to_owned()).map_err(|error| error.said)
    }

    #[tokio::test]
    async fn parts_in_flight_together_fetch_one_token() {
        let (cell, office) = (Hand::new().cell(), Office::new(Some(HOUR)));
        let (a, b, c) = tokio::join!(token(&cell, &office), token(&cell, &office), token(&cell, &office));
        assert_eq!([a.unwrap(), b.unwrap(), c.unwrap()], ["token 1"; 3]);
        assert_eq!(office.asked(), 1);
    }

    #[tokio::test]
    async fn parts_that_wait_for_one_fetch_share_its_failure_and_the_next_asks_again() {
        let (cell, office) = (Hand::new().cell(), Office::new(Some(HOUR)));
        office.closed.store(true, Ordering::Relaxed);
        office.doors.forget_permits(1000);
        let opens = async {
            tokio::task::yield_now().await;
            office.doors.add_permits(1000);
        };
        let (a, b, ()) = tokio::join!(token(&cell, &office), token(&cell, &office), opens);
        assert_eq!([a.unwrap_err(), b.unwrap_err()], ["closed at 1"; 2]);
        office.closed.store(false, Ordering::Relaxed);
        assert_eq!(token(&cell, &office).await.unwrap(), "token 2");
    }

    #[tokio::test]
    async fn a_token_is_replaced_before_it_ends() {
        for (life, kept, replaced) in [(HOUR, 54, 2), (5 * MINUTE, 3, 2)] {
            let (hand, office) = (Hand::new(), Office::new(Some(life)));
            let cell = hand.cell();
            token(&cell, &office).await.unwrap();
            hand.advance(kept * MINUTE);
            assert_eq!(token(&cell, &office).await.unwrap(), "token 1", "{life:?}");
            hand.advance(replaced * MINUTE - MINUTE);
            assert_eq!(token(&cell, &office).await.unwrap(), "token 2", "{life:?}");
        }
    }

    #[tokio::test]
    async fn a_token_without_an_end_is_fetched_once() {
        let (hand, office) = (Hand::new(), Office::new(None));
        let cell = hand.cell();
        token(&cell, &office).await.unwrap();
        hand.advance(10_000 * HOUR);
        assert_eq!(token(&cell, &office).await.unwrap(), "token 1");
    }

    #[tokio::test]
    async fn where_no_other_is_given_a_token_is_used_to_its_end_and_not_asked_for_at_every_request() {
        let (hand, office) = (Hand::new(), Office::new(Some(HOUR)));
        let cell = hand.cell();
        token(&cell, &office).await.unwrap();
        office.closed.store(true, Ordering::Relaxed);
        hand.advance(56 * MINUTE);
        for _ in 0..5 {
            assert_eq!(token(&cell, &office).await.unwrap(), "token 1");
        }
        assert_eq!(office.asked(), 2, "one try");
        hand.advance(MINUTE);
        assert_eq!((token(&cell, &office).await.unwrap(), office.asked()), ("token 1".into(), 3));
        hand.advance(3 * MINUTE);
        assert_eq!(token(&cell, &office).await.unwrap_err(), "closed at 4");
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once_for_all_who_used_it() {
        let (cell, office) = (Hand::new().cell(), Office::new(Some(HOUR)));
        let refused = |error: &HostError| error.status == Some(401);
        let works_from = |number: u32| {
            move |token: Token| {
                std::future::ready(match token.secret().reveal().split_once(' ').unwrap().1.parse::<u32>().unwrap() {
                    given if given >= number => Ok(given),
                    given => Err(HostError::new(Class::HostRefused, format!("no {given}")).with_status(401)),
                })
            }
        };
        let fetch = || office.grant();
        let call = || cell.with(fetch, refused, works_from(2));
        let (a, b) = tokio::join!(call(), call());
        assert_eq!((a.unwrap(), b.unwrap(), office.asked()), (2, 2, 2));
        let error = cell.with(fetch, refused, works_from(99)).await.unwrap_err();
        assert_eq!((error.said.as_str(), office.asked()), ("no 3", 3), "a host that refuses every token is asked twice");
        let other = cell.with(fetch, |_| false, works_from(99)).await.unwrap_err();
        assert_eq!((other.said.as_str(), office.asked()), ("no 3", 3), "another failure says nothing of the token");
    }

    /// As every answer of a host must: it does not compile otherwise.
    #[tokio::test]
    async fn a_call_with_a_token_may_go_to_another_thread() {
        let (cell, office, name) = (Hand::new().cell(), Office::new(None), String::from("call"));
        let call: crate::host::Answer<'_, String> = Box::pin(async {
            let with_name = |token: Token| {
                let name = &name;
                async move { Ok(format!("{name} with {}", token.secret().reveal())) }
            };
            cell.with(|| office.grant(), |_| false, with_name).await
        });
        assert_eq!(call.await.unwrap(), "call with token 1");
    }

    #[tokio::test]
    async fn a_fetch_that_is_given_up_keeps_nobody_else_from_a_token() {
        let (cell, office) = (Hand::new().cell(), Office::new(Some(HOUR)));
        office.doors.forget_permits(1000);
        let given_up = tokio::time::timeout(Duration::from_millis(1), token(&cell, &office)).await;
        assert!(given_up.is_err());
        office.doors.add_permits(1);
        assert_eq!(token(&cell, &office).await.unwrap(), "token 2");
    }

    #[tokio::test]
    async fn no_token_shows_in_debug_output() {
        let (cell, office) = (Hand::new().cell(), Office::new(Some(HOUR)));
        let token = cell.get(|| office.grant()).await.unwrap();
        assert!(!format!("{cell:?} {token:?} {:?}", office.grant().await).contains("token 1"));
    }
}
