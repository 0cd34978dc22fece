//! What some worlds begin with: troubles that hang together, which chance alone brings together too seldom.

use std::time::Duration;

use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, RetryAfter, Rule, When};

use super::{Act, Deed, Event, Maker, Name, PART_BYTES};
use crate::setting::Setting;

/// One in so many worlds begins with each of the scenes.
const WORLDS: u64 = 16;
/// How often a world is looked at while nothing happens in it.
const LOOK: Duration = Duration::from_secs(600);

/// Troubles that hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// A file changes while it is being uploaded, and the daemon dies before it notices.
    Half,
    /// One host keeps the daemon waiting, and more files come than may be uploading at once.
    Crowd,
    /// A host completes uploads and does not say so, and the daemon dies before it has asked again.
    Unheard,
}

impl Scene {
    /// What the world of this number begins with.
    pub(super) fn of(seed: u64) -> Option<Scene> {
        match seed % WORLDS {
            7 => Some(Scene::Half),
            11 => Some(Scene::Crowd),
            13 => Some(Scene::Unheard),
            _ => None,
        }
    }
}

impl Maker {
    /// The events of a scene, and when it is over.
    pub(super) fn scene(&mut self, scene: Scene, setting: &mut Setting) -> (Vec<Event>, Duration) {
        match scene {
            Scene::Half => self.half(setting),
            Scene::Crowd => self.crowd(setting),
            Scene::Unheard => self.unheard(setting),
        }
    }

    fn half(&mut self, setting: &mut Setting) -> (Vec<Event>, Duration) {
        let pace = self.one(&[20_000, 50_000]);
        (setting.pace, setting.max_connections) = (Some(pace), 2);
        let (name, bytes) = (self.name(), PART_BYTES * (2 + self.below(3)) + self.below(PART_BYTES));
        // After the first part was sent, and before the last one is; the daemon dies before it has sent another one.
        let lasts = |bytes: u64| Duration::from_secs(bytes / pace);
        let first_part = Duration::from_secs(setting.settle_seconds) + lasts(PART_BYTES);
        let changed = first_part + lasts(self.below(bytes - PART_BYTES));
        let died = changed + lasts(self.below(PART_BYTES));
        let change =
            self.one(&[Act::EditBetween(0), Act::EditBetween(0), Act::EditSecretly(0), Act::Edit(0), Act::Replace(0, bytes)]);
        let death = self.one(&[Deed::Kill, Deed::Kill, Deed::CutPower]);
        let events = vec![
            event(Duration::ZERO, Deed::User(Act::Create(name, bytes))),
            event(changed, Deed::User(change)),
            event(died, death),
        ];
        (events, died)
    }

    fn unheard(&mut self, setting: &mut Setting) -> (Vec<Event>, Duration) {
        let (host, name, bytes, reset) = (self.one(&setting.hosts), self.name(), self.bytes(), self.chance(0.5));
        let endpoint = self.one(&[Endpoint::Finish, Endpoint::Finish, Endpoint::Any, Endpoint::Chunk]);
        let rule = Rule::new(Action::LoseReply { reset }).host(host).at(endpoint).when(When::Always);
        setting.pace = None;
        let created = Duration::from_secs(1);
        let died = created + Duration::from_secs(setting.settle_seconds) + self.pause(Duration::from_secs(60));
        let mut events = vec![
            event(Duration::ZERO, Deed::Fault(rule)),
            event(created, Deed::User(Act::Create(name, bytes))),
            event(died, self.one(&[Deed::Kill, Deed::Kill, Deed::CutPower, Deed::Stop(LOOK)])),
            event(died, Deed::HostsRecover),
        ];
        // Nobody can be asked any more.
        events.extend(self.chance(0.6).then(|| event(died, Deed::HostsRestart(true))));
        (events, died)
    }

    fn crowd(&mut self, setting: &mut Setting) -> (Vec<Event>, Duration) {
        setting.max_uploads = self.one(&[2, 3]);
        let host = self.one(&setting.hosts);
        let action = match self.below(4) {
            0 => Action::TooManyRequests { retry_after: RetryAfter::Seconds(3600) },
            1 => Action::SlowReply { seconds: 900.0 },
            2 => Action::Stall { after_bytes: self.below(3000), seconds: 900.0 },
            _ => Action::Status { code: 503, body: ErrorBody::Json, stored: false },
        };
        let rule = Rule::new(action).host(host).at(Endpoint::Any).when(When::Always);
        let mut events = vec![event(Duration::ZERO, Deed::Fault(rule))];
        let mut at = Duration::from_secs(1);
        for name in 0..Name::COUNT {
            let bytes = self.bytes();
            events.push(event(at, Deed::User(Act::Create(Name(name), bytes))));
            at += self.pause(Duration::from_secs(20));
        }
        let over = at + Duration::from_secs(3600) + self.pause(Duration::from_secs(3600));
        while at < over {
            // Nobody writes a file, so nothing happens but the look before it.
            events.push(event(at, Deed::User(Act::Close)));
            at += LOOK;
        }
        (events, at)
    }
}

fn event(at: Duration, what: Deed) -> Event {
    Event { at, steps: 0, what }
}
